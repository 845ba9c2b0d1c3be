package child

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/cmd/bench/internal/harness"
)

// backlog measures a claim while many jobs are in one state. The library stores
// the jobs, and claims and completes the finished ones. "mixed" jobs are
// pending, with many priorities; "blocked" jobs wait for a thousand serial
// keys.
var backlog = &Scenario{
	Name:     "backlog",
	About:    "the time of a claim while 10 thousand and 1 million (-long: 10 million) jobs are in each state",
	Jobs:     jobs(1_000_000),
	On:       SQLite,
	Latency:  "of a claim of 16 jobs",
	Rateless: true,
	Once:     true,
	run: func(ctx context.Context, d Driver, o Order) ([]Result, error) {
		sizes := []int{max(1, o.Jobs/100), o.Jobs}
		if o.Long {
			sizes = append(sizes, 10*o.Jobs)
		}
		samples := backlogSamples
		if o.Brief {
			samples = 20
		}
		var results []Result
		for _, kind := range []string{"pending", "mixed", "scheduled", "blocked", "finished"} {
			o := o
			o.Path = filepath.Join(filepath.Dir(o.Path), kind+".db")
			b, err := newBacklog(d, o)
			if err != nil {
				return nil, err
			}
			for _, size := range sizes {
				var r Result
				if err = b.grow(ctx, kind, size); err == nil {
					r, err = b.measure(ctx, samples, backlogClaim)
				}
				if err != nil {
					return nil, errors.Join(err, b.queue.Close())
				}
				r.Case, r.Jobs = fmt.Sprintf("%s %s", short(size), kind), size
				results = append(results, r)
			}
			if err := b.queue.Close(); err != nil {
				return nil, err
			}
		}
		return results, nil
	},
}

// short writes 1000000 as 1M.
func short(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

type backlogStore struct {
	store  backend.Backend
	queue  *plainjobs.Queue
	worker backend.Worker
	rows   int  // jobs of the growing kind
	ready  bool // there are claimable jobs
}

const (
	backlogClaim   = 16
	backlogOffer   = 1000
	backlogSamples = 300
	blockedKeys    = 1000
)

func newBacklog(d Driver, o Order) (*backlogStore, error) {
	store, err := d.Open(o)
	if err != nil {
		return nil, err
	}
	b := &backlogStore{store: store, queue: plainjobs.New(store, nil)}
	// No worker runs, so nothing renews the lease, reaps or prunes.
	b.worker = backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "bench", PID: 1, Lease: 24 * time.Hour}
	_, err = store.Claim(context.Background(), backend.ClaimRequest{Worker: b.worker, Register: true})
	if err != nil {
		err = errors.Join(err, b.queue.Close())
	}
	return b, err
}

// grow adds jobs until there are n of a kind.
func (b *backlogStore) grow(ctx context.Context, kind string, n int) (err error) {
	const part = 5000
	for ; b.rows < n && err == nil; b.rows += part {
		size := min(part, n-b.rows)
		jobs := make([]backend.NewJob, size)
		for i := range jobs {
			jobs[i] = backend.NewJob{Name: job.Name(), Payload: []byte("1234567"), MaxAttempts: 25}
			switch kind {
			case "mixed":
				jobs[i].Priority = int16(rand.IntN(1000))
			case "scheduled":
				jobs[i].Delay = time.Hour + rand.N(1000*time.Hour)
			case "blocked":
				jobs[i].Serial = fmt.Sprint((b.rows + i) % blockedKeys)
				// The first job of a key holds it, and must not be claimed.
				jobs[i].Delay = time.Hour
			}
		}
		if _, err = b.store.Push(ctx, jobs); err == nil && kind == "finished" {
			err = b.finish(ctx, size)
		}
	}
	b.rows = n
	if err != nil || kind == "pending" || kind == "mixed" {
		return err
	}
	return b.offer(ctx)
}

// offer pushes the jobs to claim, in addition to the others.
func (b *backlogStore) offer(ctx context.Context) error {
	if b.ready {
		return nil
	}
	b.ready = true
	return fill(ctx, b.queue, backlogOffer)
}

// finish claims and completes n jobs, of any kind.
func (b *backlogStore) finish(ctx context.Context, n int) error {
	for n > 0 {
		claimed, err := b.store.Claim(ctx, backend.ClaimRequest{
			Worker: b.worker, Names: []string{job.Name()}, Limit: min(n, 500)})
		if err != nil {
			return err
		}
		done := make([]backend.Completion, len(claimed))
		for i := range claimed {
			done[i].Lease = claimed[i].Lease
		}
		if _, err := b.store.Complete(ctx, done); err != nil {
			return err
		}
		n -= len(claimed)
	}
	return nil
}

// measure times claims, and releases their jobs outside the timed part.
func (b *backlogStore) measure(ctx context.Context, n, limit int) (Result, error) {
	r := Result{Durability: durability(b.store)}
	var samples []time.Duration
	begin := time.Now()
	for i := range n + 20 {
		start := time.Now()
		claimed, err := b.store.Claim(ctx, backend.ClaimRequest{
			Worker: b.worker, Names: []string{job.Name()}, Limit: limit})
		took := time.Since(start)
		if err != nil {
			return r, err
		}
		if i >= 20 { // the first claims warm up
			samples = append(samples, took)
		}
		back := make([]backend.Failure, len(claimed))
		for i := range claimed {
			back[i] = backend.Failure{Lease: claimed[i].Lease, Ending: backend.EndRelease}
		}
		if lost, err := b.store.Fail(ctx, back); err != nil {
			return r, err
		} else if len(lost) > 0 || len(claimed) == 0 {
			return r, fmt.Errorf("a claim found %d jobs and lost %d", len(claimed), len(lost))
		}
	}
	r.Seconds = time.Since(begin).Seconds()
	r.Latency = harness.Percentiles(samples)
	return r, nil
}
