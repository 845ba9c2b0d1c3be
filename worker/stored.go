package worker

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

const (
	// storedPoll is the longest time between two looks for stored schedules, which anyone may
	// set, and storedPause the shortest: the ticks of that time share a transaction.
	storedPoll  = 5 * time.Second
	storedPause = 20 * time.Millisecond
	// storedLost is the pause after a look at which other workers took all ticks.
	storedLost = 250 * time.Millisecond
	// storedPage is how many schedules one look reads. maxTickJobs and maxTickBytes bound one
	// transaction.
	storedPage   = 500
	maxTickJobs  = 1000
	maxTickBytes = 4 << 20
	// A schedule that cannot tick is looked at again after deferral, if for patience no other
	// worker could either; one whose job's name is paused after pausedPoll.
	deferral = time.Minute
	patience = 10 * time.Second
	// Ticks that take longer than maxTickWait wait for a lock of the application's. They are tried
	// again one by one, until maxBlocked of a page wait: each after a pause that doubles from
	// maxTickWait.
	maxTickWait = 2 * time.Second
	maxBlocked  = 2
	// pauseAge is how old the known pauses of names may be.
	pauseAge = time.Second
)

// A storedTicker takes the ticks of stored schedules, in one session of each worker. Every worker
// tries, and the store lets one succeed. It needs no job: the store has all that a tick pushes.
type storedTicker struct {
	*setup
	scheduler backend.Scheduler // nil if the session takes none

	mu       sync.Mutex
	req      backend.StoredRequest // of the next page
	look     storedLook
	late     map[string]lateTick // left by the look before
	upToDate time.Time           // when the tick of each schedule but late ones was last found taken
	clock    storeClock
	sweep    sweep
	paused   map[string]bool // names
	pausedAt time.Time

	pausedLook time.Time // the last look at a paused schedule that lookAtPaused has chosen
}

func newStoredTicker(s *setup) *storedTicker {
	t := &storedTicker{setup: s, req: backend.StoredRequest{Due: true, Limit: storedPage}, sweep: sweep{runs: true}}
	if !s.opts.NoSchedules {
		t.scheduler, _ = s.store.(backend.Scheduler)
	}
	return t
}

func (t *storedTicker) loop(ctx context.Context) {
	if t.scheduler != nil {
		t.log.ticking(ctx, t.tick)
	}
}

// tickAll takes the ticks that are due, and reports whether it took all but those that cannot tick.
func (t *storedTicker) tickAll(ctx context.Context) bool {
	for t.scheduler != nil {
		wait, err := t.tick(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !permanent(err):
			t.log.warn("push the jobs of stored schedules", err)
			return false
		case err != nil || wait == 0 || t.leaves():
			return false
		case wait > time.Millisecond:
			return true
		}
	}
	return true
}

// tick takes one page of the ticks that are due. It returns the time to the next look, or zero if
// the store failed.
func (t *storedTicker) tick(ctx context.Context) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.opts.Lease)
	defer cancel()
	asked := time.Now()
	found, err := t.scheduler.StoredSchedules(ctx, t.req)
	if err != nil {
		return 0, err
	}
	if t.clock.setBack(found.Now, asked, time.Now()) {
		t.opts.Logger.Warn("plainjobs: the store's clock was set back; the worker checks all stored schedules")
		t.sweep = sweep{runs: true, hurries: true}
	}
	if t.req.Look.IsZero() {
		t.look = storedLook{late: map[string]lateTick{}}
	}
	p := &storedPass{storedTicker: t, now: found.Now}
	if len(found.Schedules) > 0 {
		err = p.takeAll(ctx, found.Schedules)
	}
	if err != nil {
		t.req.Look, t.req.After = time.Time{}, ""
		if t.late == nil {
			t.late = map[string]lateTick{}
		}
		maps.Copy(t.late, t.look.late)
		return 0, err
	}
	if n := len(found.Schedules); n == storedPage {
		t.req.Look, t.req.After = found.Schedules[n-1].Look, found.Schedules[n-1].Name
		return time.Millisecond, nil
	}
	t.req.Look, t.req.After = time.Time{}, ""
	t.upToDate, t.late = asked, t.look.late
	wait := storedPoll
	t.look.again(found.Next)
	if !t.look.next.IsZero() {
		wait = min(wait, t.look.next.Sub(found.Now)-time.Since(asked))
	}
	switch {
	case t.look.lost:
		wait = min(wait, storedLost)
	case t.look.left:
		wait = min(wait, time.Second)
	}
	if t.sweep.runs {
		var rest time.Duration
		rest, err = t.sweepOn(ctx)
		wait = min(wait, rest)
	}
	return max(wait, storedPause), err
}

// tickWait returns how long the store may take for ticks.
func (s *setup) tickWait() time.Duration { return min(maxTickWait, s.opts.Lease/4) }

// leaves reports whether the last look has left ticks that can be taken.
func (t *storedTicker) leaves() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.look.lost || t.look.blocked
}

// pauses returns the names that are paused, which it may know.
func (t *storedTicker) pauses(ctx context.Context) (map[string]bool, error) {
	if t.paused != nil && time.Since(t.pausedAt) < pauseAge {
		return t.paused, nil
	}
	paused, err := pausedNames(ctx, t.store)
	if err == nil {
		t.paused, t.pausedAt = paused, time.Now()
	}
	return paused, err
}

// A storeClock detects that the store's clock is set back between two looks.
type storeClock struct {
	shown    time.Time // by the store's clock
	answered time.Time // by this process's monotonic clock
}

// setBack notes what the store's clock showed between two times of this process.
func (c *storeClock) setBack(shown, asked, answered time.Time) bool {
	before := *c
	*c = storeClock{shown, answered}
	if before.answered.IsZero() {
		return false
	}
	passed := asked.Sub(before.answered) // at least
	return shown.Sub(before.shown) < passed-passed/1000-engine.ClockSlack
}
