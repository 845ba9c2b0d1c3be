package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A storedLook is what one look at all pages of due schedules has found.
type storedLook struct {
	next    time.Time // the earliest one of the next looks that it has stored; zero if it stored none
	late    map[string]lateTick
	lost    bool // other transactions have the schedules of some ticks
	blocked bool // some ticks wait for locks of other transactions
	left    bool // some ticks are left to other workers, which may know how to take them
}

// again notes the next look at a schedule.
func (l *storedLook) again(at time.Time) {
	if !at.IsZero() && (l.next.IsZero() || at.Before(l.next)) {
		l.next = at
	}
}

// A lateTick is one that a look did not take.
type lateTick struct {
	due      time.Time
	upToDate time.Time // when the schedule was last found up to date; zero if it was not
	pause    time.Duration
	retry    time.Time // of a tick that waits for a lock
}

// A storedPass takes the ticks of one page.
type storedPass struct {
	*storedTicker
	now time.Time // the store's clock

	ticks       []backend.Tick // to take together
	skips       []int          // how many missed ticks each of them leaves out
	jobs, bytes int
	blocked     int // ticks that were tried alone and wait for locks
}

// takeAll takes the ticks of schedules that are due.
func (p *storedPass) takeAll(ctx context.Context, due []backend.StoredSchedule) error {
	paused, err := p.pauses(ctx)
	if err != nil {
		return err
	}
	var alone []*backend.StoredSchedule
	for i := range due {
		s := &due[i]
		if p.late[s.Name].pause > 0 {
			alone = append(alone, s)
			continue
		}
		p.plan(s, paused)
		if p.jobs >= maxTickJobs || p.bytes >= maxTickBytes {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	for _, s := range alone {
		if left := time.Until(p.late[s.Name].retry); left > 0 || p.blocked >= maxBlocked {
			p.isLate(s.Name, s.Next)
			p.look.blocked = true
			p.look.again(p.now.Add(max(left, storedLost)))
			continue
		}
		p.plan(s, paused)
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// plan adds what is to be done about a schedule that is due.
func (p *storedPass) plan(s *backend.StoredSchedule, paused map[string]bool) {
	tick := backend.Tick{Name: s.Name, Definition: s.Definition, Due: s.Next}
	if paused[""] || paused[s.Job.Name] { // its ticks are late when the pause ends
		tick.Defer = p.lookAtPaused()
		p.add(tick, 0)
		return
	}
	plan, err := engine.PlanOf(s)
	if err != nil && p.now.Sub(s.Look) < patience {
		p.look.left = true
		p.isLate(s.Name, s.Next)
		return
	}
	if err != nil {
		p.report(s.Name, err)
		p.add(p.deferred(tick, err), 0)
		return
	}
	ticks, skipped, next, some := plan.Due(s.Next, p.now, plan.Location, plan.CatchUp, p.onTime(s))
	if !some {
		next = never(p.now)
	}
	tick.Next = next
	for _, at := range ticks {
		tick.Jobs = append(tick.Jobs, engine.JobOfTick(s.Job, s.Name, at))
	}
	p.add(tick, skipped)
}

// onTime returns how late a tick may be and not count as missed: since the schedule was up to date.
func (p *storedPass) onTime(s *backend.StoredSchedule) time.Duration {
	since := p.upToDate
	if l, ok := p.late[s.Name]; ok && l.due.Equal(s.Next) {
		since = l.upToDate
	}
	if s.Look.After(s.Next) || since.IsZero() { // it was deferred, or this is the first look
		return engine.OnTime
	}
	return time.Since(since) + time.Second
}

// isLate notes that the tick of a schedule was not taken, and returns the note.
func (p *storedPass) isLate(name string, due time.Time) lateTick {
	l, ok := p.late[name]
	if !ok || !l.due.Equal(due) {
		l = lateTick{due: due, upToDate: p.upToDate, pause: l.pause, retry: l.retry}
	}
	p.look.late[name] = l
	return l
}

// isBlocked notes that the tick of a schedule waits for a lock.
func (p *storedPass) isBlocked(tick backend.Tick) {
	l := p.isLate(tick.Name, tick.Due)
	l.pause = min(max(2*l.pause, maxTickWait), deferral)
	l.retry = time.Now().Add(l.pause)
	p.look.late[tick.Name] = l
	p.blocked++
	p.look.blocked = true
	p.look.again(p.now.Add(l.pause))
}

// lookAtPaused returns when to look again at a schedule whose job's name is paused: after
// pausedPoll, or later, so that a worker stores at most a thousand of these looks in a second.
func (p *storedPass) lookAtPaused() time.Time {
	at := p.now.Add(pausedPoll)
	if next := p.pausedLook.Add(time.Millisecond); next.After(at) {
		at = next
	}
	if last := p.now.Add(deferral); at.After(last) {
		at = last
	}
	p.pausedLook = at
	return at.Truncate(time.Second) // together
}

func (p *storedPass) deferred(tick backend.Tick, problem error) backend.Tick {
	return backend.Tick{
		Name: tick.Name, Definition: tick.Definition, Due: tick.Due,
		Defer: p.now.Add(deferral), Problem: backend.CleanError(problem.Error()),
	}
}

func (p *storedPass) add(tick backend.Tick, skipped int) {
	p.ticks, p.skips = append(p.ticks, tick), append(p.skips, skipped)
	p.jobs += len(tick.Jobs)
	for i := range tick.Jobs {
		p.bytes += len(tick.Jobs[i].Payload) + len(tick.Jobs[i].Metadata)
	}
}

// flush takes the ticks that were added: together, or one by one if the store refuses one or they
// wait for a lock.
func (p *storedPass) flush(ctx context.Context) error {
	ticks, skips := p.ticks, p.skips
	p.ticks, p.skips, p.jobs, p.bytes = nil, nil, 0, 0
	if len(ticks) == 0 {
		return nil
	}
	if len(ticks) > 1 {
		taken, err := p.take(ctx, ticks)
		if err == nil {
			p.took(ticks, skips, taken)
			return nil
		}
		if !refuses(err) && !waits(ctx, err) {
			return err
		}
	}
	for i := range ticks {
		if p.blocked >= maxBlocked {
			p.isLate(ticks[i].Name, ticks[i].Due)
			p.look.lost = true
			continue
		}
		if err := p.flushOne(ctx, ticks[i], skips[i]); err != nil && !refuses(err) {
			return err
		}
	}
	return nil
}

// take is TickStored with a limit of its time.
func (p *storedPass) take(ctx context.Context, ticks []backend.Tick) ([]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, p.tickWait())
	defer cancel()
	return p.scheduler.TickStored(ctx, ticks)
}

// refuses reports whether the error is that of one of the ticks, not of the store.
func refuses(err error) bool {
	return refusedIndex(err) >= 0 || permanent(err) && !errors.Is(err, backend.ErrClosed)
}

// waits reports whether a call took too long, while its caller's context has not ended.
func waits(ctx context.Context, err error) bool {
	return ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
}

// flushOne takes one tick without the jobs that the store refuses.
func (p *storedPass) flushOne(ctx context.Context, tick backend.Tick, skipped int) error {
	for {
		taken, err := p.take(ctx, []backend.Tick{tick})
		switch {
		case err == nil:
			p.took([]backend.Tick{tick}, []int{skipped}, taken)
			return nil
		case waits(ctx, err):
			p.isBlocked(tick)
			p.report(tick.Name, fmt.Errorf("it waits for a lock, for example of a transaction that the application has open: %w", err))
			return nil
		case refusedIndex(err) >= 0:
			jobs := withoutRefused(tick.Jobs, err)
			if len(jobs) == len(tick.Jobs) {
				return err
			}
			p.opts.Logger.Warn("plainjobs: a tick pushes nothing", "schedule", tick.Name, "jobs", len(tick.Jobs)-len(jobs), "error", err)
			tick.Jobs = jobs
		case !refuses(err) || !tick.Defer.IsZero():
			return err
		default:
			p.report(tick.Name, err)
			tick = p.deferred(tick, err)
		}
	}
}

// withoutRefused returns the jobs of a tick without those that a push refused: if there was no room
// for one, without all later ones, and if its unique key is taken, without those that have it.
func withoutRefused(jobs []backend.NewJob, err error) []backend.NewJob {
	at := refusedIndex(err)
	if at < 0 || at >= len(jobs) {
		return jobs
	}
	if errors.Is(err, backend.ErrQueueFull) {
		return jobs[:at:at]
	}
	rest := jobs[:at:at]
	for i := at + 1; i < len(jobs); i++ {
		if jobs[i].Unique.Key != jobs[at].Unique.Key || jobs[i].Unique.Scope != jobs[at].Unique.Scope {
			rest = append(rest, jobs[i])
		}
	}
	return rest
}

// took notes which ticks were taken.
func (p *storedPass) took(ticks []backend.Tick, skips []int, taken []bool) {
	for i, did := range taken {
		tick := &ticks[i]
		switch {
		case !tick.Defer.IsZero():
			p.look.again(tick.Defer)
			continue
		case !did: // another worker has taken it, or a transaction has the schedule
			p.look.lost = true
			p.isLate(tick.Name, tick.Due)
			continue
		}
		p.look.again(tick.Next)
		if skips[i] > 0 {
			p.opts.Logger.Info("plainjobs: missed ticks do not run; see CatchUp",
				"schedule", tick.Name, "first", tick.Due, "skipped_at_least", skips[i], "pushed", len(tick.Jobs))
		}
	}
}

// report logs why a schedule does not tick.
func (p *storedPass) report(name string, err error) {
	p.log.warn("take the ticks of a stored schedule", fmt.Errorf("schedule %s: %w", name, err))
}
