package lifecycle_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/internal/torture/life"
)

// Whatever happens to a job, it is what the independent model of package life
// makes of it.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		j := lifecycle.New(&backend.NewJob{MaxAttempts: 1}, 1)
		model := life.Job{State: backend.Pending}
		set := backend.Settings{MaxCrashes: random.IntN(4) - 1}
		for token := int64(1); token < 40; token++ {
			now := 1000 * token
			lease := token - int64(random.IntN(3)) // some are of earlier runs
			switch op := random.IntN(8); {
			case op == 0 && j.State.Waits():
				j, model.State = j.Ready(1<<50).Claim(5, token), backend.Pending
				model.Start(5, token)
			case op == 1:
				verdict := j.Judge(lease, 0)
				if lost := model.Complete(lease); lost != (verdict == lifecycle.Lost) {
					t.Fatalf("seed %d: Complete of %+v is judged %v, and lost is %v", seed, j, verdict, lost)
				}
				if verdict == lifecycle.Held {
					j = j.Complete(&backend.Completion{}, now)
				}
			case op == 2 || op == 3:
				f := &backend.Failure{Ending: backend.EndRetry + backend.Ending(random.IntN(5)), Delay: time.Duration(random.IntN(2)) * time.Second}
				verdict := j.Judge(lease, f.Ending)
				if lost := model.Fail(lease, f.Ending, life.After(f.Ending, f.Delay)); lost != (verdict == lifecycle.Lost) {
					t.Fatalf("seed %d: Fail of %+v as %v is judged %v, and lost is %v", seed, j, f.Ending, verdict, lost)
				}
				if verdict == lifecycle.Held {
					j, _ = j.Fail(f, now)
				}
			case op == 4 && j.State == backend.Running:
				j, _ = j.Release(now)
				model.Release()
			case op == 5 && j.State == backend.Running:
				alone := random.IntN(3) > 0
				j, _ = j.Rescue(alone, set, now)
				model.Rescue(alone, set)
			case op == 6 && j.State == backend.Running:
				j, _ = j.Cancel(now)
				model.Cancelling = true
			case op == 7 && j.State.Terminal():
				j = j.Retry(nil, now)
				model = life.Job{State: backend.Pending}
			}
			got := life.Job{State: j.State, Worker: j.Worker, Failures: j.Failures, Crashes: j.Crashes, Suspect: j.Suspect,
				Token: j.Token, Ending: j.Ending, Cancelling: j.Cancelling}
			if got != model {
				t.Fatalf("seed %d, step %d: the job is %+v, want %+v", seed, token, got, model)
			}
		}
	}
}

// running is a job of attempt 3 that is run by a lease with the token 9.
var running = lifecycle.Job{
	State: backend.Running, Priority: 4, Failures: 2, Crashes: 1, Suspect: true, Worker: 5, Token: 9, RunAt: 100, StartedAt: 150,
}

func TestFail(t *testing.T) {
	const now = 1_000_000
	cancelling := running
	cancelling.Cancelling = true
	// change returns running with the changes that all endings make but a release.
	change := func(s backend.State, e backend.Ending, f func(*lifecycle.Job)) lifecycle.Job {
		j := running
		j.State, j.Ending, j.Worker, j.StartedAt, j.Suspect, j.Crashes = s, e, 0, 0, false, 0
		if s.Terminal() {
			j.FinishedAt, j.StartedAt = now, running.StartedAt
		}
		f(&j)
		return j
	}
	for name, c := range map[string]struct {
		job     lifecycle.Job
		failure backend.Failure
		want    lifecycle.Job
		text    string
	}{
		"retry": {
			running, backend.Failure{Ending: backend.EndRetry, Delay: time.Second, Error: "no"},
			change(backend.Scheduled, backend.EndRetry, func(j *lifecycle.Job) { j.Failures, j.RunAt = 3, 2_000_000 }), "no",
		},
		"snooze": {
			running, backend.Failure{Ending: backend.EndSnooze},
			change(backend.Pending, backend.EndSnooze, func(j *lifecycle.Job) { j.RunAt = now }), "",
		},
		"release": {
			running, backend.Failure{Ending: backend.EndRelease, Expires: time.Second},
			change(backend.Pending, backend.EndRelease, func(j *lifecycle.Job) { j.Suspect, j.Crashes, j.ExpiresAt = true, 1, 2_000_000 }), "",
		},
		"failed, and how long it took": {
			running, backend.Failure{Ending: backend.EndFailed, Error: "no", Took: time.Millisecond},
			change(backend.Failed, backend.EndFailed, func(j *lifecycle.Job) { j.Failures, j.StartedAt = 3, 999_000 }), "no",
		},
		"cancelled by its handler": {
			running, backend.Failure{Ending: backend.EndCancelled},
			change(backend.Cancelled, backend.EndCancelled, func(*lifecycle.Job) {}), "",
		},
		"retry of what is cancelled": {
			cancelling, backend.Failure{Ending: backend.EndRetry, Delay: time.Second},
			change(backend.Cancelled, backend.EndRetry, func(*lifecycle.Job) {}), backend.CancelledError,
		},
		"release of what is cancelled": {
			cancelling, backend.Failure{Ending: backend.EndRelease, Expires: time.Second, Error: "no"},
			change(backend.Cancelled, backend.EndRelease, func(*lifecycle.Job) {}), "no",
		},
	} {
		got, e := c.job.Fail(&c.failure, now)
		if got != c.want || e.Error != c.text || c.text != "" && (e.Attempt != 3 || e.At != lifecycle.Time(now)) {
			t.Errorf("%s: got %+v with %+v, want %+v with %q", name, got, e, c.want, c.text)
		}
	}
}

