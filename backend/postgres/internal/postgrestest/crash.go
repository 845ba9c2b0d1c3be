package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// testCrashes crashes and restarts the server while clients push, claim and complete.
// No acknowledged job may be lost, and no job with a kept key stored twice.
func (d Driver) testCrashes(t *testing.T) {
	crashes := 3
	if long() {
		crashes = 30
	}
	c := pgcluster.Fresh(t)
	b, err := d.Open(c.TCP(pgcluster.Superuser, pgcluster.Password, "postgres"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l := &load{cutter: cutter{t: t, b: b, acked: map[string]int64{}}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var pushers, workers sync.WaitGroup
	for i := range 4 {
		pushers.Go(func() { l.push(ctx, fmt.Sprint("pusher", i)) })
	}
	working, rest := context.WithCancel(t.Context())
	defer rest()
	for i := range 2 {
		workers.Go(func() { l.work(working, backend.Worker{ID: int64(i + 1), Lease: time.Hour}) })
	}
	for i := range crashes {
		for n := l.acks.Load(); l.acks.Load() < n+200 && !t.Failed(); { // the server works
			<-time.After(10 * time.Millisecond)
		}
		c.Crash(t, i%2 == 0)
	}
	for n := l.acks.Load(); l.acks.Load() < n+50 && !t.Failed(); {
		<-time.After(10 * time.Millisecond)
	}
	stop()
	pushers.Wait()
	until(t, func() bool {
		<-time.After(10 * time.Millisecond)
		return count(t, b, backend.Pending)+count(t, b, backend.Running) == 0 || t.Failed()
	})
	rest()
	workers.Wait()
	l.check(b)
	t.Logf("%d crashes: %d jobs were pushed and %d done, %d calls failed", crashes, len(l.acked), l.done.Load(), l.fails.Load())
}

// A load is the work of clients while a server crashes.
type load struct {
	cutter
	acks, fails atomic.Int64
	done        atomic.Int64
	mu          sync.Mutex
}

// wantUnavailable fails the test unless a crash may cause the error.
func (l *load) wantUnavailable(what string, err error) {
	l.fails.Add(1)
	if !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		l.t.Errorf("%s = %v, want ErrUnavailable", what, err)
	}
	<-time.After(10 * time.Millisecond) // as a client would pause
}

// push pushes jobs, each until it is acknowledged.
func (l *load) push(ctx context.Context, prefix string) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprint(prefix, " ", i)
		for !l.t.Failed() {
			p, err := l.cutter.push(callTime, key)
			if err == nil {
				l.acks.Add(1)
				l.mu.Lock()
				l.acked[key] = p.ID
				l.mu.Unlock()
				break
			}
			l.wantUnavailable("Push", err)
		}
	}
}

// work claims and completes jobs. When it has none, it releases the jobs stored under
// its worker. A crash may lose the last claims and completions, whose jobs then run
// again.
func (l *load) work(ctx context.Context, w backend.Worker) {
	for ctx.Err() == nil && !l.t.Failed() {
		err := l.bounded(callTime, func(call context.Context) error { return l.round(call, w) })
		if errors.Is(err, backend.ErrWorkerGone) { // the crash lost its registration
			err = nil
		}
		if err != nil {
			l.wantUnavailable("Claim", err)
		}
	}
}

func (l *load) round(ctx context.Context, w backend.Worker) error {
	jobs, err := l.b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 20, Suspects: true})
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		return l.release(ctx, w)
	}
	done := make([]backend.Completion, len(jobs))
	for i, j := range jobs {
		done[i].Lease = j.Lease
	}
	lost, err := l.b.Complete(ctx, done)
	l.done.Add(int64(len(done) - len(lost)))
	return err
}

func (l *load) release(ctx context.Context, w backend.Worker) error {
	r, err := l.b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: w})
	if err != nil {
		return err
	}
	var back []backend.Failure
	for _, lease := range r.Leases {
		back = append(back, backend.Failure{Lease: lease, Ending: backend.EndRelease})
	}
	if _, err := l.b.Fail(ctx, back); err != nil {
		return err
	}
	_, err = l.b.Reap(ctx, backend.ReapRequest{}) // rescues jobs of workers whose rows were lost
	return err
}
