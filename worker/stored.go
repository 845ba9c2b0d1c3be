package worker

import (
	"context"
	"errors"
	"fmt"
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
	// worker could either.
	deferral = time.Minute
	patience = 10 * time.Second
	// pauseAge is how old the known pauses of names may be.
	pauseAge = time.Second
)

// A storedTicker takes the ticks of stored schedules, in one session of each worker. Every worker
// tries, and the store lets one succeed. It needs no job: the store has all that a tick pushes.
type storedTicker struct {
	*setup
	scheduler backend.Scheduler // nil if the session takes none

	mu       sync.Mutex
	req      backend.StoredRequest // of the next look
	upToDate time.Time             // when it last found all due ticks taken
	clock    storeClock
	sweep    sweep
	paused   map[string]bool // names
	pausedAt time.Time
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
		case err != nil || wait == 0 || wait == storedLost:
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
	p := &storedPass{storedTicker: t, now: found.Now, onTime: engine.OnTime}
	if !t.upToDate.IsZero() {
		p.onTime = time.Since(t.upToDate) + time.Second
	}
	if len(found.Schedules) > 0 {
		err = p.takeAll(ctx, found.Schedules)
	}
	if err != nil {
		t.req.Look, t.req.After = time.Time{}, ""
		return 0, err
	}
	if n := len(found.Schedules); n == storedPage {
		t.req.Look, t.req.After = found.Schedules[n-1].Look, found.Schedules[n-1].Name
		return time.Millisecond, nil
	}
	t.req.Look, t.req.After = time.Time{}, ""
	t.upToDate = asked
	wait := storedPoll
	switch {
	case p.tried > 0 && p.taken == 0:
		return storedLost, nil
	case p.left > 0:
		wait = time.Second
	case !found.Next.IsZero():
		wait = min(wait, found.Next.Sub(found.Now)-time.Since(asked))
	}
	if t.sweep.runs {
		var rest time.Duration
		rest, err = t.sweepOn(ctx)
		wait = min(wait, rest)
	}
	return max(wait, storedPause), err
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

// A storedPass takes the ticks of one page.
type storedPass struct {
	*storedTicker
	now    time.Time     // the store's clock
	onTime time.Duration // how late a tick may be and not count as missed

	ticks              []backend.Tick // to take together
	skips              []int          // how many missed ticks each of them leaves out
	jobs, bytes        int
	tried, taken, left int // left to other workers
}

// takeAll takes the ticks of schedules that are due.
func (p *storedPass) takeAll(ctx context.Context, due []backend.StoredSchedule) error {
	paused, err := p.pauses(ctx)
	if err != nil {
		return err
	}
	for i := range due {
		s := &due[i]
		if paused[""] || paused[s.Job.Name] { // its ticks are late when the pause ends
			p.add(p.deferred(s, ""), 0)
		} else if plan, err := engine.PlanOf(s); err == nil {
			p.plan(s, plan)
		} else if p.now.Sub(s.Look) < patience {
			p.left++
		} else {
			p.report(s.Name, err)
			p.add(p.deferred(s, err.Error()), 0)
		}
		if p.jobs >= maxTickJobs || p.bytes >= maxTickBytes {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
	}
	return p.flush(ctx)
}

// plan adds the ticks of a schedule that are due.
func (p *storedPass) plan(s *backend.StoredSchedule, plan engine.StoredPlan) {
	onTime := p.onTime
	if s.Look.After(s.Next) { // it was deferred
		onTime = engine.OnTime
	}
	ticks, skipped, next, some := plan.Due(s.Next, p.now, plan.Location, plan.CatchUp, onTime)
	if !some {
		next = never(p.now)
	}
	tick := backend.Tick{Name: s.Name, Definition: s.Definition, Due: s.Next, Next: next}
	for _, at := range ticks {
		tick.Jobs = append(tick.Jobs, engine.JobOfTick(s.Job, s.Name, at))
	}
	p.tried++
	p.add(tick, skipped)
}

func (p *storedPass) deferred(s *backend.StoredSchedule, problem string) backend.Tick {
	return backend.Tick{Name: s.Name, Definition: s.Definition, Due: s.Next, Defer: p.now.Add(deferral), Problem: backend.CleanError(problem)}
}

func (p *storedPass) add(tick backend.Tick, skipped int) {
	p.ticks, p.skips = append(p.ticks, tick), append(p.skips, skipped)
	p.jobs += len(tick.Jobs)
	for i := range tick.Jobs {
		p.bytes += len(tick.Jobs[i].Payload) + len(tick.Jobs[i].Metadata)
	}
}

// flush takes the ticks that were added: together, or one by one if the store refuses one.
func (p *storedPass) flush(ctx context.Context) error {
	ticks, skips := p.ticks, p.skips
	p.ticks, p.skips, p.jobs, p.bytes = nil, nil, 0, 0
	if len(ticks) == 0 {
		return nil
	}
	taken, err := p.scheduler.TickStored(ctx, ticks)
	if err == nil {
		p.took(ticks, skips, taken)
		return nil
	}
	for i := 0; i < len(ticks) && refuses(err); i++ {
		if one := p.flushOne(ctx, ticks[i], skips[i]); one != nil {
			err = one
		}
	}
	if refuses(err) {
		return nil
	}
	return err
}

// refuses reports whether the error is that of one of the ticks, not of the store.
func refuses(err error) bool {
	return refusedIndex(err) >= 0 || permanent(err) && !errors.Is(err, backend.ErrClosed)
}

// flushOne takes one tick without the jobs that the store refuses.
func (p *storedPass) flushOne(ctx context.Context, tick backend.Tick, skipped int) error {
	for {
		taken, err := p.scheduler.TickStored(ctx, []backend.Tick{tick})
		at := refusedIndex(err)
		switch {
		case err == nil:
			p.took([]backend.Tick{tick}, []int{skipped}, taken)
			return nil
		case at >= 0 && at < len(tick.Jobs):
			p.opts.Logger.Warn("plainjobs: a tick pushes nothing", "schedule", tick.Name, "error", err)
			tick.Jobs = append(tick.Jobs[:at:at], tick.Jobs[at+1:]...)
		case !refuses(err) || !tick.Defer.IsZero():
			return err
		default:
			p.report(tick.Name, err)
			tick = backend.Tick{Name: tick.Name, Definition: tick.Definition, Due: tick.Due, Defer: p.now.Add(deferral), Problem: backend.CleanError(err.Error())}
		}
	}
}

// took notes which ticks were taken.
func (p *storedPass) took(ticks []backend.Tick, skips []int, taken []bool) {
	for i, did := range taken {
		if !did {
			continue
		}
		p.taken++
		if skips[i] > 0 {
			p.opts.Logger.Info("plainjobs: missed ticks do not run; see CatchUp",
				"schedule", ticks[i].Name, "first", ticks[i].Due, "skipped_at_least", skips[i], "pushed", len(ticks[i].Jobs))
		}
	}
}

// report logs why a schedule does not tick.
func (p *storedPass) report(name string, err error) {
	p.log.warn("take the ticks of a stored schedule", fmt.Errorf("schedule %s: %w", name, err))
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
