package conformance

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var importCases = []testCase{{
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
		_, err := capability[backend.ExportImporter](e, e.b).Import(e.ctx, batch)
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
		if ids := e.list(backend.ListRequest{Filter: backend.Filter{States: []backend.State{backend.Failed}}}); !slices.Equal(ids, []int64{3}) {
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
