package backend

import (
	"context"
	"time"
)

// A Scheduler is a Backend that keeps schedules. What a schedule means, the
// workers know; the store sees to it that each tick is taken once.
type Scheduler interface {
	// Define stores the schedules of a worker. One that is not stored yet
	// takes the given Definition and Next. A stored one takes the given
	// Definition and keeps its Next, with one exception: if [Schedule.Instead]
	// is not zero, it takes the given Next too if its stored Next is Instead,
	// and otherwise stays as it is. A schedule that takes a Definition is not
	// removed any more. Last and Paused stay in any case, and are not set for
	// a new one. A batch in which [CheckSchedules] finds a fault must be
	// refused.
	//
	// So a new definition moves no tick, unless the caller asks for it, and
	// never one that another worker has taken since the caller looked.
	Define(ctx context.Context, schedules []Schedule) error
	// Schedules returns the stored schedules ordered by name.
	Schedules(ctx context.Context) (Schedules, error)
	// Tick pushes the tick's jobs and advances the schedule, in one
	// transaction and as durable as a push, if the schedule is there, not
	// removed, has the tick's definition and is due at the tick's Due. It
	// returns whether it did. Of a schedule that is paused it only advances
	// Next. If the jobs cannot be pushed it returns the error of that, and
	// the schedule stays as it is.
	Tick(ctx context.Context, tick Tick) (bool, error)
	// PauseSchedule pauses a schedule, or lets it go on, and returns an error
	// that matches ErrNotFound if there is none of the name.
	PauseSchedule(ctx context.Context, name string, paused bool) error
}

// A Schedule is when something is pushed again and again.
type Schedule struct {
	Name string
	// Definition is opaque: workers with another one leave the schedule
	// alone.
	Definition string
	// Next is the tick to come, Last the Due of the Tick that pushed last, or
	// zero.
	Next, Last time.Time
	// Instead is only for Define: the stored Next that the given one is to
	// replace, or zero.
	Instead time.Time
	Paused  bool
	// RemovedAt is when no worker had the schedule any more, although there
	// were others (see Worker.Schedules); Reap finds that out, after it has
	// deleted the rows of the dead. A worker counts as long as it has a row,
	// so that a clock that jumps removes nothing. A removed schedule is not
	// ticked, and deleted by Reap after [KeepRemoved].
	RemovedAt time.Time
}

// KeepRemoved is how long a removed schedule is kept.
const KeepRemoved = 30 * 24 * time.Hour

// Schedules are the schedules of a store at a time.
type Schedules struct {
	Schedules []Schedule
	Now       time.Time // by the store's clock
}

// A Tick is one tick of a schedule, or several that were missed.
type Tick struct {
	Name, Definition string
	// Due must be the stored Next, and not after the store's clock.
	Due time.Time
	// Next is stored in its place; it is later.
	Next time.Time
	// Jobs to push.
	Jobs []NewJob
}
