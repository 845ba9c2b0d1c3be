package backend

import (
	"context"
	"time"
)

// A Scheduler is a Backend that keeps schedules. Workers interpret a schedule; the store ensures
// that each tick is taken once.
type Scheduler interface {
	// Define stores the schedules of a worker. A new schedule takes the given Definition and Next; its
	// Last and Paused are zero. A stored schedule takes the given Definition and is no longer removed;
	// its other fields stay. If [Schedule.Instead] is set, a stored schedule takes the given Next too
	// if its Next equals Instead, and is otherwise left as it is. So a new definition moves no tick
	// unless the caller requests it, and never one that another worker took meanwhile.
	Define(ctx context.Context, schedules []Schedule) error
	// Schedules returns the stored schedules ordered by name.
	Schedules(ctx context.Context) (Schedules, error)
	// Tick pushes the jobs of a tick and advances the schedule in one transaction, as durably as a
	// push, and returns true. It returns false and does nothing unless the schedule exists, is not
	// removed, has the tick's Definition, and is due at the tick's Due. For a paused schedule it
	// advances Next only, pushes nothing, leaves Last alone, and returns true. If the push fails,
	// Tick returns its error and leaves the schedule as it is.
	Tick(ctx context.Context, tick Tick) (bool, error)
	// PauseSchedule pauses or resumes a schedule. Without one of the name, it returns ErrNotFound.
	PauseSchedule(ctx context.Context, name string, paused bool) error
}

// A Schedule is a recurring push.
type Schedule struct {
	Name       string
	Definition string    // opaque; workers with another one leave the schedule alone
	Next       time.Time // the next tick
	Last       time.Time // the Due of the last Tick that pushed; zero if there is none
	Instead    time.Time // for Define: the stored Next to replace; zero means none
	Paused     bool
	// RemovedAt is when Reap, after it deleted the rows of dead workers, found rows of workers and
	// none with the schedule in [Worker].Schedules. Only rows count, so a clock that jumps removes
	// nothing. A removed schedule does not tick. Reap deletes it after [KeepRemoved].
	RemovedAt time.Time
}

// Schedules are the schedules of a store at one time.
type Schedules struct {
	Schedules []Schedule
	Now       time.Time // the store's clock
}

// A Tick is one tick of a schedule, or several that were missed.
type Tick struct {
	Name, Definition string
	Due              time.Time // equals the stored Next, and is not after the store's clock
	Next             time.Time // replaces the stored Next; later than Due
	Jobs             []NewJob  // to push
}
