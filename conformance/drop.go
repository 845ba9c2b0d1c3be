package conformance

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// payloadOf is what the jobs of these cases have as payload.
const payloadOf = "payload of "

// loaded returns a job with a payload and metadata.
func loaded(job backend.NewJob) backend.NewJob {
	job.Payload, job.Metadata = []byte(payloadOf+job.Name), []byte(`{"kept":"yes"}`)
	return job
}

// wantDropped fails unless exactly the jobs whose payloads are to be dropped have lost
// them, in whatever way they are read.
func (e *env) wantDropped(what string, want bool, ids ...int64) {
	e.Helper()
	page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{IDs: ids}, Payloads: true})
	if err != nil || len(page.Jobs) != len(ids) {
		e.Fatalf("%s: List(%v) = %+v, %v", what, ids, page, err)
	}
	records := map[int64]backend.Info{}
	if _, ok := e.b.(backend.ExportImporter); ok {
		for _, r := range e.exportAll(e.b, 1000).Jobs {
			records[r.ID] = r.Info
		}
	}
	for _, listed := range page.Jobs {
		shown := map[string]backend.Info{"List": listed, "Get": e.get(listed.ID)}
		if r, ok := records[listed.ID]; ok {
			shown["Export"] = r
		}
		for by, info := range shown {
			payload := payloadOf + info.Name
			if want {
				payload = ""
			}
			if info.Dropped != want || string(info.Payload) != payload || string(info.Metadata) != `{"kept":"yes"}` {
				e.Errorf("%s: %s of job %d, which is %v: dropped is %v with the payload %q and the metadata %q, want %v with %q",
					what, by, info.ID, info.State, info.Dropped, info.Payload, info.Metadata, want, payload)
			}
		}
	}
}

// dropping sets a history for the names.
func (e *env) dropping(h backend.History, names ...string) {
	e.Helper()
	var all []backend.Settings
	for _, name := range names {
		all = append(all, backend.Settings{Name: name, History: h})
	}
	e.set(e.b, all...)
}

