package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A view is the visible state of a store.
type view struct {
	Jobs      []backend.Info // by ID, with all that Get shows
	Counts    []backend.Count
	Names     []backend.NameInfo
	Workers   []backend.WorkerInfo
	Schedules []backend.Schedule
}

// A shown is a job as List and Get return it.
type shown struct{ listed, whole backend.Info }

// look returns the visible state of a store, or a contradiction in it. A job
// that is listed as in before is not read again: reading each job after every
// step would take most of the time. look adds the jobs that it reads to before.
func look(ctx context.Context, s Backend, before map[int64]shown) (v view, err error) {
	for next := int64(0); ; {
		page, err := s.List(ctx, backend.ListRequest{Before: next, Limit: 1000, Payloads: true})
		if err != nil {
			return v, err
		}
		for _, listed := range page.Jobs {
			if was, ok := before[listed.ID]; ok && reflect.DeepEqual(was.listed, listed) {
				v.Jobs = append(v.Jobs, was.whole)
				continue
			}
			info, err := s.Get(ctx, listed.ID)
			if err != nil {
				return v, err
			}
			short := info
			short.Result, short.Errors = listed.Result, listed.Errors
			if !reflect.DeepEqual(plain(short), plain(listed)) {
				return v, fmt.Errorf("job %d is listed as %+v and shown as %+v", listed.ID, listed, info)
			}
			before[listed.ID] = shown{listed, plain(info)}
			v.Jobs = append(v.Jobs, plain(info))
		}
		if next = page.Next; next == 0 {
			break
		}
	}
	slices.Reverse(v.Jobs)
	var all backend.Schedules
	var errs [4]error
	v.Counts, errs[0] = s.Count(ctx)
	v.Names, errs[1] = s.Names(ctx)
	v.Workers, errs[2] = s.Workers(ctx)
	all, errs[3] = s.Schedules(ctx)
	v.Schedules = all.Schedules
	for i := range v.Workers {
		w := &v.Workers[i]
		w.Jobs, w.Schedules = some(w.Jobs), some(w.Schedules)
		w.Ended, w.Present = false, false // workers here have no processes
	}
	return v, errors.Join(errs[:]...)
}

// plain normalizes a job: empty slices are nil. A finished job has no run time
// and is not a suspect.
func plain(i backend.Info) backend.Info {
	if i.State.Terminal() {
		i.RunAt, i.Suspect = time.Time{}, false
		if i.State != backend.Failed {
			i.Crashes = 0
		}
	}
	i.Payload, i.Metadata, i.Errors = some(i.Payload), some(i.Metadata), some(i.Errors)
	return i
}

