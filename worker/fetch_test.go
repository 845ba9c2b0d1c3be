package worker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// A watched store is the memory store with writes that take a millisecond.
type watched struct {
	*memory.Backend

	mu        sync.Mutex
	asked     int // how many claims there were
	waits     int
	claims    []time.Time // those that found something
	completes map[time.Time]bool
	bytes     int // of all payloads that were claimed
}

func (b *watched) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	begin := time.Now()
	time.Sleep(time.Millisecond)
	jobs, err := b.Backend.Claim(ctx, req)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if len(jobs) > 0 {
		b.claims = append(b.claims, begin)
	}
	for _, j := range jobs {
		b.bytes += len(j.Payload)
	}
	return jobs, err
}

func (b *watched) Wait(ctx context.Context, req backend.ClaimRequest) error {
	b.mu.Lock()
	b.waits++
	b.mu.Unlock()
	return b.Backend.Wait(ctx, req)
}

func (b *watched) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	b.mu.Lock()
	b.completes[time.Now()] = true
	b.mu.Unlock()
	time.Sleep(time.Millisecond)
	return b.Backend.Complete(ctx, done)
}

// A claim and a completion that are sent at the same time share a transaction, so a busy
// worker sends them together.
func TestClaimsMeetCompletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &watched{Backend: memory.New(nil), completes: map[time.Time]bool{}}
		q := plainjobs.New(b, nil)
		jobs := bind(q, jobA, func(context.Context, string) error {
			time.Sleep(70 * time.Microsecond) // a claim at any time would seldom meet a completion
			return nil
		})
		tasks := make([]plainjobs.Task, 5000)
		for i := range tasks {
			tasks[i] = jobA.With("")
		}
		perform(t, q, tasks...)
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(time.Second)
		mustStop(t, stop)
		met := 0
		for _, at := range b.claims {
			if b.completes[at] {
				met++
			}
		}
		if len(b.claims) < 10 || met < len(b.claims)*9/10 {
			t.Errorf("%d of %d claims met a completion, want nearly all", met, len(b.claims))
		}
	})
}

// The payloads of all waiting runs are limited together, not only those of one claim.
func TestPrefetchIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &watched{Backend: memory.New(nil), completes: map[time.Time]bool{}}
		q := plainjobs.New(b, nil)
		gate := make(chan struct{})
		jobs := bind(q, jobA, func(_ context.Context, s string) error {
			if s != "" {
				<-gate
			}
			return nil
		})
		tasks := []plainjobs.Task{jobA.With(""), jobA.With("")} // quick ones, so that it prefetches
		for range 40 {
			tasks = append(tasks, jobA.With(strings.Repeat("x", 1_000_000)))
		}
		perform(t, q, tasks...)
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 1})
		time.Sleep(100 * time.Millisecond)
		b.mu.Lock()
		bytes := b.bytes
		b.mu.Unlock()
		// One more has been taken by the slot.
		if most := backend.DefaultMaxBytes + 1_100_000; bytes > most || bytes < backend.DefaultMaxBytes/2 {
			t.Errorf("payloads of %d bytes were claimed, want %d at most, and half of it at least", bytes, most)
		}
		close(gate)
		mustStop(t, stop)
	})
}

// Limited names are not prefetched, so while all slots are busy there is nothing to claim.
func TestLimitedNamesAreNotClaimedInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &watched{Backend: memory.New(nil), completes: map[time.Time]bool{}}
		q := plainjobs.New(b, nil)
		limited := plainjobs.Declare[string]("fetch/limited", plainjobs.MaxRunning(1000))
		jobs := bind(q, limited, func(context.Context, string) error {
			time.Sleep(100 * time.Microsecond)
			return nil
		})
		tasks := make([]plainjobs.Task, 500)
		for i := range tasks {
			tasks[i] = limited.With("")
		}
		perform(t, q, tasks...)
		stop := start(t, q, worker.Options{Jobs: jobs, Concurrency: 4})
		time.Sleep(time.Second)
		mustStop(t, stop)
		if vain := b.asked - len(b.claims) + b.waits; vain > len(b.claims)/10+10 {
			t.Errorf("%d claims found jobs; %d found none, and there were %d waits", len(b.claims), b.asked-len(b.claims), b.waits)
		}
	})
}
