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
	"github.com/plainjobs/plainjobs/backend/check"
)

// elsewhere returns a handle on another store of the same kind.
func (e *env) elsewhere() backend.Backend {
	e.Helper()
	return e.newStore().Open(e)
}

func (e *env) export(b backend.Backend, req backend.ExportRequest) backend.Batch {
	e.Helper()
	batch, err := capability[backend.ExportImporter](e, b).Export(e.ctx, req)
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
	r, err := capability[backend.ExportImporter](e, b).Import(e.ctx, batch)
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
		f := backend.Failure{Lease: e.claim(e.b, w, 1, "fail")[0].Lease, Ending: ending, Delay: 70 * e.unit, Error: "text ü\n" + string(rune('a'+i)), Stack: "main.go:1\n\tx",
			Worker: "mill", Took: time.Duration(i) * time.Millisecond}
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
			if _, err := capability[backend.ExportImporter](e, e.b).Export(e.ctx, req); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Export(%+v) = %v, want ErrInvalid", req, err)
			}
		}
		good := record(1, "a", backend.Pending)
		for what, spoil := range map[string]func(b *backend.Batch){
			"no name":         func(b *backend.Batch) { b.Jobs[1].Name = "" },
			"no state":        func(b *backend.Batch) { b.Jobs[1].State = 0 },
			"descending":      func(b *backend.Batch) { b.Jobs[1].ID = 1 },
			"a huge ID":       func(b *backend.Batch) { b.Jobs[1].ID = check.MaxID + 1 },
			"a huge last ID":  func(b *backend.Batch) { b.LastID = 1 << 60 },
			"unfinished":      func(b *backend.Batch) { b.Jobs[1].State = backend.Done },
			"blocked by none": func(b *backend.Batch) { b.Jobs[1].State = backend.Blocked },
			"a schedule":      func(b *backend.Batch) { b.Schedules = []backend.Schedule{{Name: "x"}} },
		} {
			batch := backend.Batch{Jobs: []backend.Record{good, record(2, "b", backend.Pending)}}
			spoil(&batch)
			if _, err := capability[backend.ExportImporter](e, e.b).Import(e.ctx, batch); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Import of a batch with %s = %v, want ErrInvalid", what, err)
			}
		}
		e.wantCounts("")
	},
}, {
	name: "export/keys-and-ids",
	rule: "an exported job has its KeyUntil, and a page has the highest ID ever assigned",
	run: func(e *env) {
		capability[backend.ExportImporter](e, e.b)
		const kept = time.Hour
		job := uniqueJob("a", backend.Unique{Key: "k", For: kept})
		id := e.push1(e.b, job).ID
		last := e.push(e.b, "b", 1)[0]
		created := e.get(id).CreatedAt
		e.complete(e.b, e.claim1(e.b, e.worker(), "a").Lease)
		batch := e.export(e.b, backend.ExportRequest{Jobs: 10})
		if batch.LastID < last {
			e.Errorf("LastID is %d, and job %d was stored", batch.LastID, last)
		}
		i := slices.IndexFunc(batch.Jobs, func(r backend.Record) bool { return r.ID == id })
		if i < 0 || !batch.Jobs[i].KeyUntil.Equal(created.Add(kept)) {
			e.Errorf("job %d has the key until %v: exported are %+v", id, created.Add(kept), batch.Jobs)
		}
	},
}}
