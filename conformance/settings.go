package conformance

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// nameInfo returns what the store knows of a name.
func (e *env) nameInfo(name string) (info backend.NameInfo, ok bool) {
	e.Helper()
	infos, err := capability[backend.SettingsStore](e, e.other()).Names(e.ctx)
	if err != nil {
		e.Fatalf("Names: %v", err)
	}
	for i := range infos {
		if i > 0 && infos[i].Name <= infos[i-1].Name {
			e.Errorf("Names are not ordered: %q follows %q", infos[i].Name, infos[i-1].Name)
		}
		if infos[i].Name == name {
			info, ok = infos[i], true
		}
	}
	return info, ok
}

var settingsCases = []testCase{{
	name: "settings/set",
	rule: "settings are kept by name, visible to all processes, and replaced as a whole when set again",
	run: func(e *env) {
		all := backend.Settings{
			Name: "b", MaxRunning: 3, Rate: 5, Per: 90 * time.Second, MaxCrashes: -1,
			History: backend.History{Done: time.Hour, Failed: -1, Rows: 7},
		}
		e.set(e.b, backend.Settings{Name: "c", MaxRunning: 1}, all)
		e.push(e.b, "a", 1)
		if info, ok := e.nameInfo("b"); !ok || info.Settings != all || info.Paused || info.Running != 0 || !info.Free.IsZero() {
			e.Errorf("b is %+v, want %+v", info, all)
		}
		if info, ok := e.nameInfo("a"); !ok || info.Settings != (backend.Settings{Name: "a"}) {
			e.Errorf("a, which has jobs, is %+v, listed %v", info, ok)
		}
		if _, ok := e.nameInfo("d"); ok {
			e.Errorf("an unknown name is listed")
		}
		all = backend.Settings{Name: "b", MaxRunning: 4}
		e.set(e.other(), all)
		if info, ok := e.nameInfo("b"); !ok || info.Settings != all {
			e.Errorf("set again b is %+v, want %+v", info, all)
		}
		if info, _ := e.nameInfo("c"); info.MaxRunning != 1 {
			e.Errorf("c is %+v, which was not set again", info)
		}
	},
}, {
	name: "settings/zero",
	rule: "zero Settings restore the defaults: the name has no bounds, and is not listed without jobs",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", MaxRunning: 1}, backend.Settings{Name: "b", MaxRunning: 1, MaxCrashes: 3})
		e.set(e.other(), backend.Settings{Name: "a"}, backend.Settings{Name: "b"})
		if info, ok := e.nameInfo("b"); ok {
			e.Errorf("the name without jobs is listed as %+v", info)
		}
		ids := e.push(e.b, "a", 2)
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"), ids...)
		if info, ok := e.nameInfo("a"); !ok || info.Settings != (backend.Settings{Name: "a"}) {
			e.Errorf("the name with jobs is %+v, listed %v", info, ok)
		}
	},
}, {
	name: "settings/names",
	rule: "Names returns the number of running jobs of a name, and when its rate allows the next claim",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", Rate: 2, Per: span})
		e.push(e.b, "a", 5)
		w := e.worker()
		j := e.claim1(e.b, w, "a")
		if info, _ := e.nameInfo("a"); info.Running != 1 || !info.Free.IsZero() {
			e.Errorf("below its rate the name is %+v", info)
		}
		e.advance(e.unit)
		second := e.claim1(e.b, w, "a")
		e.complete(e.b, second.Lease)
		first := j.CreatedAt.Add(span)
		if info, _ := e.nameInfo("a"); info.Running != 1 || info.Free.Before(first) || info.Free.After(first.Add(span/50)) {
			e.Errorf("at its rate the name is %+v, want it free at %v", info, first)
		}
	},
}, {
	name: "settings/invalid",
	rule: "a batch of settings that breaks a rule is refused with ErrInvalid",
	run: func(e *env) {
		setter := capability[backend.SettingsStore](e, e.b)
		for _, bad := range []backend.Settings{
			{}, {Name: "a\xff"}, {Name: "a", MaxRunning: -1}, {Name: "a", MaxCrashes: math.MinInt}, {Name: "a", Rate: -1, Per: 1}, {Name: "a", Rate: 1}, {Name: "a", Per: 1},
			{Name: "a", Rate: 1, Per: 1<<63 - 1}, {Name: "a", History: backend.History{Done: 1<<63 - 1}},
		} {
			if _, err := setter.Set(e.ctx, 0, []backend.Settings{{Name: "good", MaxRunning: 1}, bad}); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Set(%+v) = %v, want ErrInvalid", bad, err)
			}
		}
		if _, err := setter.Set(e.ctx, 0, nil); err != nil {
			e.Errorf("Set of nothing = %v", err)
		}
		for _, name := range []string{"a\xff", "a\x00", strings.Repeat("x", 129)} {
			if err := setter.Pause(e.ctx, name, true); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Pause(%q) = %v, want ErrInvalid", name, err)
			}
		}
		if names, err := setter.Names(e.ctx); len(names) != 0 || err != nil {
			e.Errorf("Names = %+v, %v", names, err)
		}
	},
}, {
	name: "settings/history",
	rule: "the history of a name overrides the store's, including deletion at once",
	opts: Options{History: backend.History{Rows: 5}},
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", History: backend.History{Done: -1}},
			backend.Settings{Name: "b", History: backend.History{Rows: 2}},
			backend.Settings{Name: "c", History: backend.History{Failed: -1, Rows: -1}})
		w := e.worker()
		for _, name := range []string{"a", "b", "c", "d"} {
			e.push(e.b, name, 9)
			for i, j := range e.claim(e.b, w, 9, name) {
				if i == 0 {
					e.fail(e.other(), backend.Failure{Lease: j.Lease, Ending: backend.EndFailed})
				} else {
					e.complete(e.other(), j.Lease)
				}
			}
		}
		e.wantCounts("a failed=1 b done=8 b failed=1 c done=8 d done=8 d failed=1")
		for e.reap(e.b, backend.ReapRequest{}).More {
		}
		e.wantCounts("a failed=1 b done=2 c done=8 d done=5")
	},
}, {
	name: "settings/history-age",
	rule: "the retention of a name overrides the store's",
	opts: Options{History: backend.History{Done: time.Hour}},
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("needs a clock that can be moved")
		}
		e.set(e.b, backend.Settings{Name: "short", History: backend.History{Done: time.Minute}},
			backend.Settings{Name: "long", History: backend.History{Done: 3 * time.Hour}})
		w := e.worker()
		finish := func() {
			for _, name := range []string{"short", "long", "other"} {
				e.push(e.b, name, 1)
				e.complete(e.b, e.claim1(e.b, w, name).Lease)
			}
		}
		finish()
		e.store.Advance(2 * time.Minute)
		e.reap(e.b, backend.ReapRequest{})
		e.wantCounts("long done=1 other done=1")
		e.store.Advance(2 * time.Hour)
		e.reap(e.b, backend.ReapRequest{})
		e.wantCounts("long done=1")
		e.set(e.other(), backend.Settings{Name: "long", History: backend.History{Done: time.Minute}})
		e.reap(e.b, backend.ReapRequest{})
		e.wantCounts("")
	},
}, {
	name: "settings/history-crash",
	rule: "the history of a name applies to jobs that Reap fails",
	run: func(e *env) {
		e.set(e.b, backend.Settings{Name: "a", History: backend.History{Failed: -1}})
		id := e.push(e.b, "a", 1)[0]
		for range 1 + backend.DefaultMaxCrashes {
			e.claim1(e.b, e.worker(), "a")
			e.crash(e.b)
		}
		e.wantState(id, 0)
	},
}, {
	name: "settings/max-crashes",
	rule: "a job fails after the number of crashes that the current settings of its name allow, and never if that is negative",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		crash := func(want backend.State) {
			e.claim1(e.b, e.worker(), "a")
			e.crash(e.b)
			e.wantState(id, want)
		}
		e.set(e.b, backend.Settings{Name: "a", MaxCrashes: -1})
		for range 2 + backend.DefaultMaxCrashes {
			crash(backend.Pending)
		}
		e.set(e.other(), backend.Settings{Name: "a", MaxCrashes: backend.DefaultMaxCrashes + 3})
		crash(backend.Pending)
		crash(backend.Failed)
		e.set(e.other(), backend.Settings{Name: "a", MaxCrashes: 1})
		id = e.push(e.b, "a", 1)[0]
		crash(backend.Pending) // which only makes it a suspect
		crash(backend.Failed)
	},
}, {
	name: "settings/max-crashes-company",
	rule: "a suspect with more crashes than a lowered MaxCrashes fails with its next own crash, and not with one that other jobs may have caused",
	run: func(e *env) {
		ids := e.push(e.b, "a", 1)
		for range 3 {
			e.claim1(e.b, e.worker(), "a")
			e.crash(e.b)
		}
		e.set(e.b, backend.Settings{Name: "a", MaxCrashes: 1})
		other := e.push(e.b, "b", 1)
		w := e.worker()
		e.claim1(e.b, w, "a")
		e.wantIDs("Claim of the other", e.claim(e.b, w, 1, "b"), other...)
		e.crash(e.b)
		e.wantState(ids[0], backend.Pending)
		e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		e.wantState(ids[0], backend.Failed)
	},
}, {
	name: "pause/name",
	rule: "no process claims a job of a paused name until the name is resumed; other names are claimed",
	run: func(e *env) {
		ids := e.push(e.b, "a", 3)
		b := e.push(e.b, "b", 2)
		w := e.worker()
		running := e.claim(e.b, w, 1, "a")
		for range 2 {
			e.pause(e.other(), "a", true)
		}
		e.wantIDs("Claim while a is paused", e.claim(e.b, w, 10, "a", "b"), b...)
		e.wantIDs("Claim by another", e.claim(e.other(), e.worker(), 10, "a"))
		if info, ok := e.nameInfo("a"); !ok || !info.Paused || info.Running != 1 {
			e.Errorf("the paused name is %+v", info)
		}
		e.wantLost("Complete of what ran", e.complete(e.b, running[0].Lease))
		e.pause(e.b, "a", false)
		e.wantIDs("Claim after Resume", e.claim(e.other(), w, 10, "a"), ids[1:]...)
		if info, _ := e.nameInfo("a"); info.Paused {
			e.Errorf("the resumed name is %+v", info)
		}
		e.pause(e.b, "unknown", true)
		if info, ok := e.nameInfo("unknown"); !ok || !info.Paused {
			e.Errorf("a paused name without jobs is %+v, listed %v", info, ok)
		}
	},
}, {
	name: "pause/all",
	rule: "a pause of all names and a pause of one name are independent, and either prevents claims",
	run: func(e *env) {
		ids := e.push(e.b, "a", 1)
		b := e.push(e.b, "b", 1)
		w := e.worker()
		e.pause(e.b, "", true)
		e.pause(e.b, "a", true)
		if info, ok := e.nameInfo(""); !ok || !reflect.DeepEqual(info, backend.NameInfo{Paused: true}) {
			e.Errorf("the whole queue is %+v, listed %v", info, ok)
		}
		if info, _ := e.nameInfo("b"); info.Paused {
			e.Errorf("b, which is not paused itself, is %+v", info)
		}
		e.wantIDs("Claim while all is paused", e.claim(e.other(), w, 10, "a", "b"))
		e.pause(e.b, "b", false)
		e.wantIDs("Claim while all is paused", e.claim(e.other(), w, 10, "a", "b"))
		e.pause(e.other(), "", false)
		if _, ok := e.nameInfo(""); ok {
			e.Errorf("the whole queue is listed though it is not paused")
		}
		e.wantIDs("Claim while a is paused", e.claim(e.b, w, 10, "a", "b"), b...)
		e.pause(e.other(), "a", false)
		e.wantIDs("Claim after Resume", e.claim(e.b, w, 10, "a", "b"), ids...)
	},
}, {
	name: "pause/suspects",
	rule: "a suspect of a paused name is not claimed",
	run: func(e *env) {
		id := e.push(e.b, "a", 1)[0]
		e.claim1(e.b, e.worker(), "a")
		e.crash(e.b)
		for _, name := range []string{"a", ""} {
			e.pause(e.b, name, true)
			e.wantIDs(fmt.Sprintf("Claim while %q is paused", name), e.claimAny(e.b, e.worker(), 10, "a"))
			e.pause(e.b, name, false)
		}
		e.wantIDs("Claim after Resume", e.claimAny(e.b, e.worker(), 10, "a"), id)
	},
}, {
	name: "pause/goes-on",
	rule: "a pause stops claims only: jobs are pushed, settled, rescued and made due, and the worker's row is renewed",
	run: func(e *env) {
		e.push(e.b, "a", 2)
		w := e.worker()
		jobs := e.claim(e.b, w, 2, "a")
		e.pause(e.b, "", true)
		e.pushJobs(e.b, after(e.unit, newJob("a")))
		e.fail(e.b, backend.Failure{Lease: jobs[0].Lease, Ending: backend.EndRetry, Delay: e.unit})
		e.advance(e.unit * 2 / 3)
		e.claim(e.b, w, 10, "a")
		e.advance(e.unit * 2 / 3)
		if r := e.reap(e.b, backend.ReapRequest{Expired: true}); len(r.Workers) > 0 {
			e.Errorf("Reap found the worker dead that claims: %+v", r)
		}
		e.wantCounts("a pending=2 a running=1")
		e.crash(e.b)
		e.wantCounts("a pending=3")
	},
}}
