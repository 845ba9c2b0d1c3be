package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Change is an option of a job.
type Change func(*Definition) error

// Apply applies an option and keeps it, so that a queue can apply it over its defaults.
func (d *Definition) Apply(c Change) error {
	d.changes = append(d.changes, c)
	return c(d)
}

// Root returns the definition as the program has it, which identifies the job.
func (d *Definition) Root() *Definition {
	if d.root != nil {
		return d.root
	}
	return d
}

// A configuration is what a queue changes of definitions, and the schedules that only it
// has. The zero value changes nothing.
type configuration struct {
	used atomic.Bool

	mu        sync.Mutex
	defaults  []Change                 // before the options of a definition
	changes   map[*Definition][]Change // after them
	made      map[*Definition]*Definition
	schedules []*Schedule
}

// SetDefaults sets what definitions have that do not say otherwise.
func (q *Queue) SetDefaults(defaults []Change) error {
	for _, c := range defaults {
		if err := changesData(c); err != nil {
			return err
		}
	}
	q.config.used.Store(true)
	q.config.defaults = defaults
	return nil
}

// Configure changes a definition on this queue: all changes or none.
func (q *Queue) Configure(d *Definition, changes []Change) error {
	for _, c := range changes {
		if err := changesData(c); err != nil {
			return err
		}
	}
	c := &q.config
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == nil {
		c.changes = map[*Definition][]Change{}
	}
	c.changes[d] = append(slices.Clip(c.changes[d]), changes...)
	delete(c.made, d)
	c.used.Store(true)
	return nil
}

// changesData returns the error of an option, or one if the option needs the data or the
// names of a job, which only its definition may change.
func changesData(c Change) error {
	var d Definition
	if err := c(&d); err != nil {
		return err
	}
	if d.Unique != nil || d.Serial != nil || d.Fair != nil || d.Aliases != nil {
		return errors.New("UniqueByData, FairBy and Aliases are options of Define and Declare only")
	}
	return nil
}

// Definition returns a definition as it is on this queue.
func (q *Queue) Definition(d *Definition) *Definition {
	c := &q.config
	if d == nil || !c.used.Load() {
		return d
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d = d.Root()
	if len(c.defaults) == 0 && len(c.changes[d]) == 0 {
		return d
	}
	if own := c.made[d]; own != nil {
		return own
	}
	own := &Definition{
		Name: d.Name, Where: d.Where, Type: d.Type, MaxAttempts: d.InitialAttempts, InitialAttempts: d.InitialAttempts, Results: d.Results, Batch: d.Batch, Run: d.Run, root: d,
	}
	for _, changes := range [][]Change{c.defaults, d.changes, c.changes[d]} {
		for _, change := range changes {
			_ = change(own) // which has returned no error before
		}
	}
	if own.Results && own.Settings.History.Done < 0 { // a default, which would delete the result
		own.Settings.History.Done = 0
	}
	if c.made == nil {
		c.made = map[*Definition]*Definition{}
	}
	c.made[d] = own
	return own
}

// AddSchedule adds a schedule that only this queue has.
func (q *Queue) AddSchedule(s *Schedule) error {
	if err := s.checkName(); err != nil {
		return err
	}
	c := &q.config
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range append(Schedules(), c.schedules...) {
		if strings.EqualFold(other.Name, s.Name) {
			return fmt.Errorf("schedule %q is defined at %s: use another name", other.Name, other.Where)
		}
	}
	c.schedules = append(c.schedules, s)
	c.used.Store(true)
	return nil
}

// Schedules returns the schedules of the program and those of the queue, ordered by name,
// with the jobs that they push on this queue.
func (q *Queue) Schedules() []*Schedule {
	all := Schedules()
	c := &q.config
	used := c.used.Load()
	if !used && q.Codec == nil {
		return all
	}
	c.mu.Lock()
	all = append(all, c.schedules...)
	c.mu.Unlock()
	for i, s := range all {
		own := *s
		own.Secret = q.Codec != nil
		if used && s.TaskOn != nil {
			own.Task = s.TaskOn(q)
		}
		all[i] = &own
	}
	slices.SortFunc(all, func(a, b *Schedule) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Schedule returns the schedule with a name, or nil.
func (q *Queue) Schedule(name string) *Schedule {
	for _, s := range q.Schedules() {
		if s.Name == name {
			return s
		}
	}
	return nil
}
