package child

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// A journal is the ledger to which a child appends. Each call is one write(2),
// which survives the death of the process.
type journal struct {
	mu  sync.Mutex
	f   *os.File
	buf []byte
}

func openJournal(path string) (*journal, error) {
	if path == "" {
		return &journal{}, nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{f: f}, nil
}

// note writes lines, each with its kind and the time in front. A failure would
// void the test, so it ends the process.
func (j *journal) note(at time.Time, kind byte, n int, line func(i int) string) {
	if j.f == nil || n == 0 {
		return
	}
	j.mu.Lock()
	j.buf = j.buf[:0]
	for i := range n {
		j.buf = fmt.Appendf(j.buf, "%c %d %s\n", kind, at.UnixMicro(), line(i))
	}
	_, err := j.f.Write(j.buf)
	j.mu.Unlock()
	if err != nil {
		fmt.Fprintln(os.Stderr, "journal:", err)
		os.Exit(2)
	}
}

func (j *journal) one(kind byte, line string) {
	j.note(time.Now(), kind, 1, func(int) string { return line })
}

// The kinds of notes. Each has the time first, then these fields.
const (
	NoteClaimed  = 'c' // token, id, attempt, 1 for a suspect, when the claim began
	NoteStarted  = 'r' // token, id, attempt
	NoteEnded    = 'e' // token, outcome
	NoteSettles  = 's' // token, ending: about to be settled
	NoteAccepted = 'a' // token, ending, when the settlement began: settled
	NoteLost     = 'l' // token: no longer held
	NoteStale    = 'z' // token, "accepted" or "refused": settled although lost
	NoteReaped   = 'p' // workers found dead, jobs rescued, jobs failed
	NotePushes   = 'q' // number of the first task of a batch with keys, how many: about to be pushed
	NoteRepeated = 'd' // the same: was pushed again
	NoteTicked   = 't' // id, number of the schedule, tick: runs
	NoteGroup    = 'G' // group, number of its first task: created
	NoteStep     = 'f' // id, step: the function of a step runs
	NoteStepped  = 'w' // id, step: the step is stored
	NoteCallback = 'k' // id, group: a callback runs
	NoteLog      = 'g' // level, message
	NoteError    = 'x' // kind, how long the call took in µs, operation, text
)

// Outcomes of a run.
const (
	OutcomeDone = "done"
	OutcomeFail = "fail"
	OutcomeStop = "stop" // interrupted by a shutdown
	OutcomeLost = "lost" // the lease was lost before the handler returned
)

// Released is the ending of a run that is released, in a note that it is about to be settled.
const Released = "release"