func TestRetry(t *testing.T) {
	priority := int16(-3)
	j, _ := running.Fail(&backend.Failure{Ending: backend.EndFailed}, 1000)
	if got, want := j.Retry(nil, 2000), (lifecycle.Job{State: backend.Pending, Priority: 4, RunAt: 2000}); got != want {
		t.Errorf("Retry of a failed job is %+v, want %+v", got, want)
	}
	j, _ = running.Fail(&backend.Failure{Ending: backend.EndRetry, Delay: time.Hour}, 1000)
	got := j.Retry(&priority, 2000)
	if j.State, j.RunAt, j.Priority = backend.Pending, 2000, -3; got != j {
		t.Errorf("Retry of a scheduled job is %+v, want %+v", got, j)
	}
	for state, ops := range map[backend.State]string{
		backend.Scheduled: "rcdp", backend.Blocked: "cdp", backend.Pending: "cdp", backend.Running: "c",
		backend.Done: "rd", backend.Failed: "rd", backend.Cancelled: "rd",
	} {
		for op, letter := range map[backend.Op]string{backend.OpRetry: "r", backend.OpCancel: "c", backend.OpDelete: "d", backend.OpFree: "f", backend.OpPrioritize: "p"} {
			if (lifecycle.Job{State: state}).Accepts(op) != strings.Contains(ops, letter) {
				t.Errorf("a job that is %v accepts %q, op %d is among it or not", state, ops, op)
			}
		}
	}
}

