package conformance

import (
	"errors"
	"slices"
	"time"

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

func (e *env) workers() []backend.WorkerInfo {
	e.Helper()
	workers, err := e.reader().Workers(e.ctx)
	if err != nil {
		e.Fatalf("Workers: %v", err)
	}
	return workers
}

var readCases = []testCase{{
	name: "read/moment",
	rule: "Get shows a job at one moment: a failure together with its error, or neither",
	run: func(e *env) {
		reader := capability[backend.Reader](e, e.other())
		id := e.push(e.b, "a", 1)[0]
		w := e.worker()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 10 { // as many errors as are kept
				jobs, err := e.b.Claim(e.ctx, request(w, 1, "a"))
				if err == nil && len(jobs) == 1 {
					_, err = e.b.Fail(e.ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndRetry, Error: "x"}})
				}
				if err != nil || len(jobs) != 1 {
					e.Errorf("%d jobs, %v", len(jobs), err)
					return
				}
			}
		}()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			default:
			}
			info, err := reader.Get(e.ctx, id)
			if err != nil || len(info.Errors) != info.Failures {
				e.Errorf("Get = %v with %d failures and %d errors, %v", info.State, info.Failures, len(info.Errors), err)
			}
		}
	},
}, {
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
	rule: "List returns the matching jobs, newest first, each in exactly one page",
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
				"name":          {backend.ListRequest{Filter: backend.Filter{Names: []string{"b"}}}, b},
				"state":         {backend.ListRequest{Filter: backend.Filter{States: []backend.State{backend.Failed}}}, a[4:7]},
				"done":          {backend.ListRequest{Filter: backend.Filter{States: []backend.State{backend.Done}}}, a[:4]},
				"running":       {backend.ListRequest{Filter: backend.Filter{States: []backend.State{backend.Running}}}, a[7:10]},
				"name, state":   {backend.ListRequest{Filter: backend.Filter{Names: []string{"a"}, States: []backend.State{backend.Pending}}}, a[10:]},
				"other":         {backend.ListRequest{Filter: backend.Filter{Names: []string{"b"}, States: []backend.State{backend.Failed}}}, nil},
				"unknown name":  {backend.ListRequest{Filter: backend.Filter{Names: []string{"c"}}}, nil},
				"before":        {backend.ListRequest{Before: a[3]}, a[:3]},
				"before, state": {backend.ListRequest{Before: a[6], Filter: backend.Filter{States: []backend.State{backend.Failed}}}, a[4:6]},
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
	name: "read/filters",
	rule: "List applies each field of its filter: IDs, name, state, either key, text in the last error, and when the job finished or was pushed",
	run: func(e *env) {
		w := e.worker()
		early := e.pushJobs(e.b, newJob("a"), newJob("a"), newJob("b"))
		jobs := e.claim(e.b, w, 2, "a")
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndRetry, Error: "disk full"},
			backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndRetry, Error: "100% _lost_", Delay: span})
		again := e.claim1(e.b, w, "a")
		e.advance(e.unit)
		e.fail(e.b, backend.Failure{Lease: again.Lease, Ending: backend.EndFailed, Error: "Disk gone"})
		finished := e.get(early[0]).FinishedAt
		e.advance(e.unit)
		keyed := e.pushJobs(e.b, uniqueJob("a", backend.Unique{Key: "k"}), serialJob("b", "k"), serialJob("b", "l"))
		pushed := e.get(keyed[0]).CreatedAt
		for what, c := range map[string]listed{
			"IDs":                {backend.Filter{IDs: []int64{keyed[1], early[2], 1 << 40, early[2]}}, []int64{early[2], keyed[1]}},
			"no IDs":             {backend.Filter{IDs: []int64{}}, nil},
			"IDs, name":          {backend.Filter{IDs: early, Names: []string{"b"}}, early[2:]},
			"key":                {backend.Filter{Key: "k"}, keyed[:2]},
			"key, name":          {backend.Filter{Key: "k", Names: []string{"b"}}, keyed[1:2]},
			"key, state":         {backend.Filter{Key: "k", States: []backend.State{backend.Failed}}, nil},
			"another key":        {backend.Filter{Key: "K"}, nil},
			"error":              {backend.Filter{Error: "isk g"}, early[:1]},
			"an error before":    {backend.Filter{Error: "full"}, nil},
			"another case":       {backend.Filter{Error: "disk"}, nil},
			"wildcards":          {backend.Filter{Error: "% _"}, early[1:2]},
			"no wildcard":        {backend.Filter{Error: "D%"}, nil},
			"since the push":     {backend.Filter{Since: pushed}, keyed},
			"until the push":     {backend.Filter{Until: pushed}, early},
			"since the end":      {backend.Filter{Since: finished, Until: pushed}, early[:1]},
			"until the end":      {backend.Filter{Until: finished}, early[1:]},
			"after the end":      {backend.Filter{Since: finished.Add(time.Microsecond), Until: pushed}, nil},
			"everything at once": {backend.Filter{IDs: early, Names: []string{"a"}, States: []backend.State{backend.Failed}, Error: "Disk", Since: finished, Until: pushed}, early[:1]},
		} {
			e.wantListed(map[string]listed{what: c})
		}
	},
}, {
	name: "read/filter-lists",
	rule: "a filter selects jobs with one of its names and in one of its states; an empty list does not filter",
	run: func(e *env) {
		w := e.worker()
		ids := e.pushJobs(e.b, newJob("a"), newJob("a"), newJob("b"), newJob("c"), newJob("a"), newJob("b"))
		jobs := e.claim(e.b, w, 3, "a", "b")
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndFailed}, backend.Failure{Lease: jobs[2].Lease, Ending: backend.EndCancelled})
		const failed, cancelled, running, pending = backend.Failed, backend.Cancelled, backend.Running, backend.Pending
		e.wantListed(map[string]listed{
			"empty lists":           {backend.Filter{Names: []string{}, States: []backend.State{}}, ids},
			"two names":             {backend.Filter{Names: []string{"c", "b"}}, []int64{ids[2], ids[3], ids[5]}},
			"a name twice":          {backend.Filter{Names: []string{"c", "c"}}, ids[3:4]},
			"an unknown name":       {backend.Filter{Names: []string{"c", "d"}}, ids[3:4]},
			"failed, cancelled":     {backend.Filter{States: []backend.State{failed, cancelled}}, []int64{ids[0], ids[2]}},
			"failed twice":          {backend.Filter{States: []backend.State{failed, failed}}, ids[:1]},
			"running, pending":      {backend.Filter{States: []backend.State{running, pending}}, []int64{ids[1], ids[3], ids[4], ids[5]}},
			"running, failed":       {backend.Filter{States: []backend.State{running, failed}}, ids[:2]},
			"names and states":      {backend.Filter{Names: []string{"b", "c"}, States: []backend.State{cancelled, pending}}, []int64{ids[2], ids[3], ids[5]}},
			"names, ended":          {backend.Filter{Names: []string{"b", "c"}, States: []backend.State{cancelled, failed}}, ids[2:3]},
			"IDs, names and states": {backend.Filter{IDs: ids[1:4], Names: []string{"b", "a"}, States: []backend.State{cancelled, running}}, ids[1:3]},
		})
	},
}, {
	name: "read/filter-metadata",
	rule: "a filter selects jobs whose metadata is a JSON object with its pairs",
	run: func(e *env) {
		noted := func(metadata string) backend.NewJob {
			j := newJob("a")
			j.Metadata = []byte(metadata)
			return j
		}
		ids := e.pushJobs(e.b, noted(`{"tenant":"acme","a\u0026\"b":"x<y"}`), noted(`{"tenant":"Acme"}`), newJob("a"), noted(`{"tenant":["acme"]}`),
			noted(`not JSON "tenant":"acme"`), noted("\xff\x00"), noted(`["tenant","acme"]`), noted(`{ "x": 1, "tenant" : "acme" }`), noted(`"acme"`))
		pairs := func(list ...string) backend.Filter {
			f := backend.Filter{Metadata: map[string]string{}}
			for i := 0; i < len(list); i += 2 {
				f.Metadata[list[i]] = list[i+1]
			}
			return f
		}
		named := pairs("tenant", "acme")
		named.Names = []string{"b"}
		ended := pairs("tenant", "acme")
		ended.States = []backend.State{backend.Failed, backend.Cancelled}
		e.wantListed(map[string]listed{
			"no pairs":         {pairs(), ids},
			"a pair":           {pairs("tenant", "acme"), []int64{ids[0], ids[7]}},
			"another case":     {pairs("tenant", "Acme"), ids[1:2]},
			"special runes":    {pairs(`a&"b`, "x<y"), ids[:1]},
			"two pairs":        {pairs("tenant", "acme", `a&"b`, "x<y"), ids[:1]},
			"a pair too many":  {pairs("tenant", "acme", "x", "1"), nil},
			"an unknown key":   {pairs("x", ""), nil},
			"an index":         {pairs("0", "tenant"), nil},
			"and another name": {named, nil},
			"and other states": {ended, nil},
		})
		if operator, ok := e.b.(backend.Operator); ok {
			r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: pairs("tenant", "acme")})
			if err != nil || !slices.Equal(r.Affected, []int64{ids[0], ids[7]}) {
				e.Errorf("Cancel by metadata = %+v, %v, want jobs %d and %d", r, err, ids[0], ids[7])
			}
			e.wantListed(map[string]listed{"and ended": {ended, []int64{ids[0], ids[7]}}})
		}
	},
}, {
	name: "read/payloads",
	rule: "lists omit results, and payloads, metadata and the last error unless requested",
	run: func(e *env) {
		job := newJob("a")
		job.Metadata = []byte("m")
		id := e.pushJobs(e.b, job)[0]
		w := e.worker()
		for _, text := range []string{"x", "y"} {
			e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndRetry, Error: text, Stack: "main", Took: time.Second, Worker: "mill"})
		}
		if lost, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: e.claim1(e.b, w, "a").Lease, Result: []byte("r")}}); len(lost) > 0 || err != nil {
			e.Fatalf("Complete = %v, %v", lost, err)
		}
		for _, payloads := range []bool{false, true} {
			page, err := e.reader().List(e.ctx, backend.ListRequest{Payloads: payloads})
			if err != nil || len(page.Jobs) != 1 {
				e.Fatalf("List = %+v, %v", page, err)
			}
			j := page.Jobs[0]
			if j.ID != id || (len(j.Payload) > 0) != payloads || (len(j.Metadata) > 0) != payloads || j.Result != nil || j.Errors != nil || j.Failures != 2 {
				e.Errorf("with payloads %v List shows %+v", payloads, j)
			}
		}
		none := e.push(e.b, "a", 1)[0]
		page, err := e.reader().List(e.ctx, backend.ListRequest{LastError: true})
		if err != nil || len(page.Jobs) != 2 || page.Jobs[0].ID != none || page.Jobs[0].Errors != nil || page.Jobs[1].Payload != nil ||
			!slices.Equal(page.Jobs[1].Errors, e.get(id).Errors[1:]) {
			e.Errorf("with the last errors List shows %+v, %v; want of %+v", page, err, e.get(id))
		}
		if info := e.get(id); string(info.Payload) != string(job.Payload) || string(info.Metadata) != "m" || string(info.Result) != "r" || len(info.Errors) != 2 {
			e.Errorf("Get shows %+v", info)
		}
	},
}}

// listed are the jobs that a filter selects.
type listed struct {
	f    backend.Filter
	want []int64
}

// wantListed fails unless List returns what each filter selects, in pages of any size.
func (e *env) wantListed(all map[string]listed) {
	e.Helper()
	for what, c := range all {
		for _, limit := range []int{0, 1} {
			got := e.list(backend.ListRequest{Filter: c.f, Limit: limit})
			slices.Reverse(got)
			if !slices.Equal(got, c.want) {
				e.Errorf("List by %s, %d a page: %v, want %v", what, limit, got, c.want)
			}
		}
	}
}
