package child

import (
	"time"

	"github.com/plainjobs/plainjobs"
)

// A Task is the payload of a job, and says what its handler does.
type Task struct {
	N        int64         // identifies the task
	Batch    int64         `json:",omitempty"` // the same for all tasks of one push
	Size     int           `json:",omitempty"` // number of tasks in the batch
	Takes    time.Duration `json:",omitempty"`
	Fails    int           `json:",omitempty"` // number of attempts that fail
	Do       Action        `json:",omitempty"`
	Attempts int           `json:",omitempty"` // zero is the default
	Priority int16         `json:",omitempty"`
	Pad      []byte        `json:",omitempty"`
	// The tasks of a flow on which it depends: those that are done, and those that have ended.
	Needs []int64       `json:",omitempty"`
	After []int64       `json:",omitempty"`
	Nap   time.Duration `json:",omitempty"` // between two steps
	// Key is the unique key, or the key of a signal, and Lock its scope.
	Key  string `json:",omitempty"`
	Lock Lock   `json:",omitempty"`
}

// A Lock says how long a task holds its key, and what a push does that finds
// the key taken.
type Lock string

// The locks.
const (
	// LockRun holds the key until the job has ended.
	LockRun Lock = ""
	// LockRunReject is LockRun, and rejects the second push.
	LockRunReject Lock = "reject"
	// LockWait holds the key until the job starts.
	LockWait Lock = "wait"
	// LockWaitReplace is LockWait, and the second push replaces the first.
	LockWaitReplace Lock = "replace"
	// LockDay holds the key for a day, so that a push without an answer can be
	// repeated.
	LockDay Lock = "day"
)

func (l Lock) options() []plainjobs.UniqueOption {
	switch l {
	case LockRunReject:
		return []plainjobs.UniqueOption{plainjobs.Reject()}
	case LockWait:
		return []plainjobs.UniqueOption{plainjobs.UntilStarted()}
	case LockWaitReplace:
		return []plainjobs.UniqueOption{plainjobs.Replace()}
	case LockDay:
		return []plainjobs.UniqueOption{plainjobs.For(24 * time.Hour)}
	}
	return nil
}

// An Action is what a handler does.
type Action string

// The actions.
const (
	ActionPanic         Action = "panic"
	ActionPanicNil      Action = "panicnil"
	ActionGoexit        Action = "goexit"
	ActionExit          Action = "exit"     // ends the process
	ActionNilDeref      Action = "nilderef" // in a goroutine without recover
	ActionIgnoreContext Action = "ignore"   // ignores its context
	ActionNeverReturn   Action = "stuck"    // never returns
	ActionHugeError     Action = "huge"     // an error of 8 MiB
	ActionBinaryError   Action = "binary"   // an error that is not text
	ActionLate          Action = "late"     // returns nil when its lease is lost
	ActionCloseQueue    Action = "close"    // closes the queue
	ActionHold          Action = "hold"     // runs until the process is killed; the next run is done at once
	ActionOverflowStack Action = "overflow" // overflows the stack
	ActionExhaustMemory Action = "memory"   // exhausts the memory
	ActionEffect        Action = "effect"   // changes the database, and completes the job in that transaction
)

// MaxCrashes is how many crashes fail a job: few, so that tests with killing
// jobs are short.
const MaxCrashes = 3

// There are two jobs, so that claims merge two lists.
var (
	even = plainjobs.Declare[Task]("torture/even", plainjobs.Backoff(backoff), plainjobs.MaxCrashes(MaxCrashes))
	odd  = plainjobs.Declare[Task]("torture/odd", plainjobs.Backoff(backoff), plainjobs.MaxCrashes(MaxCrashes))
)

func backoff(attempt int, _ error) time.Duration {
	return time.Duration(attempt%3) * 20 * time.Millisecond
}

// task returns t as a task of one of the two jobs.
func (t Task) task() plainjobs.Task {
	opts := []plainjobs.TaskOption{plainjobs.Priority(t.Priority)}
	if t.Attempts > 0 {
		opts = append(opts, plainjobs.MaxAttempts(t.Attempts))
	}
	if t.Key != "" {
		opts = append(opts, plainjobs.Unique(t.Key, t.Lock.options()...))
	}
	if t.N%2 == 0 {
		return even.With(t, opts...)
	}
	return odd.With(t, opts...)
}
