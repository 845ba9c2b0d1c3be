package sqlitetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/conformance"
)

// testBatches claims and completes batches of any size, with consecutive and other IDs,
// stale leases, duplicates and repeats. Exactly the held leases are settled, however
// statements divide the batch.
func (d driver) testBatches(t *testing.T) {
	for _, history := range []backend.History{{}, {Done: -1}} {
		t.Run(fmt.Sprintf("Done=%v", history.Done), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			path := filepath.Join(t.TempDir(), "jobs.db")
			testBatches(t, mustOpen(t, d.open, path, &sqlite.Options{History: history}), history, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func testBatches(t *testing.T, b *sqlite.Backend, history backend.History, rnd *rand.Rand) {
	ctx := context.Background()
	const n = 200
	jobs := make([]backend.NewJob, n)
	payloads := map[int64]string{}
	for i := range jobs {
		jobs[i] = newJob([]string{"a", "a", "a", "b"}[rnd.IntN(4)])
		if i < n/2 { // one name, one priority: ids that follow each other
			jobs[i].Name = "a"
		} else {
			jobs[i].Priority = int16(-rnd.IntN(3))
		}
		jobs[i].Payload = make([]byte, []int{0, 7, 3000}[rnd.IntN(3)])
		for k := range jobs[i].Payload {
			jobs[i].Payload[k] = byte(rnd.Uint32())
		}
	}
	pushed, err := b.Push(ctx, jobs)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pushed {
		payloads[p.ID] = string(jobs[i].Payload)
	}

	workers := []backend.Worker{{ID: 1, Lease: time.Hour}, {ID: 2, Lease: time.Hour}}
	held := map[int64]backend.Lease{}
	settled := map[int64]bool{}
	for round := 0; len(settled) < n; round++ {
		got, err := b.Claim(ctx, backend.ClaimRequest{
			Worker: workers[round%2], Register: true, Names: []string{"a", "b"}[:1+rnd.IntN(2)], Limit: rnd.IntN(400),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range got {
			if _, twice := held[j.ID]; twice || settled[j.ID] {
				t.Fatalf("job %d was claimed twice", j.ID)
			}
			if string(j.Payload) != payloads[j.ID] {
				t.Fatalf("job %d has another payload", j.ID)
			}
			held[j.ID] = j.Lease
		}

		var done []backend.Completion
		var lost []backend.Lease
		stale := rnd.IntN(3) == 0
		for _, id := range slices.Sorted(maps.Keys(held)) {
			if rnd.IntN(20) == 0 {
				continue // so that there are gaps
			}
			done = append(done, backend.Completion{Lease: held[id]})
			if stale && rnd.IntN(50) == 0 {
				l := backend.Lease{ID: id, Token: held[id].Token + 1}
				done, lost = append(done, backend.Completion{Lease: l}), append(lost, l)
			}
		}
		if rnd.IntN(2) == 0 && len(lost) == 0 {
			rnd.Shuffle(len(done), func(i, k int) { done[i], done[k] = done[k], done[i] })
		}
		before := slices.Clone(done)
		again := 1 + rnd.IntN(2) // the first answer may have been lost
		if history.Done < 0 {
			again = 1 // there is nothing left that could tell
		}
		for range again {
			answer, err := b.Complete(ctx, done)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(answer, lost) {
				t.Fatalf("lost %v, want %v", answer, lost)
			}
		}
		if !slices.EqualFunc(done, before, func(a, b backend.Completion) bool { return a.Lease == b.Lease }) {
			t.Fatal("Complete changed its argument")
		}
		for _, c := range done {
			if held[c.ID] == c.Lease {
				delete(held, c.ID)
				settled[c.ID] = true
			}
		}
		running, finished := int64(0), int64(0)
		counts, err := b.Count(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			switch c.State {
			case backend.Running:
				running += c.Jobs
			case backend.Done:
				finished += c.Jobs
			}
		}
		want := int64(len(settled))
		if history.Done < 0 {
			want = 0
		}
		if running != int64(len(held)) || finished != want {
			t.Fatalf("%d running and %d done, want %d and %d", running, finished, len(held), want)
		}
	}
}

// testStaleBatches completes leases of this store's claims, whose jobs another process
// has reaped and claimed again.
func (d driver) testStaleBatches(t *testing.T) {
	for _, history := range []backend.History{{}, {Done: -1}} {
		t.Run(fmt.Sprintf("Done=%v", history.Done), func(t *testing.T) {
			ctx := context.Background()
			clock := conformance.NewClock()
			path := filepath.Join(t.TempDir(), "jobs.db")
			opts := &sqlite.Options{History: history, Clock: clock.Now}
			stalled, other := mustOpen(t, d.open, path, opts), mustOpen(t, d.open, path, opts)
			const n = 20
			if _, err := stalled.Push(ctx, slices.Repeat([]backend.NewJob{newJob("a")}, n)); err != nil {
				t.Fatal(err)
			}
			claim := func(b *sqlite.Backend, id int64, limit int) []backend.Job {
				jobs, err := b.Claim(ctx, backend.ClaimRequest{
					Worker: backend.Worker{ID: id, Lease: time.Minute}, Register: true, Names: []string{"a"}, Limit: limit, Suspects: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				return jobs
			}
			var done []backend.Completion
			for _, j := range claim(stalled, 1, n) {
				done = append(done, backend.Completion{Lease: j.Lease})
			}
			clock.Advance(2 * time.Minute)
			if r, err := other.Reap(ctx, backend.ReapRequest{Expired: true}); err != nil || r.Rescued != n {
				t.Fatalf("Reap = %+v, %v, want %d rescued", r, err, n)
			}
			for range n { // suspects, one by one
				if got := len(claim(other, 2, n)); got != 1 {
					t.Fatalf("claimed %d suspects, want 1", got)
				}
			}
			lost, err := stalled.Complete(ctx, done)
			if err != nil || len(lost) != n {
				t.Errorf("%d of %d leases are lost, %v, want all", len(lost), n, err)
			}
			counts, err := stalled.Count(ctx)
			want := []backend.Count{{Name: "a", State: backend.Running, Jobs: n}}
			if err != nil || !slices.Equal(counts, want) {
				t.Errorf("counts are %v, %v, want %v", counts, err, want)
			}
		})
	}
}
