package conformance

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// fairJob returns a job with a fair key.
func fairJob(name, key string) backend.NewJob {
	j := newJob(name)
	j.Fair = key
	return j
}

// pushFair stores n jobs with a fair key.
func (e *env) pushFair(name, key string, n int) []int64 {
	e.Helper()
	jobs := make([]backend.NewJob, n)
	for i := range jobs {
		jobs[i] = fairJob(name, key)
	}
	return e.pushJobs(e.b, jobs...)
}

var fairCases = []testCase{{
	name: "fair/turns",
	rule: "the fair keys of a name take turns, whatever their backlogs; within a key, the order is that in which jobs became pending",
	run: func(e *env) {
		a := e.pushFair("a", "A", 5)
		e.advance(e.unit / 10)
		b := e.pushFair("a", "B", 2)
		e.advance(e.unit / 10)
		c := e.pushFair("a", "C", 1)
		b = append(b, e.pushFair("a", "B", 1)...)
		got := e.claim(e.b, e.worker(), 100, "a")
		e.wantIDs("Claim", got, a[0], b[0], c[0], a[1], b[1], a[2], b[2], a[3], a[4])
	},
}, {
	name: "fair/batch",
	rule: "fair keys take turns within a batch, also with jobs that are pushed one by one",
	run: func(e *env) {
		one := e.pushFair("a", "A", 1)
		ids := e.pushJobs(e.b, fairJob("a", "A"), fairJob("a", "A"), fairJob("a", "B"), fairJob("b", "A"), fairJob("a", "B"), fairJob("a", "C"))
		got := e.claim(e.b, e.worker(), 100, "a")
		e.wantIDs("Claim", got, one[0], ids[2], ids[5], ids[0], ids[4], ids[1])
	},
}, {
	name: "fair/newcomer",
	rule: "the job of a key that has none waiting stands at the turn that has been reached",
	run: func(e *env) {
		a := e.pushFair("a", "A", 6)
		w := e.worker()
		for i := range 2 {
			e.advance(e.unit / 10)
			e.wantIDs("Claim", e.claim(e.b, w, 1, "a"), a[i])
		}
		b := e.pushFair("a", "B", 2)
		e.wantIDs("Claim after the push of another key", e.claim(e.b, w, 4, "a"), a[2], b[0], a[3], b[1])
		c := e.pushFair("a", "C", 2)
		e.wantIDs("Claim after the push of a third key", e.claim(e.b, w, 10, "a"), a[4], c[0], a[5], c[1])
		e.advance(e.unit / 10)
		plain := e.push(e.b, "b", 1)
		e.advance(e.unit / 10)
		last := e.pushFair("a", "B", 1)
		e.wantIDs("Claim after nothing waited", e.claim(e.b, w, 10, "a", "b"), plain[0], last[0])
	},
}, {
	name: "fair/priority",
	rule: "priority comes before turns; jobs of one priority take turns whatever waits with another",
	run: func(e *env) {
		low := e.pushFair("a", "A", 3)
		e.advance(e.unit / 10)
		high := e.pushJobs(e.b, urgentJob("a", "B"), urgentJob("a", "B"), urgentJob("a", "B"))
		e.advance(e.unit / 10)
		high = append(high, e.pushJobs(e.b, urgentJob("a", "C"))...)
		low = append(low, e.pushFair("a", "C", 1)...)
		got := e.claim(e.b, e.worker(), 100, "a")
		e.wantIDs("Claim", got[:4], high[0], high[3], high[1], high[2])
		e.wantIDs("Claim", got[4:5], low[0])
	},
}, {
	name: "fair/names",
	rule: "turns are the RunAt of their jobs: with the jobs of other names they are in the order of RunAt",
	run: func(e *env) {
		a := e.pushFair("a", "A", 3)
		e.advance(e.unit / 10)
		plain := e.push(e.b, "b", 1)
		e.advance(e.unit / 10)
		b := e.pushFair("a", "B", 1)
		other := e.pushFair("c", "A", 1)
		if first, newcomer := e.get(a[0]), e.get(b[0]); !newcomer.RunAt.Equal(first.RunAt) || !newcomer.CreatedAt.After(first.CreatedAt) {
			e.Errorf("the newcomer's RunAt is %v, want %v, that of the first job", newcomer.RunAt, first.RunAt)
		}
		got := e.claim(e.b, e.worker(), 100, "a", "b", "c")
		e.wantIDs("Claim", got, a[0], b[0], a[1], a[2], plain[0], other[0])
	},
}, {
	name: "fair/due",
	rule: "a delayed, snoozed or retried job takes a turn when it is pending again",
	run: func(e *env) {
		w := e.worker()
		e.pushFair("a", "B", 2)
		held := e.claim(e.b, w, 2, "a")
		e.fail(e.b, backend.Failure{Lease: held[0].Lease, Ending: backend.EndRetry, Delay: e.unit})
		e.fail(e.b, backend.Failure{Lease: held[1].Lease, Ending: backend.EndSnooze, Delay: 2 * e.unit})
		late := e.pushJobs(e.b, after(3*e.unit, fairJob("a", "C")))
		a := e.pushFair("a", "A", 5)
		e.advance(4 * e.unit)
		got := e.claim(e.b, w, 100, "a")
		e.wantIDs("Claim", got, held[0].ID, late[0], a[0], held[1].ID, a[1], a[2], a[3], a[4])
		for _, end := range []backend.Ending{backend.EndRetry, backend.EndSnooze} {
			a := e.pushFair("z", "A", 3)
			b := e.pushFair("z", "B", 1)
			first := e.claim(e.b, w, 2, "z")
			e.wantIDs("Claim", first, a[0], b[0])
			e.advance(e.unit / 10)
			e.fail(e.b, backend.Failure{Lease: first[1].Lease, Ending: end})
			got := e.claim(e.b, w, 10, "z")
			slices.SortFunc(got[:2], func(x, y backend.Job) int { return int(x.ID - y.ID) }) // both have the turn that is reached
			e.wantIDs("Claim after a job came back at once", got, a[1], b[0], a[2])
		}
	},
}, {
	name: "fair/kept",
	rule: "a job with a fair key that is released or rescued keeps its place, but not before the first job that waits",
	run: func(e *env) {
		for _, way := range back {
			if !e.can(way) || way.name == "retry" {
				continue
			}
			name, w := way.job(), e.worker()
			a := e.pushFair(name, "A", 3)
			held := e.claim1(e.b, w, name)
			b := e.pushFair(name, "B", 1)
			e.advance(e.unit / 10)
			way.take(e, w, held)
			if info := e.get(a[0]); info.State != backend.Pending || info.RunAt.After(e.get(a[1]).RunAt) {
				continue // it waits, and takes another turn
			}
			w = e.worker()
			got := e.claimAny(e.b, w, 1, name)
			got = append(got, e.claim(e.b, w, 10, name)...)
			e.wantIDs("Claim after "+way.name, got, a[0], a[1], b[0], a[2])
			e.completeAll(got)
		}
		w := e.worker()
		a := e.pushFair("a", "A", 3)
		held := e.claim1(e.b, w, "a")
		want := e.get(a[1]).RunAt
		e.advance(e.unit / 10)
		e.fail(e.b, backend.Failure{Lease: held.Lease, Ending: backend.EndRelease})
		if info := e.get(a[0]); !info.RunAt.Equal(want) {
			e.Errorf("the released job has the RunAt %v, want %v, that of the first job that waits", info.RunAt, want)
		}
		e.wantIDs("Claim after the release", e.claim(e.b, w, 10, "a"), a...)
	},
}, {
	name:  "fair/unblocked",
	rule:  "a job that waited for its serial key or that an operator retries takes a turn",
	needs: backend.FieldSerial,
	run: func(e *env) {
		both := func(key string) backend.NewJob {
			j := fairJob("a", key)
			j.Serial = "s" + key
			return j
		}
		w := e.worker()
		b := e.pushJobs(e.b, both("B"), both("B"))
		head := e.claim1(e.b, w, "a")
		e.advance(e.unit / 10)
		a := e.pushFair("a", "A", 4)
		e.advance(e.unit / 10)
		e.complete(e.b, head.Lease)
		got := e.claim(e.b, w, 2, "a")
		slices.SortFunc(got, func(x, y backend.Job) int { return int(x.ID - y.ID) }) // they have the same turn
		e.wantIDs("Claim", got, b[1], a[0])
		e.fail(e.b, backend.Failure{Lease: got[0].Lease, Ending: backend.EndFailed})
		e.advance(e.unit / 10)
		e.wantAffected("OpRetry", backend.OpRetry, []int64{b[1]}, b[1])
		got = e.claim(e.b, w, 2, "a")
		slices.SortFunc(got, func(x, y backend.Job) int { return int(x.ID - y.ID) })
		e.wantIDs("Claim after OpRetry", got, b[1], a[1])
	},
}, {
	name: "fair/read",
	rule: "Get, List, Export and Import have the fair key of a job in every state, and Filter.Key selects by it",
	run: func(e *env) {
		a := e.pushFair("a", "A", 2)
		e.pushFair("a", "B", 1)
		later := e.pushJobs(e.b, after(e.unit, fairJob("a", "A")))
		w := e.worker()
		done := e.claim1(e.b, w, "a")
		e.complete(e.b, done.Lease)
		page, err := e.reader().List(e.ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{"a"}, Key: "A"}})
		if err != nil || len(page.Jobs) != 3 {
			e.Fatalf("List of the key = %d jobs, %v; want 3", len(page.Jobs), err)
		}
		for _, info := range append(page.Jobs, e.get(a[0]), e.get(a[1]), e.get(later[0])) {
			if info.FairKey != "A" {
				e.Errorf("job %d has the fair key %q, want A", info.ID, info.FairKey)
			}
		}
		if _, ok := e.b.(backend.ExportImporter); !ok {
			return
		}
		to := e.newStore().Open(e)
		batch, err := e.b.(backend.ExportImporter).Export(e.ctx, backend.ExportRequest{Jobs: 100})
		if err != nil || len(batch.Jobs) != 4 {
			e.Fatalf("Export = %d jobs, %v", len(batch.Jobs), err)
		}
		if _, err := to.(backend.ExportImporter).Import(e.ctx, batch); err != nil {
			e.Fatalf("Import: %v", err)
		}
		for _, r := range batch.Jobs {
			info, err := to.(backend.Reader).Get(e.ctx, r.ID)
			if err != nil || info.FairKey != r.FairKey || info.FairKey == "" || !info.RunAt.Equal(r.RunAt) {
				e.Errorf("the imported job %d has the fair key %q and the RunAt %v, want %q and %v; %v", r.ID, info.FairKey, info.RunAt, r.FairKey, r.RunAt, err)
			}
		}
	},
}, {
	name: "fair/import",
	rule: "imported jobs keep their turns, and later jobs of their keys stand behind them",
	run: func(e *env) {
		from := capability[backend.ExportImporter](e, e.b)
		a := e.pushFair("a", "A", 3)
		batch, err := from.Export(e.ctx, backend.ExportRequest{Jobs: 100})
		if err != nil {
			e.Fatalf("Export: %v", err)
		}
		e.b = e.newStore().Open(e)
		if _, err := e.b.(backend.ExportImporter).Import(e.ctx, batch); err != nil {
			e.Fatalf("Import: %v", err)
		}
		more := e.pushFair("a", "A", 1)
		b := e.pushFair("a", "B", 2)
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"), a[0], b[0], a[1], b[1], a[2], more[0])
	},
}, {
	name: "fair/delete",
	rule: "the turns of jobs that are cancelled or deleted are not waited for, nor those of jobs whose history is not kept",
	opts: Options{History: backend.History{Done: -1, Failed: -1}},
	run: func(e *env) {
		a := e.pushFair("a", "A", 5)
		e.wantAffected("OpCancel", backend.OpCancel, []int64{a[0]}, a[0])
		e.wantAffected("OpDelete", backend.OpDelete, []int64{a[1]}, a[1])
		w := e.worker()
		e.complete(e.b, e.claim1(e.b, w, "a").Lease)
		e.fail(e.b, backend.Failure{Lease: e.claim1(e.b, w, "a").Lease, Ending: backend.EndFailed})
		b := e.pushFair("a", "B", 1)
		got := e.claim(e.b, w, 10, "a")
		e.wantIDs("Claim", got, a[4], b[0])
		e.completeAll(got)
		e.wantCounts("")
	},
}, {
	name: "fair/race",
	rule: "concurrent pushes with one fair key succeed, and another key waits for few of them",
	run: func(e *env) {
		const pushers, each = 8, 10
		e.atOnce(pushers, func(_ int, b backend.Backend) {
			for range each {
				if _, err := b.Push(e.ctx, []backend.NewJob{fairJob("a", "A"), fairJob("a", "A")}); err != nil {
					e.Errorf("Push: %v", err)
				}
			}
		})
		id := e.pushFair("a", "B", 1)[0]
		got := e.claim(e.b, e.worker(), 1000, "a")
		if len(got) != 2*pushers*each+1 {
			e.Fatalf("Claim returned %d jobs, want %d", len(got), 2*pushers*each+1)
		}
		if at := slices.IndexFunc(got, func(j backend.Job) bool { return j.ID == id }); at > pushers {
			e.Errorf("the other key's job is claimed after %d jobs, want at most %d", at, pushers)
		}
	},
}, {
	name: "fair/weights",
	rule: "a fair key has as many jobs in each turn as its weight, of those that take their turns after the change; weights add up, and a reset removes them",
	run: func(e *env) {
		weigh := func(reset bool, weights map[string]int) {
			e.Helper()
			e.override(backend.Override{Settings: backend.Settings{Name: "a"}, Weights: weights, By: "ann"}, reset)
		}
		wantWeights := func(want map[string]int) {
			e.Helper()
			if info, _ := e.nameInfo("a"); !maps.Equal(info.Override.Weights, want) {
				e.Errorf("the weights are %v, want %v", info.Override.Weights, want)
			}
		}
		round := func(n int) (a, b []int64) {
			e.Helper()
			for range n { // with a later job of an earlier turn, so that order is not that of IDs
				a = append(a, e.pushFair("a", "A", 1)...)
				e.advance(e.unit / 10)
			}
			return a, append(e.pushFair("a", "B", 2), e.pushFair("a", "B", 1)...)
		}
		w := e.worker()
		weigh(false, map[string]int{"A": 2, "C": 9})
		weigh(false, map[string]int{"B": 3})
		wantWeights(map[string]int{"A": 2, "B": 3, "C": 9})
		a, b := round(5)
		got := e.claim(e.b, w, 100, "a")
		e.wantIDs("Claim with weights", got, a[0], a[1], b[0], b[1], b[2], a[2], a[3], a[4])
		e.completeAll(got)
		weigh(false, map[string]int{"B": 1, "C": 1})
		wantWeights(map[string]int{"A": 2})
		e.advance(e.unit)
		a, b = round(5)
		late := e.pushJobs(e.b, after(e.unit, fairJob("a", "A")), after(e.unit, fairJob("a", "A")))
		e.advance(2 * e.unit)
		got = e.claim(e.b, w, 100, "a")
		e.wantIDs("Claim with one weight", got, a[0], a[1], b[0], a[2], a[3], b[1], a[4], b[2], late[0], late[1])
		e.completeAll(got)
		weigh(true, nil)
		wantWeights(nil)
		e.advance(e.unit)
		a, b = round(3)
		e.wantIDs("Claim after a reset", e.claim(e.b, w, 100, "a"), a[0], b[0], a[1], b[1], a[2], b[2])
		for _, weights := range []map[string]int{{"A": 0}, {"A": -1}, {"A": 1001}, {"": 2}, {strings.Repeat("x", 256): 2}} {
			err := capability[backend.SettingsStore](e, e.b).Override(e.ctx, backend.Override{Settings: backend.Settings{Name: "a"}, Weights: weights}, false)
			if !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Override with the weights %v = %v, want ErrInvalid", weights, err)
			}
		}
	},
}, {
	name: "fair/invalid",
	rule: "a fair key that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		for _, key := range []string{strings.Repeat("x", 256), "\xff", "a\x00"} {
			if _, err := e.b.Push(e.ctx, []backend.NewJob{newJob("a"), fairJob("a", key)}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Push of key %q = %v, want ErrInvalid", key, err)
			}
		}
		e.wantCounts("")
	},
}}
