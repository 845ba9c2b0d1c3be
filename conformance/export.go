package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// elsewhere returns a handle on another store of the same kind.
func (e *env) elsewhere() backend.Backend {
	e.Helper()
	return e.newStore().Open(e)
}

func (e *env) export(b backend.Backend, req backend.ExportRequest) backend.Batch {
	e.Helper()
	batch, err := capability[backend.Transferer](e, b).Export(e.ctx, req)
	if err != nil {
		e.Fatalf("Export: %v", err)
	}
	if len(batch.Jobs) > req.Jobs {
		e.Fatalf("Export(%+v) returned %d jobs", req, len(batch.Jobs))
	}
	return batch
}

// exportAll returns all that is stored, read in pages of n.
func (e *env) exportAll(b backend.Backend, n int) (all backend.Batch) {
	e.Helper()
	req := backend.ExportRequest{Jobs: n}
	for range 1000 {
		batch := e.export(b, req)
		all.LastID = batch.LastID
		if len(batch.Jobs) == 0 {
			return all
		}
		all.Jobs = append(all.Jobs, batch.Jobs...)
		req.After = batch.Jobs[len(batch.Jobs)-1].ID
	}
	e.Fatalf("Export does not end")
	return all
}

func (e *env) imports(b backend.Backend, batch backend.Batch) backend.ImportResult {
	e.Helper()
	r, err := capability[backend.Transferer](e, b).Import(e.ctx, batch)
	if err != nil {
		e.Fatalf("Import: %v", err)
	}
	return r
}

// wantImported imports a batch of which all jobs are new.
func (e *env) wantImported(b backend.Backend, batch backend.Batch) {
	e.Helper()
	r := e.imports(b, batch)
	if want := (backend.ImportResult{Stored: len(batch.Jobs)}); !reflect.DeepEqual(r, want) {
		e.Errorf("Import = %+v, want %+v", r, want)
	}
}

// record returns a job that was pushed elsewhere a minute ago.
func record(id int64, name string, state backend.State) backend.Record {
	created := time.Now().Add(-time.Minute).Truncate(time.Microsecond).UTC()
	r := backend.Record{Info: backend.Info{
		ID: id, Name: name, State: state, Payload: []byte("x"), MaxAttempts: 3, CreatedAt: created, RunAt: created,
	}}
	switch {
	case state == backend.Scheduled:
		r.RunAt = created.Add(24 * time.Hour)
	case state.Terminal():
		r.FinishedAt = created.Add(time.Second)
	}
	return r
}

// keyed returns r with a unique and a serial key; empty is none.
func keyed(r backend.Record, unique, serial string) backend.Record {
	r.UniqueKey, r.SerialKey = unique, serial
	return r
}

// wantSame fails unless two stores have the same jobs.
func wantSame(tb testing.TB, what string, got, want []backend.Record) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Errorf("%s: %d jobs, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if g, w := text(got[i]), text(want[i]); g != w {
			tb.Errorf("%s: got\n%s\nwant\n%s", what, g, w)
		}
	}
}

// text returns a job as text to compare: nil and empty bytes are the same, but
// for results.
func text(r backend.Record) string {
	times := []time.Time{r.CreatedAt, r.RunAt, r.FinishedAt, r.ExpiresAt, r.KeyUntil}
	s := fmt.Sprintf("%d %s %v p%d %x %d/%d suspect=%v crashes=%d %v unique=%q scope=%d serial=%q head=%d %d/%d meta=%x result=%v %x",
		r.ID, r.Name, r.State, r.Priority, r.Payload, r.Failures, r.MaxAttempts, r.Suspect, r.Crashes, times,
		r.UniqueKey, r.Scope, r.SerialKey, r.BlockedBy, r.Done, r.Total, r.Metadata, r.Result != nil, r.Result)
	for _, f := range r.Errors {
		s += fmt.Sprintf(" error %d %v %q %q", f.Attempt, f.At, f.Error, f.Stack)
	}
	return s
}

// released returns jobs as they arrive.
func released(jobs []backend.Record) []backend.Record {
	jobs = slices.Clone(jobs)
	for i := range jobs {
		if j := &jobs[i]; j.State == backend.Running {
			j.State, j.Worker = backend.Pending, 0
		}
	}
	return jobs
}

