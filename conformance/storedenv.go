package conformance

import (
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// change changes a stored schedule.
func (e *env) change(b backend.Backend, tx *sql.Tx, name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) {
	e.Helper()
	if err := capability[backend.Scheduler](e, b).ChangeSchedule(e.ctx, tx, name, change); err != nil {
		e.Fatalf("ChangeSchedule of %s: %v", name, err)
	}
}

// storeSchedule stores a schedule that pushes a job of its own name and is due in d, and returns it.
func (e *env) storeSchedule(name string, d time.Duration) backend.StoredSchedule {
	e.Helper()
	next := e.listStored(backend.StoredRequest{}).Now.Add(d)
	s := backend.StoredSchedule{Name: name, Definition: "x", Next: next, Look: next, Job: newJob(name)}
	e.change(e.b, nil, name, put(s))
	return s
}

// put stores s.
func put(s backend.StoredSchedule) func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) {
	return func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) { return &s, nil }
}

func (e *env) listStored(req backend.StoredRequest) backend.StoredSchedules {
	e.Helper()
	all, err := capability[backend.Scheduler](e, e.b).StoredSchedules(e.ctx, req)
	if err != nil || all.Now.IsZero() {
		e.Fatalf("StoredSchedules = %v, %v", all, err)
	}
	return all
}

func storedNames(all backend.StoredSchedules) string {
	var names []string
	for _, s := range all.Schedules {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

// stored returns a stored schedule, or nil.
func (e *env) stored(name string) *backend.StoredSchedule {
	e.Helper()
	for _, s := range e.listStored(backend.StoredRequest{Prefix: name}).Schedules {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

// wantStored compares a stored schedule with what it should be.
func (e *env) wantStored(what string, want backend.StoredSchedule) {
	e.Helper()
	got := e.stored(want.Name)
	if got == nil {
		e.Errorf("%s: there is no schedule %s", what, want.Name)
		return
	}
	for _, s := range []*backend.StoredSchedule{got, &want} {
		if len(s.Runs) == 0 {
			s.Runs = nil
		}
		if len(s.Job.Metadata) == 0 {
			s.Job.Metadata = nil
		}
		if len(s.Job.Payload) == 0 {
			s.Job.Payload = nil
		}
	}
	if !reflect.DeepEqual(*got, want) {
		e.Errorf("%s: the schedule is %+v, want %+v", what, *got, want)
	}
}

func (e *env) tickStored(b backend.Backend, ticks ...backend.Tick) []bool {
	e.Helper()
	taken, err := capability[backend.Scheduler](e, b).TickStored(e.ctx, ticks)
	if err != nil || len(taken) != len(ticks) {
		e.Fatalf("TickStored = %v, %v", taken, err)
	}
	return taken
}

// tickOfStored returns the tick of s that pushes its job.
func tickOfStored(s backend.StoredSchedule, next time.Time) backend.Tick {
	return backend.Tick{Name: s.Name, Definition: s.Definition, Due: s.Next, Next: next, Jobs: []backend.NewJob{s.Job}}
}

var errChange = errors.New("no change")
