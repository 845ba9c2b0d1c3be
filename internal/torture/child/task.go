package child

import (
	"time"

	"github.com/plainjobs/plainjobs"
)

// A Task is the data of a job and says what its handler does.
type Task struct {
	N        int64         // tells tasks apart whatever their IDs
	Batch    int64         `json:",omitempty"` // tasks of one push have one number
	Size     int           `json:",omitempty"` // how many they are
	Takes    time.Duration `json:",omitempty"`
	Fails    int           `json:",omitempty"` // how many attempts fail
	Do       Action        `json:",omitempty"`
	Attempts int           `json:",omitempty"` // zero is the default
	Priority int16         `json:",omitempty"`
	Pad      []byte        `json:",omitempty"`
	// Key keeps a second task with it out, of its name, as Lock says.
	Key  string `json:",omitempty"`
	Lock Lock   `json:",omitempty"`
}

// A Lock says how long a task has its key, and what a push does that finds it
// taken.
type Lock string

// The locks.
const (
	// LockRun is until the job has ended.
	LockRun Lock = ""
	// LockRunReject is the same, and refuses the push.
	LockRunReject Lock = "reject"
	// LockWait is until the job is started.
	LockWait Lock = "wait"
	// LockWaitReplace is the same, and the last push counts.
	LockWaitReplace Lock = "replace"
	// LockDay is for a day, so that a push may be repeated whose answer was
	// lost.
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

// A Action is what a handler does after its time has passed.
type Action string

// The deeds.
const (
	ActionPanic         Action = "panic"
	ActionPanicNil      Action = "panicnil"
	ActionGoexit        Action = "goexit"
	ActionExit          Action = "exit"     // ends the process
	ActionNilDeref      Action = "nilderef" // in a goroutine without recover
	ActionIgnoreContext Action = "ignore"   // its context
	ActionNeverReturn   Action = "deaf"     // never returns
	ActionHugeError     Action = "huge"     // an error of 8 MiB
	ActionBinaryError   Action = "binary"   // an error that is no text
	ActionLate          Action = "late"     // returns nil when its lease is lost
	ActionCloseQueue    Action = "close"    // the store
	ActionHold          Action = "hold"     // runs until the process is killed, and is done at once the next time
	ActionOverflowStack Action = "overflow" // the stack
	ActionExhaustMemory Action = "memory"   // takes all that there is
	ActionEffect        Action = "effect"   // changes the database, and completes the job in that transaction
)

// MaxCrashes is how many crashes fail a task: few, so that tests with tasks that
// kill come to an end.
const MaxCrashes = 3

// Two jobs, so that claims merge two lists.
var (
	even = plainjobs.Declare[Task]("torture/even", plainjobs.Backoff(backoff), plainjobs.MaxCrashes(MaxCrashes))
	odd  = plainjobs.Declare[Task]("torture/odd", plainjobs.Backoff(backoff), plainjobs.MaxCrashes(MaxCrashes))
)

func backoff(attempt int, _ error) time.Duration {
	return time.Duration(attempt%3) * 20 * time.Millisecond
}

// performed returns t as a queue takes it.
func (t Task) performed() plainjobs.Task {
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