// live stores a job in each state, with keys, errors and all else that a job
// can have.
func (e *env) live() {
	e.Helper()
	w := e.worker()
	odd := newJob("odd")
	odd.Payload, odd.Metadata, odd.Priority = []byte{0, 0xff, '\n', '"', 0x80, 0}, []byte{0xfe, 0}, -7
	empty := newJob("odd")
	empty.Payload = nil
	e.pushJobs(e.b, odd, empty, after(50*e.unit, odd), expiring(60*e.unit, newJob("odd")))
	e.push(e.b, "done", 3)
	done := e.claim(e.b, w, 3, "done")
	for i, result := range [][]byte{nil, {}, {0, 1, 0xff}} {
		if _, err := e.b.Complete(e.ctx, []backend.Completion{{Lease: done[i].Lease, Result: result}}); err != nil {
			e.Fatalf("Complete: %v", err)
		}
	}
	e.push(e.b, "fail", 3)
	for i, ending := range []backend.Ending{backend.EndRetry, backend.EndFailed, backend.EndCancelled} {
		f := backend.Failure{Lease: e.claim(e.b, w, 1, "fail")[0].Lease, Ending: ending, Delay: 70 * e.unit, Error: "text ü\n" + string(rune('a'+i)), Stack: "main.go:1\n\tx"}
		e.fail(e.b, f)
	}
	for range 3 {
		e.pushJobs(e.b, serialJob("serial", "s"))
	}
	serial := e.claim1(e.b, w, "serial")
	if p, ok := e.b.(backend.Heartbeater); ok {
		if err := p.StoreProgress(e.ctx, []backend.Progress{{Lease: serial.Lease, Done: 3, Total: 9}}); err != nil {
			e.Errorf("Progress: %v", err)
		}
	}
	e.push(e.b, "crash", 1)
	for range 2 {
		dead := e.worker()
		e.claim1(e.b, dead, "crash")
		e.reap(e.b, backend.ReapRequest{Dead: []int64{dead.ID}})
	}
	for i, scope := range []backend.Scope{backend.UntilFinished, backend.UntilStarted} {
		for n, held := range []time.Duration{0, 90 * e.unit} {
			name := fmt.Sprint("unique", i, n)
			e.push1(e.b, uniqueJob(name, backend.Unique{Key: "waits", Scope: scope, For: held}))
			e.push1(e.b, uniqueJob(name+"-run", backend.Unique{Key: "runs", Scope: scope, For: held}))
			e.claim1(e.b, w, name+"-run")
			e.push1(e.b, uniqueJob(name+"-done", backend.Unique{Key: "done", Scope: scope, For: held}))
			e.complete(e.b, e.claim1(e.b, w, name+"-done").Lease)
		}
	}
	if _, ok := e.b.(backend.Operator); ok {
		last := e.push(e.b, "gone", 1)
		e.wantAffected("Delete", backend.OpDelete, last, last...)
	}
}

