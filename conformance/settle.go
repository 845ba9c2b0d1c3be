package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
)

// stale returns a lease that was reaped and the job as another claimed it.
func (e *env) stale() (old backend.Lease, now backend.Job) {
	e.Helper()
	e.push(e.b, "a", 1)
	old = e.claim1(e.b, e.worker(), "a").Lease
	e.crash(e.b)
	return old, e.claim1(e.store.Open(e), e.worker(), "a")
}

// finishes reports whether e finishes the job.
func finishes(e backend.Ending) bool { return e == backend.EndFailed || e == backend.EndCancelled }

var endings = []backend.Ending{
	backend.EndRetry, backend.EndSnooze, backend.EndRelease, backend.EndFailed, backend.EndCancelled,
}

var settleCases = []testCase{{
	name: "settle/repeat",
	rule: "a repeated settlement succeeds and changes nothing",
	run: func(e *env) {
		w := e.worker()
		e.push(e.b, "a", 1)
		j := e.claim1(e.b, w, "a")
		e.wantLost("Complete twice in a batch", e.complete(e.b, j.Lease, j.Lease))
		before := e.get(j.ID)
		e.advance(e.unit / 10)
		e.wantLost("Complete again", e.complete(e.b, j.Lease))
		e.wantLost("Complete again by another", e.complete(e.store.Open(e), j.Lease))
		if after := e.get(j.ID); !reflect.DeepEqual(before, after) {
			e.Errorf("the job was %+v and is %+v", before, after)
		}
		e.wantCounts("a done=1")
		for i, ending := range endings {
			name := fmt.Sprint("b", i)
			e.push(e.b, name, 1)
			j := e.claim1(e.b, w, name)
			f := backend.Failure{Lease: j.Lease, Ending: ending, Delay: e.unit, Error: "x"}
			e.wantLost("Fail", e.fail(e.b, f))
			before := e.get(j.ID)
			e.advance(e.unit / 10)
			e.wantLost("Fail again", e.fail(e.b, f, f))
			if after := e.get(j.ID); !reflect.DeepEqual(before, after) {
				e.Errorf("the job was %+v and is %+v", before, after)
			}
		}
	},
}, {
	name: "settle/otherwise",
	rule: "a second settlement of another kind reports a lost lease and changes nothing",
	run: func(e *env) {
		w := e.worker()
		settle := func(l backend.Lease, way int) []backend.Lease {
			if way < 0 {
				return e.complete(e.b, l)
			}
			return e.fail(e.b, backend.Failure{Lease: l, Ending: endings[way], Delay: 5 * e.unit})
		}
		for first := -1; first < len(endings); first++ {
			for second := -1; second < len(endings); second++ {
				if first == second {
					continue
				}
				name := fmt.Sprintf("a%d-%d", first, second)
				e.push(e.b, name, 1)
				j := e.claim1(e.b, w, name)
				e.wantLost("first way", settle(j.Lease, first))
				before := e.get(j.ID)
				e.wantLost(fmt.Sprintf("way %d after %d", second, first), settle(j.Lease, second), j.Lease)
				if after := e.get(j.ID); !reflect.DeepEqual(before, after) {
					e.Errorf("the job was %+v and is %+v", before, after)
				}
			}
		}
	},
}, {
	name: "settle/repeat-after-claim",
	rule: "a settled lease is lost once its job is claimed again, for a repeated settlement too",
	run: func(e *env) {
		w := e.worker()
		for i, ending := range []backend.Ending{backend.EndRetry, backend.EndSnooze, backend.EndRelease} {
			name := fmt.Sprint("a", i)
			e.push(e.b, name, 1)
			f := backend.Failure{Lease: e.claim1(e.b, w, name).Lease, Ending: ending}
			e.wantLost("Fail", e.fail(e.b, f))
			again := e.claim1(e.b, w, name)
			e.wantLost("Fail of the lease before", e.fail(e.b, f), f.Lease)
			e.wantLost("Complete of the lease before", e.complete(e.b, f.Lease), f.Lease)
			e.wantLost("Complete", e.complete(e.b, again.Lease))
		}
	},
}, {
	name: "fail/stale",
	rule: "failing with a lease that was reaped and claimed again changes nothing and returns it as lost",
	run: func(e *env) {
		old, j := e.stale()
		before := e.get(j.ID)
		for _, ending := range endings {
			f := backend.Failure{Lease: old, Ending: ending, Error: "stale"}
			e.wantLost("Fail of the old lease", e.fail(e.b, f), old)
		}
		if after := e.get(j.ID); !reflect.DeepEqual(before, after) {
			e.Errorf("the job was %+v and is %+v", before, after)
		}
		e.wantLost("Complete of the live lease", e.complete(e.b, j.Lease))
	},
}, {
	name: "fail/retry",
	rule: "a retry spends an attempt and is claimed after its delay, not before",
	run: func(e *env) {
		w := e.worker()
		id := e.push(e.b, "a", 1)[0]
		for attempt := 1; attempt <= 3; attempt++ {
			j := e.claim1(e.b, w, "a")
			if j.Attempt != attempt {
				e.Errorf("attempt is %d, want %d", j.Attempt, attempt)
			}
			e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Delay: 5 * e.unit, Error: fmt.Sprint("no ", attempt)})
			e.wantState(id, backend.Scheduled)
			e.advance(4 * e.unit)
			e.reap(e.b, backend.ReapRequest{})
			e.wantIDs("Claim before the time", e.claim(e.b, w, 1, "a"))
			e.advance(e.unit)
		}
		info := e.get(id)
		if info.Failures != 3 || len(info.Errors) != 3 || info.Errors[0].Error != "no 1" || info.Errors[2].Attempt != 3 {
			e.Errorf("the job is %+v", info)
		}
	},
}, {
	name: "fail/result",
	rule: "the result of a run that is not completed is kept, until another replaces it or an operator retries the job",
	run: func(e *env) {
		w := e.worker()
		want := func(id int64, result string) {
			e.Helper()
			if info := e.get(id); string(info.Result) != result || info.Result == nil {
				e.Errorf("the result is %#v, want %q", info.Result, result)
			}
		}
		for i, ending := range endings {
			name := fmt.Sprint("a", i)
			id := e.push(e.b, name, 1)[0]
			result := []byte("\x00\xffresult")
			f := backend.Failure{Lease: e.claim1(e.b, w, name).Lease, Ending: ending, Result: bytes.Clone(result)}
			e.wantLost("Fail", e.fail(e.b, f))
			f.Result[0] = 'x'
			want(id, string(result))
			e.wantLost("Fail again", e.fail(e.other(), f))
			want(id, string(result))
			if finishes(ending) {
				continue
			}
			e.wantLost("Fail without a result", e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, name).Lease, Ending: ending}))
			want(id, string(result))
			e.wantLost("Fail with an empty result", e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, name).Lease, Ending: ending, Result: []byte{}}))
			want(id, "")
			e.wantLost("Fail with a result", e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, name).Lease, Ending: ending, Result: []byte("2")}))
			e.wantLost("Complete without a result", e.complete(e.b, e.claim1(e.b, w, name).Lease))
			want(id, "2")
			if _, ok := e.b.(backend.Operator); !ok {
				continue
			}
			e.wantAffected("retry", backend.OpRetry, []int64{id}, id)
			if info := e.get(id); info.Result != nil {
				e.Errorf("a retried job has the result %q", info.Result)
			}
		}
	},
}, {
	name: "fail/result-unkept",
	rule: "a result is deleted with its job",
	opts: Options{History: backend.History{Done: -1, Failed: -1}},
	run: func(e *env) {
		w := e.worker()
		inspector := capability[backend.Inspector](e, e.b)
		settle := func(ending backend.Ending) {
			f := backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: ending, Result: []byte("result")}
			e.wantLost("Fail", e.fail(e.b, f))
		}
		e.push(e.b, "a", 1)
		settle(backend.EndRetry)
		e.wantLost("Complete", e.complete(e.b, e.claim1(e.b, w, "a").Lease))
		e.push(e.b, "a", 1)
		settle(backend.EndFailed)
		e.wantCounts("")
		findings, err := inspector.Examine(e.ctx, backend.ExamineRequest{Derived: true})
		if err != nil {
			e.Fatalf("Examine: %v", err)
		}
		for _, f := range findings {
			if strings.Contains(f.Problem, "result") {
				e.Errorf("Examine finds: %s: %s", f.Name, f.Problem)
			}
		}
	},
}, {
	name: "fail/retry-at-once",
	rule: "a retry without delay is pending at once",
	run: func(e *env) {
		w := e.worker()
		e.push(e.b, "a", 1)
		e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndRetry})
		if j := e.claim1(e.b, w, "a"); j.Attempt != 2 {
			e.Errorf("attempt is %d, want 2", j.Attempt)
		}
	},
}, {
	name: "fail/snooze",
	rule: "a snooze spends no attempt and is claimed after its delay",
	run: func(e *env) {
		w := e.worker()
		id := e.push(e.b, "a", 1)[0]
		e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndSnooze, Delay: 2 * e.unit})
		e.wantState(id, backend.Scheduled)
		e.wantIDs("Claim before the time", e.claim(e.b, w, 1, "a"))
		e.advance(2 * e.unit)
		if j := e.claim1(e.b, w, "a"); j.Attempt != 1 {
			e.Errorf("attempt is %d, want 1", j.Attempt)
		}
	},
}, {
	name: "fail/release",
	rule: "a released job is pending at once, in its place, without an attempt spent",
	run: func(e *env) {
		w := e.worker()
		ids := e.push(e.b, "a", 3)
		first := e.claim1(e.b, w, "a")
		created := e.get(first.ID).RunAt
		e.advance(e.unit / 10)
		e.fail(e.b, backend.Failure{Lease: first.Lease, Ending: backend.EndRelease})
		if info := e.get(first.ID); info.State != backend.Pending || info.Failures != 0 || !info.RunAt.Equal(created) || len(info.Errors) > 0 {
			e.Errorf("the released job is %+v", info)
		}
		jobs := e.claim(e.b, w, 3, "a")
		e.wantIDs("Claim", jobs, ids...)
		if jobs[0].Attempt != 1 || jobs[0].Suspect {
			e.Errorf("the released job came back as %+v", jobs[0])
		}
	},
}, {
	name: "fail/terminal",
	rule: "failed and cancelled jobs are not claimed again",
	run: func(e *env) {
		w := e.worker()
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, w, 2, "a")
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndFailed, Error: "f"},
			backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndCancelled, Error: "c"})
		e.advance(100 * e.unit)
		e.reap(e.b, backend.ReapRequest{Expired: true})
		e.wantIDs("Claim", e.claimAny(e.b, e.worker(), 10, "a"))
		failed, cancelled := e.get(ids[0]), e.get(ids[1])
		if failed.State != backend.Failed || failed.Failures != 1 || failed.FinishedAt.IsZero() || len(failed.Errors) != 1 {
			e.Errorf("the failed job is %+v", failed)
		}
		if cancelled.State != backend.Cancelled || cancelled.Failures != 0 || cancelled.FinishedAt.IsZero() || len(cancelled.Errors) != 1 {
			e.Errorf("the cancelled job is %+v", cancelled)
		}
		e.wantCounts("a failed=1 a cancelled=1")
	},
}, {
	name: "fail/any-text",
	rule: "a failure is stored whatever its text: cut to 64 KiB, as valid UTF-8 without NUL",
	run: func(e *env) {
		w := e.worker()
		for _, text := range []string{
			strings.Repeat("x", 10<<20), "a\x00b", "a\xffb", strings.Repeat("é", 40000), strings.Repeat("\xff", 100000), "' \" -- ;",
		} {
			e.push(e.b, "a", 1)
			j := e.claim1(e.b, w, "a")
			e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed, Error: text}))
			info := e.get(j.ID)
			if info.State != backend.Failed || len(info.Errors) != 1 {
				e.Fatalf("the job is %v with %d errors", info.State, len(info.Errors))
			}
			stored := info.Errors[0].Error
			if len(stored) > 64<<10 || !utf8.ValidString(stored) || strings.ContainsRune(stored, 0) || stored == "" {
				e.Errorf("a text of %d bytes is stored as %d bytes", len(text), len(stored))
			}
		}
	},
}, {
	name: "fail/stack",
	rule: "the stack of a failure is kept with its error, whatever its text",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		for _, stack := range []string{"", "main.f()\n\tf.go:3", "a\x00\xff", strings.Repeat("é", 1<<20)} {
			j := e.claim1(e.b, e.worker(), "a")
			e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Error: "x", Stack: stack}))
			errs := e.get(id).Errors
			last := errs[len(errs)-1]
			if last.Error != "x" || last.Stack != backend.CleanError(stack) {
				e.Errorf("a stack of %d bytes is stored as %d bytes with %q", len(stack), len(last.Stack), last.Error)
			}
		}
	},
}, {
	name: "fail/run",
	rule: "the worker and the duration of a failed run are kept with its error, and an operator's cancellation has none",
	run: func(e *env) {
		ids := e.push(e.b, "a", 2)
		w := e.worker()
		for _, took := range []time.Duration{0, 1234567 * time.Nanosecond} {
			j := e.claim1(e.b, w, "a")
			e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Error: "x", Worker: "mill \x00ü", Took: took}))
			errs := e.get(j.ID).Errors
			if last := errs[len(errs)-1]; last.Took != took.Truncate(time.Microsecond) || last.Worker != backend.CleanError("mill \x00ü") {
				e.Errorf("a run of %v is stored as %+v", took, last)
			}
		}
		j := e.claim1(e.b, w, "a")
		e.operate(backend.OpCancel, backend.Filter{IDs: []int64{j.ID}})
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndCancelled, Worker: "mill", Took: time.Second}))
		errs := e.get(j.ID).Errors
		if last := errs[len(errs)-1]; last.Error != backend.CancelledError || last.Took != 0 || last.Worker != "" {
			e.Errorf("the cancellation of a run of %v is stored as %+v", ids, last)
		}
	},
}, {
	name: "fail/ten-errors",
	rule: "the last ten errors of a job are kept, with their attempts",
	run: func(e *env) {
		w := e.worker()
		id := e.push(e.b, "a", 1)[0]
		for i := 1; i <= 13; i++ {
			j := e.claim1(e.b, w, "a")
			e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Error: fmt.Sprint("error ", i)})
		}
		errs := e.get(id).Errors
		if len(errs) != 10 || errs[0].Attempt != 4 || errs[9].Attempt != 13 || errs[9].Error != "error 13" || errs[9].At.IsZero() {
			e.Errorf("errors are %+v", errs)
		}
	},
}, {
	name: "fail/invalid",
	rule: "a batch of failures that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		ids := e.push(e.b, "a", 2)
		jobs := e.claim(e.b, e.worker(), 2, "a")
		for _, bad := range []backend.Failure{
			{Lease: jobs[1].Lease}, {Lease: jobs[1].Lease, Ending: 99}, {Lease: jobs[1].Lease, Ending: backend.EndRetry, Delay: -1},
		} {
			good := backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndFailed}
			if _, err := e.b.Fail(e.ctx, []backend.Failure{good, bad}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Fail(%+v) = %v, want ErrInvalid", bad, err)
			}
		}
		for _, id := range ids {
			e.wantState(id, backend.Running)
		}
	},
}, {
	name: "history/delete-at-once",
	rule: "with a negative retention a job is deleted in the transaction that ends it",
	opts: Options{History: backend.History{Done: -1, Failed: -1}},
	run: func(e *env) {
		w := e.worker()
		ids := e.push(e.b, "a", 3)
		jobs := e.claim(e.b, w, 3, "a")
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndRetry, Error: "once"})
		jobs[0] = e.claim1(e.b, w, "a")
		e.wantLost("Complete", e.complete(e.b, jobs[0].Lease))
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed, Error: "f"},
			backend.Failure{Lease: jobs[2].Lease, Ending: backend.EndCancelled, Error: "c"}))
		for _, id := range ids {
			e.wantState(id, 0)
		}
		e.wantLost("Complete of a deleted job", e.complete(e.b, jobs[0].Lease), jobs[0].Lease)
		e.wantCounts("")
	},
}, {
	name: "fail/snooze-attempt",
	rule: "a snoozed or released job is claimed with the same attempt number, a failed one with the next",
	run: func(e *env) {
		e.push(e.b, "a", 1)
		w := e.worker()
		want := 1
		for _, ending := range []backend.Ending{backend.EndSnooze, backend.EndRelease, backend.EndRetry, backend.EndSnooze} {
			job := e.claim1(e.b, w, "a")
			if job.Attempt != want {
				e.Fatalf("the attempt is %d, want %d before ending %v", job.Attempt, want, ending)
			}
			f := backend.Failure{Lease: job.Lease, Ending: ending}
			if ending == backend.EndRetry {
				f.Error = "no"
				want++
			}
			e.wantLost("Fail", e.fail(e.b, f))
		}
		if job := e.claim1(e.b, w, "a"); job.Attempt != want {
			e.Errorf("the attempt is %d, want %d", job.Attempt, want)
		}
	},
}}
