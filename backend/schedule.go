package backend

import (
	"context"
	"database/sql"
	"time"
)

// A Scheduler is a Backend that keeps schedules. Workers interpret a schedule; the store ensures
// that each tick is taken once. Programs define schedules, by Define. A [StoredSchedule] is data
// that ChangeSchedule stores. The two kinds share no name.
type Scheduler interface {
	// Define stores the schedules of a worker. A new schedule takes the given Definition and Next; its
	// Last and Paused are zero. A stored schedule takes the given Definition and is no longer removed;
	// its other fields stay. If [Schedule.Instead] is set, a stored schedule takes the given Next too
	// if its Next equals Instead, and is otherwise left as it is. So a new definition moves no tick
	// unless the caller requests it, and never one that another worker took meanwhile. Define refuses
	// the name of a stored schedule with ErrInvalid, and then stores none of the given schedules.
	Define(ctx context.Context, schedules []Schedule) error
	// Schedules returns the schedules that programs define, ordered by name.
	Schedules(ctx context.Context) (Schedules, error)
	// Tick pushes the jobs of a tick and advances the schedule in one transaction, as durably as a
	// push, and returns true. It returns false and does nothing unless the schedule exists, is not
	// removed, has the tick's Definition, and is due at the tick's Due. For a paused schedule it
	// advances Next only, pushes nothing, leaves Last alone, and returns true. If the push fails,
	// Tick returns its error and leaves the schedule as it is.
	Tick(ctx context.Context, tick Tick) (bool, error)
	// PauseSchedule pauses or resumes a schedule that programs define. Without one of the name, it
	// returns ErrNotFound.
	PauseSchedule(ctx context.Context, name string, paused bool) error

	// ChangeSchedule calls change with the stored schedule of the name, or nil, and the store's clock,
	// and stores the schedule that change returns, or deletes it if that is nil, as durably as a push.
	// Calls for one name have their effects one after the other. change may be called again and must
	// not call the store. After an error of change nothing changes, and the error matches it. A name
	// that programs define is refused with ErrInvalid, unless that schedule is removed: then the new
	// one replaces it; Import does the same. In a transaction of the application, unless tx is nil, the change exists if and
	// when it commits. A store that cannot join it returns an error that matches errors.ErrUnsupported.
	ChangeSchedule(ctx context.Context, tx *sql.Tx, name string, change func(now time.Time, s *StoredSchedule) (*StoredSchedule, error)) error
	// StoredSchedules returns a page of stored schedules. The cost of one that asks for due schedules
	// must not depend on how many others there are.
	StoredSchedules(ctx context.Context, req StoredRequest) (StoredSchedules, error)
	// TickStored is Tick for stored schedules, all or none, and reports for each tick whether it
	// was taken. At most 1000 ticks are of different schedules. A tick that was taken sets Look to
	// Next, clears Problem, and adds the IDs of the new jobs to Runs, unless the schedule is paused. A
	// tick with Defer is not taken: it sets Look to Defer, sets Problem, and pushes nothing.
	TickStored(ctx context.Context, ticks []Tick) (taken []bool, err error)
}

// A StoredSchedule is a schedule that is data: the store has everything that a tick needs, so each
// worker may take its ticks.
type StoredSchedule struct {
	Name       string
	Definition string    // opaque; a tick with another one is not taken
	Next       time.Time // the next tick
	Last       time.Time // the Due of the last tick that pushed; zero if there is none
	Look       time.Time // when it is due: Next, or later after a tick with Defer
	Paused     bool
	Problem    string  // why its last tick was deferred; empty if it was not
	Runs       []int64 // the last jobs that its ticks pushed, at most [KeepRuns], latest first
	Job        NewJob  // for the caller; without Gating, RunAt and ExpiresAt
}

// KeepRuns is how many jobs a [StoredSchedule] has in Runs.
const KeepRuns = 5

// A StoredRequest asks for stored schedules: those whose names begin with Prefix, by name, those
// above After; or the due ones.
type StoredRequest struct {
	Prefix, After string
	Problems      bool // only those with a Problem
	// Due asks for those whose Look is not after the store's clock, by Look and name, instead. Look
	// and After are those of the last one of the page before.
	Due   bool
	Look  time.Time
	Limit int // at most 1000; zero means 100
}

// StoredSchedules are stored schedules at one time.
type StoredSchedules struct {
	Schedules []StoredSchedule
	Now       time.Time // the store's clock
	Next      time.Time // the earliest Look that is not due, if the request asks for due ones; zero if there is none or more are due
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
	// These are only for TickStored.
	Defer   time.Time // not zero: when to look at the schedule again
	Problem string    // why
}
