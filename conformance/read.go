package conformance

import (
	"errors"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// list reads all pages.
func (e *env) list(req backend.ListRequest) (ids []int64) {
	e.Helper()
	for range 1000 {
		page, err := e.reader().List(e.ctx, req)
		if err != nil {
			e.Fatalf("List: %v", err)
		}
		if req.Limit > 0 && len(page.Jobs) > req.Limit {
			e.Fatalf("List returned %d jobs, more than %d", len(page.Jobs), req.Limit)
		}
		for _, j := range page.Jobs {
			ids = append(ids, j.ID)
		}
		if page.Next == 0 {
			return ids
		}
		req.Before = page.Next
	}
	e.Fatalf("List does not end")
	return nil
}

var readCases = []testCase{{
	name: "read/get",
	rule: "Get returns the job, or ErrNotFound",
	run: func(e *env) {
		job := newJob("a")
		job.Priority, job.Delay = 3, e.unit
		id := e.pushJobs(e.b, job)[0]
		info := e.get(id)
		if info.ID != id || info.Name != "a" || info.State != backend.Scheduled || info.Priority != 3 || info.MaxAttempts != 3 ||
			string(info.Payload) != string(job.Payload) || !info.RunAt.Equal(info.CreatedAt.Add(e.unit)) || !info.FinishedAt.IsZero() {
			e.Errorf("Get returned %+v", info)
		}
		for _, id := range []int64{id + 1, 0, -1} {
			if _, err := e.reader().Get(e.ctx, id); !errors.Is(err, backend.ErrNotFound) {
				e.Errorf("Get(%d) = %v, want ErrNotFound", id, err)
			}
		}
	},
}, {
	name: "read/list",
	rule: "List returns what matches, newest first, in pages that together are the whole",
	run: func(e *env) {
		w := e.worker()
		a := e.push(e.b, "a", 25)
		b := e.push(e.b, "b", 12)
		for i, j := range e.claim(e.b, w, 10, "a") {
			switch {
			case i < 4:
				e.complete(e.b, j.Lease)
			case i < 7:
				e.fail(e.b, backend.Failure{Lease: j.Lease, Ending: backend.EndFailed})
			}
		}
		for _, limit := range []int{0, 1, 3, 1000} {
			for what, c := range map[string]struct {
				req  backend.ListRequest
				want []int64
			}{
				"all":           {backend.ListRequest{}, slices.Concat(a, b)},
				"name":          {backend.ListRequest{Filter: backend.Filter{Name: "b"}}, b},
				"state":         {backend.ListRequest{Filter: backend.Filter{State: backend.Failed}}, a[4:7]},
				"done":          {backend.ListRequest{Filter: backend.Filter{State: backend.Done}}, a[:4]},
				"running":       {backend.ListRequest{Filter: backend.Filter{State: backend.Running}}, a[7:10]},
				"name, state":   {backend.ListRequest{Filter: backend.Filter{Name: "a", State: backend.Pending}}, a[10:]},
				"other":         {backend.ListRequest{Filter: backend.Filter{Name: "b", State: backend.Failed}}, nil},
				"unknown name":  {backend.ListRequest{Filter: backend.Filter{Name: "c"}}, nil},
				"before":        {backend.ListRequest{Before: a[3]}, a[:3]},
				"before, state": {backend.ListRequest{Before: a[6], Filter: backend.Filter{State: backend.Failed}}, a[4:6]},
			} {
				c.req.Limit = limit
				got := e.list(c.req)
				slices.Reverse(got)
				if !slices.Equal(got, c.want) {
					e.Errorf("List by %s, %d a page: %v, want %v", what, limit, short(got), short(c.want))
				}
			}
		}
	},
}, {
	name: "read/invalid",
	rule: "a list that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		for _, req := range []backend.ListRequest{{Limit: -1}, {Limit: 1001}, {Filter: backend.Filter{State: 99}}, {Before: -1}} {
			if _, err := e.reader().List(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("List(%+v) = %v, want ErrInvalid", req, err)
			}
		}
	},
}, {
	name: "read/count",
	rule: "Count tells how many jobs there are by name and state, the same to every process",
	run: func(e *env) {
		other := e.store.Open(e)
		e.push(e.b, "b", 2)
		e.push(other, "a", 3)
		jobs := e.claim(other, e.worker(), 2, "a")
		e.complete(e.b, jobs[0].Lease)
		const want = "a pending=1 a running=1 a done=1 b pending=2"
		e.wantCounts(want)
		if got := e.counts(capability[backend.Reader](e, other)); got != want {
			e.Errorf("counts by another handle are %q, want %q", got, want)
		}
	},
}}