func some[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// look returns the visible state of the model.
func (m *model) look() (v view) {
	counts := map[backend.Count]int64{}
	running := map[int64]int64{}
	for _, j := range m.jobs {
		v.Jobs = append(v.Jobs, m.info(j))
		counts[backend.Count{Name: j.Name, State: j.State}]++
		running[j.Worker]++
	}
	for _, name := range names {
		for _, s := range backend.States() {
			c := backend.Count{Name: name, State: s}
			if c.Jobs = counts[c]; c.Jobs > 0 {
				v.Counts = append(v.Counts, c)
			}
		}
	}
	v.Names = m.names(counts)
	for _, w := range m.workers {
		v.Workers = append(v.Workers, backend.WorkerInfo{
			Worker: w.Worker, StartedAt: w.started, SeenAt: w.seen, Alive: w.alive(m.now), Running: running[w.ID],
		})
	}
	slices.SortFunc(v.Workers, func(a, b backend.WorkerInfo) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, name := range schedules {
		if s, ok := m.schedules[name]; ok {
			v.Schedules = append(v.Schedules, s)
		}
	}
	return v
}

func (m *model) names(counts map[backend.Count]int64) (infos []backend.NameInfo) {
	if m.paused[""] {
		infos = append(infos, backend.NameInfo{Paused: true})
	}
	for _, name := range names {
		some := m.paused[name] || m.settings[name] != backend.Settings{} || m.differ[name] || !m.overrides[name].Zero()
		for c := range counts {
			some = some || c.Name == name
		}
		if !some {
			continue
		}
		info := backend.NameInfo{
			Settings: m.settings[name], Defined: m.defined[name], Differ: m.differ[name], Override: m.overrides[name], Paused: m.paused[name],
		}
		info.Name, info.Defined.Name = name, name
		info.Running = counts[backend.Count{Name: name, State: backend.Running}]
		if s := m.settings[name]; s.Rate > 0 {
			if starts := m.counting(name); len(starts) >= s.Rate {
				info.Free = starts[len(starts)-s.Rate].Add(s.Per)
			}
		}
		infos = append(infos, info)
	}
	return infos
}

func (m *model) info(j *job) backend.Info {
	info := backend.Info{
		ID: j.id, Name: j.Name, State: j.State, Priority: j.Priority, Payload: j.Payload, Failures: j.Failures,
		MaxAttempts: j.MaxAttempts, Suspect: j.Suspect, Crashes: j.Crashes, CreatedAt: j.created, RunAt: j.runAt,
		Worker: j.Worker, ExpiresAt: j.expires, UniqueKey: j.Unique.Key, SerialKey: j.Serial, Cancelling: j.Cancelling,
		Done: j.done, Total: j.total, Metadata: j.Metadata, Result: j.result, Errors: j.errors,
	}
	if j.State.Terminal() {
		info.FinishedAt = j.finished
	}
	if m.keeps(j) {
		info.KeyUntil = m.keys[named{j.Name, j.Unique.Key}].until
	}
	if j.State == backend.Blocked {
		info.BlockedBy = m.head(j).id
	}
	return plain(info)
}

// differs returns how the view differs from the wanted one, or "".
func (v view) differs(want view) string {
	// A store may be stricter with a rate by a hundredth of the window.
	for i := range min(len(v.Names), len(want.Names)) {
		got, exact := &v.Names[i], want.Names[i]
		if late := got.Free.Sub(exact.Free); late > 0 && late <= exact.Per/100 {
			got.Free = exact.Free
		}
	}
	if reflect.DeepEqual(v, want) {
		return ""
	}
	var b strings.Builder
	compare(&b, "job", v.Jobs, want.Jobs)
	compare(&b, "count", v.Counts, want.Counts)
	compare(&b, "name", v.Names, want.Names)
	compare(&b, "worker", v.Workers, want.Workers)
	compare(&b, "schedule", v.Schedules, want.Schedules)
	return b.String()
}

func compare[T any](b *strings.Builder, what string, got, want []T) {
	if len(got) != len(want) {
		fmt.Fprintf(b, "\nthere are %d %ss, want %d", len(got), what, len(want))
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			fmt.Fprintf(b, "\n%s is missing: %+v", what, want[i])
		case i >= len(want):
			fmt.Fprintf(b, "\n%s is unexpected: %+v", what, got[i])
		case !reflect.DeepEqual(got[i], want[i]):
			fmt.Fprintf(b, "\n%s is %s", what, fields(got[i], want[i]))
		}
	}
}

// fields lists the fields in which two structs differ, after the first three
// fields, which identify them.
func fields(got, want any) string {
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	text := fmt.Sprintf("%+v %+v %+v:", g.Field(0), g.Field(1), g.Field(2))
	for i := range g.NumField() {
		a, b := g.Field(i).Interface(), w.Field(i).Interface()
		if !reflect.DeepEqual(a, b) {
			text += fmt.Sprintf(" %s %+v, want %+v;", g.Type().Field(i).Name, a, b)
		}
	}
	return text
}

// start is the time at which programs begin.
var start = time.Unix(1_800_000_000, 0).UTC()