var exportCases = []testCase{{
	name: "export/lossless",
	rule: "exported and imported jobs are identical in every state, except that running jobs are released",
	run: func(e *env) {
		e.live()
		before := e.exportAll(e.b, 1000)
		for i := range before.Jobs {
			info := e.get(before.Jobs[i].ID)
			shown := backend.Record{Info: info, Scope: before.Jobs[i].Scope}
			wantSame(e, "the job as Get shows it", []backend.Record{before.Jobs[i]}, []backend.Record{shown})
		}
		to := e.elsewhere()
		e.wantImported(to, before)
		after := e.exportAll(to, 1000)
		wantSame(e, "imported", after.Jobs, released(before.Jobs))
		if after.LastID != before.LastID {
			e.Errorf("the last ID is %d, want %d", after.LastID, before.LastID)
		}
		wantSame(e, "exported before and after", e.exportAll(e.b, 1000).Jobs, before.Jobs)
	},
}, {
	name: "export/pages",
	rule: "an export returns the jobs after the requested ID, lowest ID first, each in exactly one page",
	run: func(e *env) {
		ids := e.push(e.b, "a", 25)
		for _, n := range []int{1, 3, 1000} {
			all := e.exportAll(e.b, n)
			var got []int64
			for _, j := range all.Jobs {
				got = append(got, j.ID)
			}
			if !slices.Equal(got, ids) {
				e.Errorf("pages of %d have the jobs %v, want %v", n, got, ids)
			}
		}
		if b := e.export(e.b, backend.ExportRequest{After: ids[9], Jobs: 2}); len(b.Jobs) != 2 || b.Jobs[0].ID != ids[10] {
			e.Errorf("Export after the tenth = %+v", b)
		}
	},
}, {
	name: "export/bytes",
	rule: "a page ends before its payloads exceed the bound, has at least one job, and is not the last one",
	run: func(e *env) {
		big := newJob("a")
		big.Payload = bytes.Repeat([]byte("x"), backend.DefaultMaxBytes/2)
		ids := e.pushJobs(e.b, big, big, big)
		big.Payload = bytes.Repeat([]byte("x"), backend.DefaultMaxBytes+1)
		ids = append(ids, e.pushJobs(e.b, big, newJob("a"))...)
		after := int64(0)
		for _, want := range [][]int64{ids[:2], ids[2:3], ids[3:4], ids[4:], nil} {
			var got []int64
			for _, j := range e.export(e.b, backend.ExportRequest{After: after, Jobs: 10}).Jobs {
				got = append(got, j.ID)
				after = j.ID
			}
			if !slices.Equal(got, want) {
				e.Errorf("a page has the jobs %v, want %v", got, want)
			}
		}
	},
}, {
	name: "export/invalid",
	rule: "requests and batches that break a rule are refused, and nothing of them is stored",
	run: func(e *env) {
		for _, req := range []backend.ExportRequest{{After: -1}, {Jobs: 1001}, {Jobs: -1}} {
			if _, err := capability[backend.Transferer](e, e.b).Export(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Export(%+v) = %v, want ErrInvalid", req, err)
			}
		}
		good := record(1, "a", backend.Pending)
		for what, spoil := range map[string]func(b *backend.Batch){
			"no name":         func(b *backend.Batch) { b.Jobs[1].Name = "" },
			"no state":        func(b *backend.Batch) { b.Jobs[1].State = 0 },
			"descending":      func(b *backend.Batch) { b.Jobs[1].ID = 1 },
			"a huge ID":       func(b *backend.Batch) { b.Jobs[1].ID = backend.MaxID + 1 },
			"a huge last ID":  func(b *backend.Batch) { b.LastID = 1 << 60 },
			"unfinished":      func(b *backend.Batch) { b.Jobs[1].State = backend.Done },
			"blocked by none": func(b *backend.Batch) { b.Jobs[1].State = backend.Blocked },
			"a schedule":      func(b *backend.Batch) { b.Schedules = []backend.Schedule{{Name: "x"}} },
		} {
			batch := backend.Batch{Jobs: []backend.Record{good, record(2, "b", backend.Pending)}}
			spoil(&batch)
			if _, err := capability[backend.Transferer](e, e.b).Import(e.ctx, batch); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Import of a batch with %s = %v, want ErrInvalid", what, err)
			}
		}
		e.wantCounts("")
	},
}, {
	name: "import/ids",
	rule: "no push gets the ID of an imported job or an ID up to LastID, not even after the jobs are deleted",
	run: func(e *env) {
		e.push(e.b, "a", 3)
		e.wantImported(e.b, backend.Batch{Jobs: []backend.Record{record(40, "a", backend.Pending), record(41, "a", backend.Done)}})
		if _, ok := e.b.(backend.Operator); ok {
			e.wantAffected("Delete", backend.OpDelete, []int64{41}, 41)
		}
		if id := e.push(e.other(), "a", 1)[0]; id <= 41 {
			e.Errorf("a push was given ID %d after an import of 41", id)
		}
		e.imports(e.b, backend.Batch{LastID: 5000})
		if id := e.push(e.other(), "a", 1)[0]; id <= 5000 {
			e.Errorf("a push was given ID %d, with 5000 as the last one", id)
		}
		e.imports(e.b, backend.Batch{LastID: 7, Jobs: []backend.Record{record(30, "a", backend.Pending)}})
		if ids := e.push(e.b, "a", 2); ids[0] <= 5001 || ids[1] <= ids[0] {
			e.Errorf("pushes were given the IDs %v", ids)
		}
	},
}, {
	name: "import/present",
	rule: "a repeated import leaves the jobs that are present as they are, in whatever state",
	run: func(e *env) {
		e.live()
		all := e.exportAll(e.b, 1000)
		to := e.elsewhere()
		e.wantImported(to, all)
		w := e.worker()
		ran := e.claim(to, w, 100, "odd", "serial")
		for _, j := range ran[1:] {
			e.complete(to, j.Lease)
		}
		before := e.exportAll(to, 1000)
		for range 2 {
			r := e.imports(to, all)
			if want := (backend.ImportResult{Present: len(all.Jobs)}); !reflect.DeepEqual(r, want) {
				e.Errorf("Import = %+v, want %+v", r, want)
			}
			wantSame(e, "imported again", e.exportAll(to, 1000).Jobs, before.Jobs)
		}
		e.wantLost("Complete of a job that runs", e.complete(to, ran[0].Lease))
	},
}, {
	name: "import/all-or-none",
	rule: "a batch with the ID of another job is refused as a whole",
	run: func(e *env) {
		e.wantImported(e.b, backend.Batch{Jobs: []backend.Record{record(500, "a", backend.Pending)}})
		batch := backend.Batch{LastID: 900}
		for id := int64(496); id < 503; id++ {
			batch.Jobs = append(batch.Jobs, keyed(record(id, "b", backend.Pending), "", "s"))
		}
		_, err := capability[backend.Transferer](e, e.b).Import(e.ctx, batch)
		if !errors.Is(err, backend.ErrDuplicate) {
			e.Errorf("Import = %v, want ErrDuplicate", err)
		}
		e.wantCounts("a pending=1")
	},
}, {
	name: "import/running",
	rule: "a running job is imported as released: pending, with no attempt spent, its crashes kept, or cancelled if an operator had cancelled it; no old lease settles it",
	run: func(e *env) {
		e.push(e.b, "a", 2)
		for range 2 {
			dead := e.worker()
			e.claim1(e.b, dead, "a")
			e.reap(e.b, backend.ReapRequest{Dead: []int64{dead.ID}})
		}
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		ids := e.push(e.b, "b", 1)
		cancelled := e.claim1(e.b, w, "b")
		_, operates := e.b.(backend.Operator)
		if operates {
			e.wantAffected("Cancel", backend.OpCancel, ids, ids...)
		}
		all := e.exportAll(e.b, 1000)
		to := e.elsewhere()
		e.wantImported(to, all)
		got := e.exportAll(to, 1000).Jobs
		for _, r := range got {
			switch {
			case r.ID == j.ID && (r.State != backend.Pending || r.Failures != 0 || r.Crashes != 1 || !r.Suspect || r.Worker != 0):
				e.Errorf("the released job is %s", text(r))
			case r.ID == cancelled.ID && operates && (r.State != backend.Cancelled || len(r.Errors) != 1 || r.Errors[0].Error != backend.CancelledError):
				e.Errorf("the cancelled job is %s", text(r))
			}
		}
		e.wantLost("Complete of the old lease", e.complete(to, j.Lease), j.Lease)
		again := e.claim1(to, e.worker(), "a")
		if again.ID != j.ID || again.Attempt != 1 || !again.Suspect {
			e.Errorf("Claim returned %+v", again)
		}
	},
}, {
	name: "import/unique",
	rule: "imported jobs keep their unique keys as in the source: while they wait, and until KeyUntil when they are done or failed",
	run: func(e *env) {
		until := time.Now().Add(50 * e.unit)
		if e.store.Advance == nil {
			until = time.Now().Add(2 * time.Second)
		}
		waits, held := keyed(record(1, "a", backend.Pending), "waits", ""), keyed(record(2, "a", backend.Done), "held", "")
		free := keyed(record(3, "a", backend.Done), "free", "")
		cancelled, old := keyed(record(4, "a", backend.Cancelled), "cancelled", ""), keyed(record(5, "a", backend.Done), "old", "")
		old.CreatedAt, old.RunAt, old.FinishedAt = old.CreatedAt.AddDate(-1, 0, 0), old.RunAt.AddDate(-1, 0, 0), old.FinishedAt.AddDate(-1, 0, 0)
		held.KeyUntil, cancelled.KeyUntil, old.KeyUntil = until, until, until
		e.wantImported(e.b, backend.Batch{
			Jobs: []backend.Record{waits, held, free, cancelled, old},
		})
		e.wantDuplicate("of one that waits", uniqueJob("a", backend.Unique{Key: "waits"}), 1)
		e.wantDuplicate("of one that is kept", uniqueJob("a", backend.Unique{Key: "held"}), 2)
		e.wantDuplicate("of one that is past its keep", uniqueJob("a", backend.Unique{Key: "old"}), 5)
		e.wantNew("of one that is cancelled", uniqueJob("a", backend.Unique{Key: "cancelled"}))
		e.wantNew("of one that is finished", uniqueJob("a", backend.Unique{Key: "free"}))
		e.complete(e.b, e.claim(e.b, e.worker(), 1, "a")[0].Lease)
		e.wantNew("of one that has ended here", uniqueJob("a", backend.Unique{Key: "waits"}))
		e.advance(time.Until(until) + e.unit)
		e.reap(e.b, backend.ReapRequest{})
		e.wantNew("when the time is over", uniqueJob("a", backend.Unique{Key: "held"}))
	},
}, {
	name: "import/superseded",
	rule: "an imported waiting job whose unique key another job has is cancelled with SupersededError and the ID of the other, and reported",
	run: func(e *env) {
		other := e.wantNew("here", uniqueJob("a", backend.Unique{Key: "k"}))
		first := keyed(record(other+10, "a", backend.Pending), "k", "s")
		second := keyed(record(other+11, "a", backend.Running), "l", "")
		third := keyed(record(other+12, "a", backend.Scheduled), "l", "")
		third.Scope, second.Scope = backend.UntilStarted, backend.UntilStarted
		r := e.imports(e.b, backend.Batch{Jobs: []backend.Record{first, second, third}})
		if r.Stored != 3 || !slices.Equal(r.Superseded, []int64{first.ID, third.ID}) {
			e.Errorf("Import = %+v", r)
		}
		e.wantCancelled("the first", first.ID, superseded(other))
		e.wantCancelled("the third", third.ID, superseded(second.ID))
		e.wantCounts("a pending=2 a cancelled=2")
		e.wantState(e.pushJobs(e.b, serialJob("a", "s"))[0], backend.Pending)
	},
}, {
	name: "import/serial",
	rule: "imported jobs with a serial key have the same head as in the source, in whatever order they are imported, and the end of the head unblocks the next one",
	run: func(e *env) {
		jobs := []backend.Record{
			keyed(record(1, "a", backend.Blocked), "", "s"), keyed(record(2, "a", backend.Pending), "", "s"), keyed(record(3, "a", backend.Blocked), "", "s"),
			keyed(record(4, "a", backend.Done), "", "s"),
		}
		one := e.elsewhere()
		e.wantImported(one, backend.Batch{Jobs: jobs})
		apart := e.b
		for _, j := range jobs {
			e.wantImported(apart, backend.Batch{Jobs: []backend.Record{j}})
		}
		for _, b := range []backend.Backend{one, apart} {
			for i, r := range e.exportAll(b, 10).Jobs {
				if r.State != jobs[i].State || r.State == backend.Blocked && r.BlockedBy != 2 {
					e.Errorf("job %d is %v and blocked by %d, want %v by 2", r.ID, r.State, r.BlockedBy, jobs[i].State)
				}
			}
			w := e.worker()
			for _, id := range []int64{2, 1, 3} {
				got := e.claim(b, w, 10, "a")
				e.wantIDs("Claim", got, id)
				e.complete(b, got[0].Lease)
			}
		}
		e.wantCounts("a done=4")
	},
}, {
	name: "import/blocked",
	rule: "a blocked job imported without its head becomes the head, and one imported while another runs is blocked",
	run: func(e *env) {
		lone, late := keyed(record(1, "a", backend.Blocked), "", "s"), keyed(record(2, "a", backend.Blocked), "", "t")
		late.RunAt = time.Now().Add(24 * time.Hour)
		e.wantImported(e.b, backend.Batch{Jobs: []backend.Record{lone, late, keyed(record(3, "a", backend.Blocked), "", "s")}})
		e.wantState(1, backend.Pending)
		e.wantState(2, backend.Scheduled)
		e.wantState(3, backend.Blocked)
		w := e.worker()
		jobs := e.claim(e.b, w, 10, "a")
		e.wantIDs("Claim", jobs, 1)
		e.wantImported(e.b, backend.Batch{Jobs: []backend.Record{keyed(record(7, "a", backend.Pending), "", "s")}})
		e.wantState(7, backend.Blocked)
		e.complete(e.b, jobs[0].Lease)
		e.wantState(3, backend.Pending)
		e.wantCounts("a scheduled=1 a blocked=1 a pending=1 a done=1")
	},
}, {
	name: "import/counts",
	rule: "imported jobs are counted, listed and claimed in order like pushed jobs, and end a Wait",
	run: func(e *env) {
		w := e.worker()
		var wake *waiter
		if _, ok := e.b.(backend.Waiter); ok {
			wake = e.waiting(e.b, e.ctx, request(w, 1, "a"))
			e.wantAsleep("without work", wake)
		}
		high, crashed := record(5, "a", backend.Pending), record(6, "a", backend.Pending)
		high.Priority = 9
		crashed.Suspect, crashed.Crashes = true, 1
		e.wantImported(e.other(), backend.Batch{Jobs: []backend.Record{
			record(1, "a", backend.Scheduled), record(2, "a", backend.Pending), record(3, "a", backend.Failed), record(4, "b", backend.Cancelled), high, crashed,
		}})
		if wake != nil {
			e.wantWake("after an import", wake)
		}
		e.wantCounts("a scheduled=1 a pending=3 a failed=1 b cancelled=1")
		if ids := e.list(backend.ListRequest{Filter: backend.Filter{State: backend.Failed}}); !slices.Equal(ids, []int64{3}) {
			e.Errorf("the failed jobs are %v", ids)
		}
		e.wantIDs("Claim", e.claim(e.b, w, 10, "a", "b"), 5, 2)
		if j := e.claim1(e.b, w, "a"); j.ID != 6 || !j.Suspect {
			e.Errorf("Claim of the suspect returned %+v", j)
		}
	},
}, {
	name: "import/pruned",
	rule: "a finished job whose retention has ended in this store is left out and reported",
	opts: Options{History: backend.History{Done: -1, Failed: time.Hour}},
	run: func(e *env) {
		old := record(3, "a", backend.Failed)
		old.CreatedAt, old.FinishedAt = old.CreatedAt.Add(-3*time.Hour), old.FinishedAt.Add(-2*time.Hour)
		r := e.imports(e.b, backend.Batch{Jobs: []backend.Record{record(1, "a", backend.Done), record(2, "a", backend.Failed), old}})
		if r.Stored != 1 || !slices.Equal(r.Pruned, []int64{1, 3}) {
			e.Errorf("Import = %+v", r)
		}
		e.wantCounts("a failed=1")
		if id := e.push(e.b, "b", 1)[0]; id <= 3 {
			e.Errorf("a push was given ID %d", id)
		}
	},
}, {
	name: "import/schedules",
	rule: "an imported schedule has its next and last tick, its pause and its removal, and replaces a stored one that has not pushed since",
	run: func(e *env) {
		now := e.schedules().Now
		given := []backend.Schedule{
			{Name: "due", Definition: "d", Next: now.Add(-time.Hour), Last: now.Add(-2 * time.Hour)},
			{Name: "paused", Definition: "d", Next: now.Add(time.Hour), Paused: true},
			{Name: "removed", Definition: "d", Next: now.Add(time.Hour), RemovedAt: now.Add(-time.Hour)},
		}
		e.define(e.b, "due", "other", 24*time.Hour)
		e.imports(e.b, backend.Batch{Schedules: given})
		for range 2 {
			for _, want := range given {
				if got := e.schedule(want.Name); got != want {
					e.Errorf("the schedule is %+v, want %+v", got, want)
				}
			}
			e.imports(e.b, backend.Batch{Schedules: given})
		}
		tick := backend.Tick{Name: "due", Definition: "d", Due: given[0].Next, Next: now.Add(time.Hour), Jobs: []backend.NewJob{newJob("a")}}
		if !e.tick(e.b, tick) {
			e.Errorf("the tick was not taken")
		}
		e.imports(e.b, backend.Batch{Schedules: given})
		if e.tick(e.b, tick) {
			e.Errorf("the tick was taken again after a repeated import")
		}
	},
}}
