package worker

import (
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// suspectTime is how long prefetching may keep suspects waiting.
const suspectTime = time.Second

// A suspects is the worker's part in the lock that lets one suspect run in a process at
// a time.
type suspects struct {
	lock      *engine.SuspectLock
	lookAgain func() // a suspect may be claimed now

	mu     sync.Mutex
	held   *run // the suspect that the worker has
	locked bool // another worker of the process has the lock
}

func newSuspects(lock *engine.SuspectLock, lookAgain func()) *suspects {
	return &suspects{lock: lock, lookAgain: lookAgain}
}

// has reports whether the worker has a suspect.
func (s *suspects) has() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held != nil
}

// elsewhere reports whether another worker of the process has the lock.
func (s *suspects) elsewhere() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.locked
}

// free reports whether no worker of the process has a suspect, as far as this one knows.
func (s *suspects) free() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held == nil && !s.locked
}

// acquire reports whether the worker has the lock. If another worker has it, lookAgain
// is called when that worker releases it.
func (s *suspects) acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = !s.lock.Acquire(s, s.released)
	return !s.locked
}

// apart reports whether a suspect runs and nothing else may start.
func (s *suspects) apart() bool { return s.lock.Apart() }

// awaitApart has lookAgain called when other jobs may start, if a suspect keeps them
// from it.
func (s *suspects) awaitApart() { s.lock.Await(s, s.released) }

func (s *suspects) released() {
	s.mu.Lock()
	s.locked = false
	s.mu.Unlock()
	s.lookAgain()
}

// claimed notes the suspect that the worker has claimed. Nothing else starts in the
// process until the suspect has ended, or for [engine.SuspectApart].
func (s *suspects) claimed(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = r
	s.lock.Part(engine.SuspectApart)
}

// ended releases the lock if the worker's suspect is among runs.
func (s *suspects) ended(runs []*run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil && slices.Contains(runs, s.held) {
		s.held = nil
		s.lock.Release(s)
	}
}

// awaits lets other jobs start if the run, which waits for another job, is the worker's
// suspect.
func (s *suspects) awaits(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == r {
		s.lock.Join()
	}
}

// releaseUnused releases the lock if the worker has no suspect.
func (s *suspects) releaseUnused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.lock.Release(s)
	}
}

// close releases the lock. A suspect of the worker may still run.
func (s *suspects) close() { s.lock.Release(s) }
