package conformance

import (
	"errors"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// rewrite replaces parts of jobs and fails unless it changes exactly the jobs of want.
func (e *env) rewrite(what string, all []backend.Rewrite, want ...int64) {
	e.Helper()
	r, err := capability[backend.Operator](e, e.b).Operate(e.ctx, backend.OperateRequest{Op: backend.OpRewrite, Rewrites: all})
	if err != nil || !slices.Equal(r.Affected, want) {
		e.Errorf("%s: Operate = %+v, %v; want %v affected", what, r, err, want)
	}
}

var rewriteCases = []testCase{{
	name: "rewrite/parts",
	rule: "OpRewrite replaces payloads and results that are byte for byte Old, in any state, and leaves all others and everything else as it is",
	run: func(e *env) {
		operator := capability[backend.Operator](e, e.b)
		w := e.worker()
		ids := e.pushJobs(e.b, newJob("a"), newJob("a"), newJob("b"), newJob("b"))
		jobs := e.claim(e.b, w, 2, "a")
		if lost, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: jobs[0].Lease, Result: []byte("\x00old")}}); err != nil || lost != nil {
			e.Fatalf("Complete = %v, %v", lost, err)
		}
		before := e.get(ids[2])
		long := slices.Repeat([]byte("\x00ü\xff"), 5000)
		e.rewrite("payloads and a result", []backend.Rewrite{
			{Job: ids[3], Part: backend.PartPayload, Old: before.Payload, New: nil},
			{Job: ids[2], Part: backend.PartPayload, Old: before.Payload, New: long},
			{Job: ids[0], Part: backend.PartResult, Old: []byte("\x00old"), New: []byte("\x00new")},
			{Job: ids[0], Part: backend.PartPayload, Old: jobs[0].Payload, New: []byte("1")},
			{Job: ids[1], Part: backend.PartPayload, Old: jobs[1].Payload, New: []byte("2")},
		}, ids...)
		e.rewrite("what is not there", []backend.Rewrite{
			{Job: ids[0], Part: backend.PartPayload, Old: jobs[0].Payload, New: []byte("x")},
			{Job: ids[0], Part: backend.PartResult, Old: []byte("\x00old"), New: []byte("x")},
			{Job: ids[1], Part: backend.PartResult, Old: nil, New: []byte("x")},
			{Job: ids[2], Part: backend.PartStep, Step: "s", Old: nil, New: []byte("x")},
			{Job: ids[3] + 1000, Part: backend.PartPayload, Old: nil, New: []byte("x")},
		})
		after := e.get(ids[2])
		if string(after.Payload) != string(long) {
			e.Errorf("the payload has %d bytes, want %d", len(after.Payload), len(long))
		}
		if after.Payload = before.Payload; after.State != before.State || !after.RunAt.Equal(before.RunAt) || after.Priority != before.Priority {
			e.Errorf("the job is %+v, before %+v", after, before)
		}
		if info := e.get(ids[0]); info.State != backend.Done || string(info.Result) != "\x00new" || string(info.Payload) != "1" {
			e.Errorf("the done job is %+v", info)
		}
		if info := e.get(ids[1]); info.State != backend.Running || string(info.Payload) != "2" || info.Result != nil {
			e.Errorf("the running job is %+v", info)
		}
		e.wantLost("EndRelease", e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndRelease}))
		if again := e.claim1(e.b, w, "a"); string(again.Payload) != "2" {
			e.Errorf("the next claim returned the payload %q", again.Payload)
		}
		if next := e.claim1(e.b, w, "b"); next.ID != ids[2] || string(next.Payload) != string(long) {
			e.Errorf("Claim returned job %d with %d bytes", next.ID, len(next.Payload))
		}
		if next := e.claim1(e.b, w, "b"); next.ID != ids[3] || len(next.Payload) != 0 {
			e.Errorf("Claim returned job %d with the payload %q", next.ID, next.Payload)
		}
		for _, req := range []backend.OperateRequest{
			{Op: backend.OpRewrite},
			{Op: backend.OpDelete, Filter: backend.Filter{IDs: ids}, Rewrites: []backend.Rewrite{{Job: ids[0], Part: backend.PartPayload}}},
			{Op: backend.OpRewrite, Rewrites: []backend.Rewrite{{Part: backend.PartPayload}}},
			{Op: backend.OpRewrite, Rewrites: []backend.Rewrite{{Job: ids[0]}}},
			{Op: backend.OpRewrite, Rewrites: []backend.Rewrite{{Job: ids[0], Part: backend.PartStep}}},
			{Op: backend.OpRewrite, Rewrites: make([]backend.Rewrite, 1001)},
		} {
			if _, err := operator.Operate(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Operate of %d rewrites with operation %d = %v, want ErrInvalid", len(req.Rewrites), req.Op, err)
			}
		}
	},
}, {
	name: "rewrite/steps",
	rule: "OpRewrite replaces the result of a step that has the name and is byte for byte Old",
	run: func(e *env) {
		e.steps()
		id := e.push(e.b, "a", 1)[0]
		j := e.claim1(e.b, e.worker(), "a")
		e.storeStep(j.Lease, "one", "same")
		e.storeStep(j.Lease, "two", "same")
		e.storeStep(j.Lease, "three", "")
		e.rewrite("steps", []backend.Rewrite{
			{Job: id, Part: backend.PartStep, Step: "two", Old: []byte("same"), New: []byte("\x00new")},
			{Job: id, Part: backend.PartStep, Step: "one", Old: []byte("other"), New: []byte("x")},
			{Job: id, Part: backend.PartStep, Step: "three", Old: nil, New: []byte("3")},
		}, id)
		e.wantSteps("rewritten", id, "one=same", "two=\x00new", "three=3")
	},
}}
