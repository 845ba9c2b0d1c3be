package conformance

import (
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// now returns what the store's clock shows, which may be far from what any other
// clock shows.
func (e *env) now() time.Time {
	e.Helper()
	return e.get(e.push(e.b, "now", 1)[0]).CreatedAt
}

// at returns job with a RunAt.
func at(when time.Time, job backend.NewJob) backend.NewJob {
	job.RunAt = when
	return job
}

// until returns job with an instant at which it expires.
func until(when time.Time, job backend.NewJob) backend.NewJob {
	job.ExpiresAt = when
	return job
}

var instantCases = []testCase{{
	name: "instant/run-at",
	rule: "a job with an instant may run when the store's clock reaches it, whatever the caller's clock shows, and at once if it has passed",
	run: func(e *env) {
		if e.store.Advance != nil {
			e.store.Advance(-10 * time.Hour)
		}
		when := e.now().Add(10 * e.unit)
		ids := e.pushJobs(e.b, newJob("a"), at(when, newJob("a")), at(when.Add(-50*e.unit), newJob("a")), at(when, serialJob("b", "s")))
		for i, want := range []backend.State{backend.Pending, backend.Scheduled, backend.Pending, backend.Scheduled} {
			if info := e.get(ids[i]); info.State != want || want == backend.Scheduled && !info.RunAt.Equal(when) {
				e.Errorf("job %d is %v at %v, want %v at %v", i, info.State, info.RunAt, want, when)
			}
		}
		w := e.worker()
		e.wantIDs("Claim before the time", e.claim(e.b, w, 10, "a", "b"), ids[0], ids[2])
		e.advance(9 * e.unit)
		e.wantIDs("Claim still before the time", e.claim(e.b, w, 10, "a", "b"))
		e.advance(e.unit)
		e.wantIDs("Claim at the time", e.claim(e.b, w, 10, "a", "b"), ids[1], ids[3])
	},
}, {
	name: "instant/replace",
	rule: "a job that replaces another one sets its instants",
	run: func(e *env) {
		unique := backend.Unique{Key: "k", Scope: backend.UntilStarted, Conflict: backend.Replace}
		now := e.now()
		id := e.pushJobs(e.b, at(now.Add(10*e.unit), uniqueJob("a", unique)))[0]
		when := now.Add(50 * e.unit)
		e.pushJobs(e.b, until(when.Add(e.unit), at(when, uniqueJob("a", unique))))
		if info := e.get(id); info.State != backend.Scheduled || !info.RunAt.Equal(when) || !info.ExpiresAt.Equal(when.Add(e.unit)) {
			e.Errorf("the job is %v at %v, until %v", info.State, info.RunAt, info.ExpiresAt)
		}
		ids := e.pushJobs(e.b, uniqueJob("b", unique), at(when, uniqueJob("b", unique)))
		if info := e.get(ids[0]); info.State != backend.Scheduled || !info.RunAt.Equal(when) {
			e.Errorf("the job that is replaced in its batch is %v at %v", info.State, info.RunAt)
		}
	},
}, {
	name: "instant/expires-at",
	rule: "a job that expires at an instant is cancelled when the store's clock reaches it; an instant that has passed is refused",
	run: func(e *env) {
		if e.store.Advance != nil {
			e.store.Advance(-10 * time.Hour)
		}
		now := e.now()
		ids := e.pushJobs(e.b, until(now.Add(50*e.unit), newJob("a")), until(now.Add(5*e.unit), newJob("a")), until(now.Add(50*e.unit), after(2*e.unit, newJob("a"))))
		if info := e.get(ids[0]); !info.ExpiresAt.Equal(now.Add(50 * e.unit)) {
			e.Errorf("the job expires at %v, want %v", info.ExpiresAt, now.Add(50*e.unit))
		}
		for what, job := range map[string]backend.NewJob{
			"has passed":                until(now.Add(-time.Microsecond), newJob("b")),
			"is before its own instant": until(now.Add(20*e.unit), at(now.Add(30*e.unit), newJob("b"))),
			"is before its delay":       until(now.Add(20*e.unit), after(30*e.unit, newJob("b"))),
			"is absurd":                 until(now.AddDate(500, 0, 0), newJob("b")),
			"stands with an expiry":     until(now.Add(20*e.unit), expiring(20*e.unit, newJob("b"))),
			"stands with a delay":       at(now.Add(20*e.unit), after(20*e.unit, newJob("b"))),
		} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{newJob("b"), job}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Push of a job with an instant that %s = %v, want ErrInvalid", what, err)
			}
		}
		e.advance(6 * e.unit)
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a", "b"), ids[0], ids[2])
		e.reap(e.b, backend.ReapRequest{})
		e.wantCancelled("the expired", ids[1], backend.ExpiredError)
		e.wantCounts("a running=2 a cancelled=1 now pending=1")
	},
}, {
	name:  "instant/tx",
	needs: backend.FieldExpires,
	rule:  "an instant means the same in the application's transaction",
	run: func(e *env) {
		now := e.now()
		pusher, tx := e.tx()
		if _, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{until(now.Add(-time.Hour), newJob("b"))}); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("PushTx = %v, want ErrInvalid", err)
		}
		pushed, err := pusher.PushTx(e.ctx, tx, []backend.NewJob{at(now.Add(50*e.unit), newJob("a")), until(now.Add(50*e.unit), newJob("a"))})
		if err != nil {
			e.Fatalf("PushTx: %v", err)
		}
		if err := tx.Commit(); err != nil {
			e.Fatalf("Commit: %v", err)
		}
		late, soon := e.get(pushed[0].ID), e.get(pushed[1].ID)
		if late.State != backend.Scheduled || !late.RunAt.Equal(now.Add(50*e.unit)) || soon.State != backend.Pending || !soon.ExpiresAt.Equal(now.Add(50*e.unit)) {
			e.Errorf("the jobs are %+v and %+v", late, soon)
		}
	},
}, {
	name: "clock/moved",
	rule: "wherever the clock jumps, pending jobs run, running jobs are held, and a rate recovers within its span",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("the store's clock cannot be moved")
		}
		e.set(e.b, backend.Settings{Name: "rated", Rate: 2, Per: e.unit})
		for _, move := range []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour} {
			for _, move := range []time.Duration{move, -move} {
				ids := e.push(e.b, "a", 2)
				rated := e.push(e.b, "rated", 4)
				w := e.worker()
				held := e.claim(e.b, w, 1, "a")
				e.wantIDs("Claim before the clock moved", held, ids[0])
				e.wantIDs("Claim of the rated before the clock moved", e.claim(e.b, w, 4, "rated"), rated[:2]...)
				e.store.Advance(move)
				e.wantIDs("Claim", e.claim(e.other(), w, 10, "a"), ids[1])
				if move < e.unit {
					e.wantIDs("Claim of the rated", e.claim(e.b, w, 4, "rated"))
				}
				e.advance(e.unit + e.unit/50)
				e.wantIDs("Claim of the rated after its span", e.claim(e.b, w, 4, "rated"), rated[2:]...)
				e.wantLost("Complete", e.complete(e.b, held[0].Lease))
				e.advance(e.unit + e.unit/50)
			}
		}
	},
}}
