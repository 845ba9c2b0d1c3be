package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// log stores the log of a run.
func (e *env) log(l backend.Lease, text string) {
	e.Helper()
	if err := capability[backend.Heartbeater](e, e.b).StoreProgress(e.ctx, []backend.Progress{{Lease: l, Log: text}}); err != nil {
		e.Fatalf("StoreProgress: %v", err)
	}
}

// wantLogs checks the logs of a job, given as "attempt text".
func (e *env) wantLogs(what string, id int64, want ...string) {
	e.Helper()
	var got []string
	for _, l := range e.get(id).Logs {
		got = append(got, fmt.Sprintf("%d %s", l.Attempt, l.Text))
		if l.At.IsZero() {
			e.Errorf("%s: the log of attempt %d has no time", what, l.Attempt)
		}
	}
	if !slices.Equal(got, want) {
		e.Errorf("%s: the logs are %.200q, want %.200q", what, got, want)
	}
}

var logCases = []testCase{{
	name: "log/runs",
	rule: "the log of a run replaces what the run sent before and stays next to those of the other runs of the job, the last ten; progress and others' leases are left alone",
	run: func(e *env) {
		heart := capability[backend.Heartbeater](e, e.b)
		w := e.worker()
		ids := e.push(e.b, "a", 2)
		first := e.claim1(e.b, w, "a")
		if err := heart.StoreProgress(e.ctx, []backend.Progress{{Lease: first.Lease, Done: 3, Total: 9}, {Lease: first.Lease, Log: "one\n"}}); err != nil {
			e.Fatalf("StoreProgress: %v", err)
		}
		e.log(first.Lease, "one\ntwo \x00 ü\n")
		e.wantLogs("after two calls", ids[0], "1 one\ntwo \x00 ü\n")
		e.wantLogs("of another job", ids[1])
		if info := e.get(ids[0]); info.Done != 3 || info.Total != 9 {
			e.Errorf("the progress is %d of %d", info.Done, info.Total)
		}
		page, err := capability[backend.Reader](e, e.b).List(e.ctx, backend.ListRequest{Payloads: true})
		if err != nil || slices.ContainsFunc(page.Jobs, func(i backend.Info) bool { return i.Logs != nil }) {
			e.Errorf("List = %+v, %v; want no logs", page, err)
		}
		e.crash(e.b) // the next run is attempt 1, too
		e.log(first.Lease, "late")
		second := e.claim1(e.b, e.worker(), "a")
		if second.ID != ids[0] {
			second = e.claim1(e.b, e.worker(), "a")
		}
		e.log(second.Lease, "after the crash")
		e.wantLogs("after a crash", ids[0], "1 one\ntwo \x00 ü\n", "1 after the crash")
		e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: second.Lease, Ending: backend.EndRetry, Error: "bad"}))
		e.log(second.Lease, "late")
		want := []string{"1 one\ntwo \x00 ü\n", "1 after the crash"}
		for n := range 10 {
			j := e.claim1(e.b, e.worker(), "a")
			for j.ID != ids[0] {
				e.wantLost("Complete", e.complete(e.b, j.Lease))
				j = e.claim1(e.b, e.worker(), "a")
			}
			e.log(j.Lease, fmt.Sprint("run ", n))
			want = append(want, fmt.Sprintf("%d run %d", n+2, n))
			ending := backend.Failure{Lease: j.Lease, Ending: backend.EndRetry, Error: "bad"}
			if n == 9 {
				ending.Ending = backend.EndFailed
			}
			e.wantLost("Fail", e.fail(e.b, ending))
		}
		e.wantLogs("after twelve runs", ids[0], want[2:]...)
	},
}, {
	name: "log/bounded",
	rule: "a store keeps the last lines of a log that have at most MaxLog bytes together, and the end of a longer line",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		j := e.claim1(e.b, e.worker(), "a")
		line := strings.Repeat("x", 1023) + "\n"
		e.log(j.Lease, "first\n"+strings.Repeat(line, 64)+"last\n")
		e.wantLogs("of many lines", id, "1 "+strings.Repeat(line, 63)+"last\n")
		e.log(j.Lease, "y"+strings.Repeat("x", backend.MaxLog))
		e.wantLogs("of one line", id, "1 "+strings.Repeat("x", backend.MaxLog))
	},
}, {
	name:  "log/deleted",
	rule:  "the logs of a job are deleted with its payload, and when an operator retries it after its end; a done job keeps them otherwise",
	needs: backend.FieldDrop,
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "b", History: backend.History{DropDone: true, DropFailed: true}})
		w := e.worker()
		ids := e.pushJobs(e.b, newJob("a"), newJob("b"), newJob("b"))
		for _, name := range []string{"a", "b", "b"} {
			j := e.claim1(e.b, w, name)
			e.log(j.Lease, "secret")
			if j.ID == ids[2] {
				e.wantLost("Fail", e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed, Error: "bad"}))
				continue
			}
			e.wantLost("Complete", e.complete(e.b, j.Lease))
		}
		e.wantLogs("of a done job", ids[0], "1 secret")
		e.wantLogs("of a dropped job", ids[1])
		e.wantLogs("of a dropped job that failed", ids[2])
		e.wantAffected("Retry", backend.OpRetry, ids[:1], ids[0])
		e.wantLogs("after a retry", ids[0])
		e.log(e.claim1(e.b, w, "a").Lease, "again")
		e.wantLogs("of the run after it", ids[0], "1 again")
	},
}}