func TestReplace(t *testing.T) {
	const now = 1_000_000
	for name, c := range map[string]struct {
		job  lifecycle.Job
		n    backend.NewJob
		want lifecycle.Job
	}{
		"one that can run keeps its place": {
			lifecycle.Job{State: backend.Pending, RunAt: 5, ExpiresAt: 9, Failures: 2}, backend.NewJob{Priority: 1},
			lifecycle.Job{State: backend.Pending, RunAt: 5, Priority: 1, Failures: 2},
		},
		"one for later runs now": {
			lifecycle.Job{State: backend.Scheduled, RunAt: 2 * now}, backend.NewJob{Expires: time.Second},
			lifecycle.Job{State: backend.Pending, RunAt: now, ExpiresAt: 2 * now},
		},
		"one that can run is delayed": {
			lifecycle.Job{State: backend.Pending, RunAt: 5}, backend.NewJob{Delay: time.Second},
			lifecycle.Job{State: backend.Scheduled, RunAt: 2 * now},
		},
		"a blocked one stays blocked": {
			lifecycle.Job{State: backend.Blocked, RunAt: 5}, backend.NewJob{Delay: time.Second},
			lifecycle.Job{State: backend.Blocked, RunAt: 2 * now},
		},
	} {
		if got := c.job.Replace(&c.n, now); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestTimes(t *testing.T) {
	j := lifecycle.Job{State: backend.Pending, ExpiresAt: 100}
	if j.Expired(99) || !j.Expired(100) || j.Claim(1, 1).Expired(100) {
		t.Error("a job expires at its time, unless it is claimed")
	}
	ended, e := j.Expire(100)
	if ended.State != backend.Cancelled || ended.FinishedAt != 100 || e.Error != backend.ExpiredError {
		t.Errorf("Expire is %+v with %q", ended, e.Error)
	}
	h := backend.History{Done: time.Millisecond, Failed: -1}
	if ended.Past(backend.History{Failed: time.Microsecond}, 100) || !ended.Past(h, 100) || j.Past(h, 1<<50) {
		t.Error("a job is past its history at the wrong time")
	}
	for seen, alive := range map[int64]bool{0: false, 1: true, 1000: true, 1999: true, 2000: false} {
		if lifecycle.Alive(seen, time.Millisecond, 1000) != alive {
			t.Errorf("Alive of a row of %d is %v", seen, !alive)
		}
	}
}

func TestKey(t *testing.T) {
	k := lifecycle.NewKey(7, backend.Unique{Key: "k", For: time.Millisecond}, 1000)
	if k.Until != 2000 || !k.Taken(8, 5000) || k.Taken(7, 1000) || k.Kept(1000) || k.YieldsTo(8, backend.Pending, 1999) {
		t.Errorf("a new key is %+v", k)
	}
	if !k.YieldsTo(8, backend.Pending, 2000) || k.YieldsTo(6, backend.Pending, 2000) || k.YieldsTo(8, backend.Running, 2000) {
		t.Error("a key yields to a job that was pushed later, if its own job waits")
	}
	for _, s := range []backend.State{0, backend.Running, backend.Done, backend.Failed, backend.Cancelled} {
		for _, now := range []int64{1999, 2000} {
			next, stays := k.Release(s, now)
			if want := now == 1999 && s != 0 && s != backend.Cancelled; next.Held || stays != want || next.Kept(now) != (now == 1999) {
				t.Errorf("released at %d by a job in state %d it is %+v, %v", now, s, next, stays)
			}
		}
	}
}

// No span of Per has more claims than the rate, and none that is refused waits
// for more than a hundredth of Per.
func TestRate(t *testing.T) {
	const per = 10_000
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 2))
		r := lifecycle.Rate{Jobs: 1 + random.IntN(300), Per: per}
		var slots []lifecycle.Slot
		var claimed []int64
		for now := int64(1); now < 20*per; now += random.Int64N(2 * per / int64(r.Jobs)) {
			free := r.Free(slots, now)
			left, ahead := r.Left(slots, now)
			if (free == 0) != (left > 0) || ahead != 0 {
				t.Fatalf("seed %d: %d left and %d ahead, free at %d", seed, left, ahead, free)
			}
			if n := len(claimed) - r.Jobs; n >= 0 {
				age := now - claimed[n]
				if free == 0 && age < per || free != 0 && (age >= per+per/100 || free > claimed[n]+per+per/100) {
					t.Fatalf("seed %d: free at %d, and the claim that counts is %d old", seed, free, age)
				}
			}
			if free != 0 {
				continue
			}
			claimed = append(claimed, now)
			if at := r.Slot(now); len(slots) > 0 && slots[len(slots)-1].At == at {
				slots[len(slots)-1].Jobs++
			} else {
				slots = append(slots, lifecycle.Slot{At: at, Jobs: 1})
			}
		}
	}
	// The clock goes back by ten spans.
	r := lifecycle.Rate{Jobs: 3, Per: per}
	slots := []lifecycle.Slot{{At: r.Slot(1), Jobs: 1}, {At: r.Slot(10 * per), Jobs: 1}}
	if left, ahead := r.Left(slots, 2); left != 1 || ahead != 1 {
		t.Errorf("%d left and %d ahead", left, ahead)
	}
	if free := (lifecycle.Rate{Jobs: 1, Per: per}).Free(slots, 2); free > 2+per+per/100 {
		t.Errorf("free at %d", free)
	}
}

func TestAppendError(t *testing.T) {
	var all []backend.RunError
	for i := range 12 {
		all = lifecycle.AppendError(all, backend.RunError{Attempt: i + 1})
		all = lifecycle.AppendError(all, backend.RunError{})
	}
	if len(all) != 10 || all[0].Attempt != 3 || all[9].Attempt != 12 {
		t.Errorf("the errors are %v", all)
	}
}
