package postgrestest

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
)

// Bench measures the cost of each operation per job.
func Bench(b *testing.B, d Driver) {
	for _, goroutines := range []int{64, 1} {
		n := strconv.Itoa(goroutines)
		b.Run("Push"+n, func(b *testing.B) { d.benchPush(b, goroutines, nil) })
		b.Run("PushBounded"+n, func(b *testing.B) {
			d.benchPush(b, goroutines, func(j *backend.NewJob, _ int64) { j.MaxPending = 1_000_000 })
		})
		b.Run("PushFull"+n, func(b *testing.B) { d.benchPush(b, goroutines, func(j *backend.NewJob, _ int64) { j.MaxPending = 1 }) })
		b.Run("PushUnique"+n, func(b *testing.B) {
			d.benchPush(b, goroutines, func(j *backend.NewJob, i int64) { j.Unique.Key = strconv.FormatInt(i, 10) })
		})
	}
	b.Run("PushMany1000", d.benchPushMany)
	b.Run("Drain/batch=100", func(b *testing.B) { d.benchDrain(b, 2, 100) })
	b.Run("Drain/batch=10", func(b *testing.B) { d.benchDrain(b, 2, 10) })
	b.Run("Drain/batch=1", func(b *testing.B) { d.benchDrain(b, 8, 1) })
	b.Run("ClaimBloated", d.benchClaimBloated)
	b.Run("Pickup/idle", func(b *testing.B) { d.benchPickup(b, 25*time.Millisecond) })
	b.Run("Pickup/next", func(b *testing.B) { d.benchPickup(b, time.Nanosecond) })
}

func benchJob() backend.NewJob {
	return backend.NewJob{Name: "bench", Payload: make([]byte, 100), MaxAttempts: 25}
}

func (d Driver) benchStore(b *testing.B) (*schema, *postgres.Backend) {
	s := d.schema(b)
	return s, s.open(b, &postgres.Options{Schema: s.name})
}

// report adds the median and the 99th percentile of durations.
func report(b *testing.B, what string, took []time.Duration) {
	slices.Sort(took)
	if n := len(took); n > 0 {
		b.ReportMetric(float64(took[n/2].Microseconds()), what+"-p50-µs")
		b.ReportMetric(float64(took[n*99/100].Microseconds()), what+"-p99-µs")
	}
}

