package conformance

import (
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// finishJobs pushes jobs with payloads of a size, and ends them one after the other: as done, or as failed.
func (e *env) finishJobs(name string, n, size int, failed bool) (ids []int64) {
	e.Helper()
	w := e.worker()
	for range n {
		job := newJob(name)
		job.Payload = make([]byte, size)
		ids = append(ids, e.pushJobs(e.b, job)[0])
		lease := e.claim1(e.b, w, name).Lease
		if failed {
			e.fail(e.b, backend.Failure{Lease: lease, Ending: backend.EndFailed, Error: "x"})
		} else {
			e.complete(e.b, lease)
		}
		e.advance(time.Millisecond)
	}
	return ids
}

// wantKept checks that the jobs from an index on are kept, and no others, give or take one.
func (e *env) wantKept(what string, ids []int64, from int) {
	e.Helper()
	for more := true; more; {
		more = e.reap(e.b, backend.ReapRequest{}).More
	}
	first := len(ids)
	for i, id := range ids {
		if _, err := e.reader().Get(e.ctx, id); err == nil {
			first = min(first, i)
		} else if i > first {
			e.Errorf("%s: job %d is deleted, and an older one is not", what, i)
		}
	}
	if first < from-1 || first > from+1 {
		e.Errorf("%s: %d of %d jobs are deleted, want %d", what, first, len(ids), from)
	}
}

var bytesCases = []testCase{{
	name:  "history/bytes",
	needs: backend.FieldHistory,
	rule:  "of finished jobs of a name with more bytes than Bytes, those that finished first are deleted",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", History: backend.History{Bytes: 10 * 10_200}}, backend.Settings{Name: "b"})
		done, failed := e.finishJobs("a", 15, 10_000, false), e.finishJobs("a", 15, 10_000, true)
		other := e.finishJobs("b", 15, 10_000, false)
		e.wantKept("done and failed", append(done, failed...), 20)
		e.wantKept("of another name", other, 0)
		e.set(e.b, backend.Settings{Name: "a", History: backend.History{Bytes: -1}})
		e.wantKept("without a bound", failed, 5)
	},
}, {
	name:  "history/total",
	needs: backend.FieldHistory,
	opts:  Options{History: backend.History{Total: 40 * 10_200}},
	rule:  "if finished jobs have more bytes than Total together, each name keeps an equal share of its jobs, those that finished last",
	run: func(e *env) {
		many, few := e.finishJobs("many", 40, 10_000, false), e.finishJobs("few", 20, 10_000, false)
		small := e.finishJobs("small", 20, 0, false)
		e.wantKept("many", many, 14)
		e.wantKept("few", few, 7)
		e.wantKept("small", small, 7)
		err := capability[backend.SettingsStore](e, e.b).Override(e.ctx, backend.Override{Settings: backend.Settings{Name: "few", History: backend.History{Total: 5}}}, false)
		if !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("Override with a Total = %v, want ErrInvalid", err)
		}
	},
}}