var dropCases = []testCase{{
	name: "drop/done",
	rule: "with History.DropDone a job that becomes Done loses its payload in the same transaction, and keeps the rest; a run before it has the payload",
	run: func(e *env) {
		e.dropping(backend.History{DropDone: true}, "a")
		w := e.worker()
		plain, kept := loaded(newJob("a")), loaded(newJob("b"))
		first := e.pushJobs(e.b, plain)[0]
		job := e.claim(e.b, w, 1, "a")[0]
		e.fail(e.b, backend.Failure{Lease: job.Lease, Ending: backend.EndRetry, Error: "text"})
		e.wantDropped("after a retry", false, first)
		ids := append([]int64{first}, e.pushJobs(e.b, slices.Repeat([]backend.NewJob{plain, plain, plain, kept}, 10)...)...)
		jobs := e.claim(e.b, w, 100, "a", "b")
		var done []backend.Completion
		for i, j := range jobs {
			if string(j.Payload) != payloadOf+j.Name {
				e.Errorf("the run of job %d has the payload %q", j.ID, j.Payload)
			}
			done = append(done, backend.Completion{Lease: j.Lease})
			if i%5 == 0 {
				done[i].Result = []byte("result")
			}
		}
		ended, rest := []int64{}, []int64{}
		if lost, err := e.b.Complete(e.ctx, done); err != nil || len(lost) > 0 || len(done) != len(ids) {
			e.Fatalf("Complete of %d runs = %v, %v", len(done), lost, err)
		}
		for _, j := range jobs {
			if j.Name == "a" {
				ended = append(ended, j.ID)
			} else {
				rest = append(rest, j.ID)
			}
		}
		e.wantDropped("done", true, ended...)
		e.wantDropped("done, of another name", false, rest...)
		if info := e.get(first); len(info.Errors) != 1 || info.State != backend.Done {
			e.Errorf("the job is %+v, want it done with its error", info)
		}
		results := 0
		for _, j := range jobs {
			if string(e.get(j.ID).Result) == "result" {
				results++
			}
		}
		if want := (len(jobs) + 4) / 5; results != want {
			e.Errorf("%d results, want %d", results, want)
		}
		last := e.pushJobs(e.b, plain, plain)
		jobs = e.claim(e.b, w, 2, "a")
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndFailed}, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndCancelled})
		e.wantDropped("failed and cancelled", false, last...)
	},
}, {
	name: "drop/keys",
	rule: "a job with keys, and one that keeps its unique key, loses its payload like any other",
	run: func(e *env) {
		e.dropping(backend.History{DropDone: true}, "a")
		w := e.worker()
		ids := e.pushJobs(e.b, loaded(uniqueJob("a", backend.Unique{Key: "u", For: time.Hour})), loaded(serialJob("a", "s")), loaded(serialJob("a", "s")))
		e.wantDropped("waiting", false, ids...)
		for _, n := range []int{2, 1} {
			for _, j := range e.claim(e.b, w, n, "a") {
				e.complete(e.b, j.Lease)
			}
		}
		e.wantDropped("done", true, ids...)
		e.wantDuplicate("a job with the kept key", uniqueJob("a", backend.Unique{Key: "u"}), ids[0])
	},
}, {
	name: "drop/failed",
	rule: "with History.DropFailed a job that becomes Failed or Cancelled, in whatever way, loses its payload in the same transaction; a job that waits again keeps it",
	run: func(e *env) {
		e.dropping(backend.History{DropFailed: true}, "done", "waits", "cancelled", "expires")
		e.set(e.b, backend.Settings{Name: "crashes", MaxCrashes: 1, History: backend.History{DropFailed: true}})
		w := e.worker()
		ids := map[string]int64{}
		for _, end := range slices.Concat(back, out) {
			if !e.can(end) {
				continue
			}
			name := "by-" + end.job()
			e.dropping(backend.History{DropFailed: true}, name)
			ids[name] = e.pushJobs(e.b, loaded(newJob(name)))[0]
			end.take(e, w, e.claim(e.b, w, 1, name)[0])
		}
		for name, id := range ids {
			e.wantDropped(name, name == "by-fail" || name == "by-cancel", id)
		}
		if operator, ok := e.b.(backend.Operator); ok {
			id := e.pushJobs(e.b, loaded(newJob("cancelled")))[0]
			if _, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{IDs: []int64{id}}}); err != nil {
				e.Fatalf("Operate: %v", err)
			}
			e.wantDropped("cancelled by an operator", true, id)
		}
		if backend.Describe(e.b).Fields&backend.FieldMaxCrashes != 0 {
			id := e.pushJobs(e.b, loaded(newJob("crashes")))[0]
			for range 2 {
				e.claimAny(e.b, e.worker(), 1, "crashes")
				e.crash(e.b)
			}
			if e.state(id) == backend.Failed {
				e.wantDropped("failed by crashes", true, id)
			} else {
				e.Errorf("after two crashes the job is %v", e.state(id))
			}
		}
		if backend.Describe(e.b).Fields&backend.FieldExpires != 0 {
			job := loaded(newJob("expires"))
			job.Expires = e.unit
			id := e.pushJobs(e.b, job)[0]
			e.advance(2 * e.unit)
			e.reap(e.b, backend.ReapRequest{})
			e.wantDropped("expired", true, id)
		}
	},
}, {
	name:  "drop/history",
	rule:  "the store's history drops the payloads of all names; the settings of a name may drop more",
	needs: backend.FieldDrop,
	opts:  Options{History: backend.History{DropDone: true}},
	run: func(e *env) {
		e.dropping(backend.History{Rows: 100}, "b")
		e.dropping(backend.History{DropFailed: true}, "c")
		w := e.worker()
		for _, name := range []string{"a", "b", "c"} {
			ids := e.pushJobs(e.b, loaded(newJob(name)), loaded(newJob(name)))
			jobs := e.claim(e.b, w, 2, name)
			e.complete(e.b, jobs[0].Lease)
			e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed})
			e.wantDropped("done "+name, true, ids[0])
			e.wantDropped("failed "+name, name == "c", ids[1])
		}
	},
}, {
	name: "drop/settings",
	rule: "the history that applies is that at the end of a job; Names shows it, and zero settings take it back",
	run: func(e *env) {
		store := capability[backend.SettingsStore](e, e.b)
		w := e.worker()
		finish := func() int64 {
			id := e.pushJobs(e.b, loaded(newJob("a")))[0]
			e.complete(e.b, e.claim(e.b, w, 1, "a")[0].Lease)
			return id
		}
		before := finish()
		e.dropping(backend.History{DropDone: true, DropFailed: true, Rows: 7}, "a")
		names, err := store.Names(e.ctx)
		if err != nil || len(names) != 1 || names[0].History != (backend.History{DropDone: true, DropFailed: true, Rows: 7}) {
			e.Errorf("Names = %+v, %v", names, err)
		}
		during := finish()
		e.dropping(backend.History{}, "a")
		after := finish()
		e.wantDropped("before", false, before)
		e.wantDropped("during", true, during)
		e.wantDropped("after", false, after)
	},
}, {
	name: "drop/workers",
	rule: "of the histories that several workers define, payloads are dropped that all of them drop; an override may drop more",
	run: func(e *env) {
		all := backend.History{DropDone: true, DropFailed: true}
		one, two := e.definer("a"), e.definer("a")
		e.setBy(one, backend.Settings{Name: "a", History: all})
		e.setBy(two, backend.Settings{Name: "a", History: backend.History{DropFailed: true}})
		e.wantSettings("with two workers", backend.Settings{Name: "a", History: backend.History{DropFailed: true}}, true)
		e.override(backend.Override{Settings: backend.Settings{Name: "a", History: backend.History{DropDone: true}}, By: "ada"}, false)
		e.wantSettings("overridden", backend.Settings{Name: "a", History: all}, true)
		e.override(backend.Override{Settings: backend.Settings{Name: "a"}}, true)
		e.leave(two)
		e.wantSettings("with one worker", backend.Settings{Name: "a", History: all}, false)
	},
}, {
	name: "drop/retry",
	rule: "OpRetry leaves jobs whose payloads were dropped as they are, lists them, and retries the others; OpDelete deletes them",
	run: func(e *env) {
		operator := capability[backend.Operator](e, e.b)
		w := e.worker()
		kept := e.pushJobs(e.b, loaded(newJob("a")))
		e.fail(e.b, backend.Failure{Lease: e.claim(e.b, w, 1, "a")[0].Lease, Ending: backend.EndFailed})
		e.dropping(backend.History{DropDone: true, DropFailed: true}, "a")
		ids := e.pushJobs(e.b, loaded(newJob("a")), loaded(newJob("a")), loaded(newJob("a")))
		jobs := e.claim(e.b, w, 3, "a")
		e.complete(e.b, jobs[0].Lease)
		e.fail(e.b, backend.Failure{Lease: jobs[1].Lease, Ending: backend.EndFailed}, backend.Failure{Lease: jobs[2].Lease, Ending: backend.EndCancelled})
		before := e.counts(e.reader())
		for _, f := range []backend.Filter{{IDs: ids}, {IDs: ids[1:2]}, {Names: []string{"a"}, States: []backend.State{backend.Done, backend.Cancelled}}} {
			r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: f})
			if err != nil || len(r.Affected) > 0 || len(r.Dropped) == 0 || !slices.IsSorted(r.Dropped) || f.IDs != nil && !slices.Equal(r.Dropped, f.IDs) {
				e.Errorf("the retry of %+v = %+v, %v; want nothing affected", f, r, err)
			}
		}
		if after := e.counts(e.reader()); after != before {
			e.Errorf("after the retries: %s, want %s", after, before)
		}
		r, err := operator.Operate(e.ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{Names: []string{"a"}}})
		if err != nil || !slices.Equal(r.Affected, kept) || !slices.Equal(r.Dropped, ids) {
			e.Errorf("the retry of all = %+v, %v; want %v affected, %v dropped", r, err, kept, ids)
		}
		if got := e.claim(e.b, w, 10, "a"); len(got) != 1 || got[0].ID != kept[0] || string(got[0].Payload) != payloadOf+"a" {
			e.Errorf("after the retry the claim has %+v", got)
		}
		e.wantAffected("dropped", backend.OpDelete, ids, ids...)
	},
}, {
	name: "drop/tx",
	rule: "a completion in a transaction of the caller drops the payload with it",
	run: func(e *env) {
		e.dropping(backend.History{DropDone: true}, "a")
		for _, commit := range []bool{false, true} {
			id := e.pushJobs(e.b, loaded(newJob("a")))[0]
			lease := e.claim(e.b, e.worker(), 1, "a")[0].Lease
			pusher, tx := e.tx()
			if err := pusher.CompleteTx(e.ctx, tx, backend.Completion{Lease: lease}); err != nil {
				e.Fatalf("CompleteTx: %v", err)
			}
			end := tx.Rollback
			if commit {
				end = tx.Commit
			}
			if err := end(); err != nil {
				e.Fatal(err)
			}
			e.wantDropped("in a transaction", commit, id)
		}
	},
}, {
	name:  "drop/import",
	rule:  "an imported job is as it was: dropped or not, whatever the history; a record that is dropped but waits or has a payload is refused",
	needs: backend.FieldDrop,
	run: func(e *env) {
		e.dropping(backend.History{DropDone: true}, "a")
		ids := e.pushJobs(e.b, loaded(newJob("a")), loaded(newJob("b")))
		for _, j := range e.claim(e.b, e.worker(), 2, "a", "b") {
			e.complete(e.b, j.Lease)
		}
		batch := e.exportAll(e.b, 10)
		to := e.elsewhere()
		e.set(to, backend.Settings{Name: "b", History: backend.History{DropDone: true}})
		e.wantImported(to, batch)
		for i, r := range e.exportAll(to, 10).Jobs {
			if r.Dropped != (i == 0) || strings.HasPrefix(string(r.Payload), payloadOf) == r.Dropped || r.ID != ids[i] {
				e.Errorf("imported: job %d has dropped %v and the payload %q", r.ID, r.Dropped, r.Payload)
			}
		}
		for what, spoil := range map[string]func(*backend.Record){
			"waits":         func(r *backend.Record) { r.State, r.FinishedAt = backend.Pending, time.Time{} },
			"has a payload": func(r *backend.Record) { r.Payload = []byte("x") },
		} {
			bad := backend.Batch{Jobs: slices.Clone(batch.Jobs[:1])}
			bad.Jobs[0].ID += 100
			spoil(&bad.Jobs[0])
			if _, err := capability[backend.ExportImporter](e, to).Import(e.ctx, bad); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Import of a dropped job that %s = %v, want ErrInvalid", what, err)
			}
		}
	},
}}