// benchPush pushes one job at a time from many goroutines. alter changes each job,
// given its number.
func (d Driver) benchPush(b *testing.B, goroutines int, alter func(j *backend.NewJob, number int64)) {
	_, store := d.benchStore(b)
	var wg sync.WaitGroup
	var n atomic.Int64
	b.ResetTimer()
	for range goroutines {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				j := benchJob()
				if alter != nil {
					alter(&j, i)
				}
				if _, err := store.Push(b.Context(), []backend.NewJob{j}); err != nil && !errors.Is(err, backend.ErrQueueFull) {
					b.Errorf("Push: %v", err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

func (d Driver) benchPushMany(b *testing.B) {
	_, store := d.benchStore(b)
	jobs := make([]backend.NewJob, 1000)
	for i := range jobs {
		jobs[i] = benchJob()
	}
	b.ResetTimer()
	for range b.N {
		if _, err := store.Push(b.Context(), jobs); err != nil {
			b.Fatalf("Push: %v", err)
		}
	}
	b.ReportMetric(float64(1000*b.N)/b.Elapsed().Seconds(), "jobs/s")
}

// benchDrain claims and completes with several workers.
func (d Driver) benchDrain(b *testing.B, workers, batch int) {
	_, store := d.benchStore(b)
	for left := b.N; left > 0; left -= 1000 {
		jobs := make([]backend.NewJob, min(left, 1000))
		for i := range jobs {
			jobs[i] = benchJob()
		}
		if _, err := store.Push(b.Context(), jobs); err != nil {
			b.Fatal(err)
		}
	}
	var mu sync.Mutex
	var claims, completes []time.Duration
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range workers {
		wg.Go(func() {
			req := backend.ClaimRequest{Worker: backend.Worker{ID: int64(i + 1), Lease: time.Minute}, Register: true, Names: []string{"bench"}, Limit: batch}
			for {
				start := time.Now()
				got, err := store.Claim(b.Context(), req)
				if err != nil {
					b.Errorf("Claim: %v", err)
					return
				}
				if len(got) == 0 {
					return
				}
				claimed := time.Now()
				done := make([]backend.Completion, len(got))
				for i, j := range got {
					done[i].Lease = j.Lease
				}
				if lost, err := store.Complete(b.Context(), done); err != nil || len(lost) > 0 {
					b.Errorf("Complete: %v, %v", lost, err)
				}
				mu.Lock()
				claims, completes = append(claims, claimed.Sub(start)), append(completes, time.Since(claimed))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	report(b, "claim", claims)
	report(b, "complete", completes)
}

// benchPickup measures the time from the acknowledgement of a push by another process
// until a waiting worker has claimed the job, and the time of a claim that finds one.
// Pushes are at least apart from each other.
func (d Driver) benchPickup(b *testing.B, apart time.Duration) {
	s, pusher := d.benchStore(b)
	waiter := s.open(b, &postgres.Options{Schema: s.name})
	req := backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"bench"}, Limit: 10}
	claim := func() time.Time {
		got, err := waiter.Claim(b.Context(), req)
		at := time.Now()
		if err != nil || len(got) != 1 {
			b.Errorf("Claim = %d jobs, %v", len(got), err)
		}
		return at
	}
	push := func() time.Time {
		if _, err := pusher.Push(b.Context(), []backend.NewJob{benchJob()}); err != nil {
			b.Error(err)
		}
		return time.Now()
	}
	var pickups, claims []time.Duration
	picked := make(chan time.Time)
	waits := make(chan struct{})
	go func() {
		for range waits {
			if err := waiter.Wait(b.Context(), req); err != nil {
				b.Errorf("Wait: %v", err)
			}
			picked <- claim()
		}
	}()
	defer close(waits)
	idle := time.NewTicker(apart)
	defer idle.Stop()
	b.ResetTimer()
	for range b.N {
		waits <- struct{}{}
		<-idle.C
		pushed := push()
		pickups = append(pickups, (<-picked).Sub(pushed))
		pushed = push()
		claims = append(claims, claim().Sub(pushed))
	}
	report(b, "pickup", pickups)
	report(b, "claim", claims)
	b.ReportMetric(float64(pickups[b.N/2])/float64(claims[b.N/2]), "pickup/claim-p50")
}

// benchClaimBloated alternates between claims from an empty table and from one with
// 50,000 dead rows that another session's snapshot keeps from being removed. It
// reports the ratio of their times.
func (d Driver) benchClaimBloated(b *testing.B) {
	_, empty := d.benchStore(b)
	s, bloated := d.benchStore(b)
	tx, err := s.db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
		b.Fatal(err)
	}
	if _, err := tx.Exec("SELECT count(*) FROM " + s.name + ".job"); err != nil {
		b.Fatal(err)
	}
	d.drain(b, bloated, 50_000)
	jobs := make([]backend.NewJob, 10)
	for i := range jobs {
		jobs[i] = benchJob()
	}
	claim := func(store *postgres.Backend) time.Duration {
		if _, err := store.Push(b.Context(), jobs); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		got, err := store.Claim(b.Context(), backend.ClaimRequest{
			Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"bench"}, Limit: 10,
		})
		took := time.Since(start)
		if err != nil || len(got) != 10 {
			b.Fatalf("Claim = %d jobs, %v", len(got), err)
		}
		return took
	}
	var took [2][]time.Duration
	b.ResetTimer()
	for range b.N {
		took[0], took[1] = append(took[0], claim(empty)), append(took[1], claim(bloated))
	}
	report(b, "empty", took[0])
	report(b, "bloated", took[1])
	b.ReportMetric(float64(took[1][b.N/2])/float64(took[0][b.N/2]), "bloated/empty-p50")
}

func (d Driver) drain(b *testing.B, store *postgres.Backend, n int) {
	jobs := make([]backend.NewJob, 1000)
	for i := range jobs {
		jobs[i] = benchJob()
	}
	req := backend.ClaimRequest{Worker: backend.Worker{ID: 2, Lease: time.Minute}, Register: true, Names: []string{"bench"}, Limit: 1000}
	for range n / 1000 {
		if _, err := store.Push(b.Context(), jobs); err != nil {
			b.Fatal(err)
		}
		got, err := store.Claim(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		done := make([]backend.Completion, len(got))
		for i, j := range got {
			done[i].Lease = j.Lease
		}
		if _, err := store.Complete(b.Context(), done); err != nil {
			b.Fatal(err)
		}
	}
}
