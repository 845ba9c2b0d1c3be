package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Move copies all jobs, groups, signals, settings and schedules of one store into
// another and compares the two. It leaves both paused. It calls report with each
// step, in words.
func Move(ctx context.Context, from, to backend.Backend, report func(text string)) (Summary, error) {
	m := &mover{from: from, to: to, report: report}
	err := m.run(ctx)
	return m.done.summary(), err
}

// A mover holds the state of one Move.
type mover struct {
	from, to backend.Backend
	report   func(string)

	source    backend.ExportImporter
	target    backend.ExportImporter
	copied    int64         // the ID of the last job
	schedules backend.Batch // only its schedules
	done      tally
}

func (m *mover) run(ctx context.Context) error {
	if m.from == m.to {
		return fmt.Errorf("%w: source and target are the same store", backend.ErrInvalid)
	}
	var err error
	if m.source, err = engine.Capability[backend.ExportImporter](m.from); err != nil {
		return err
	}
	if m.target, err = engine.Capability[backend.ExportImporter](m.to); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		m.look, m.pause, m.drain, m.copySettings, m.copyGroups, m.copyJobs, m.copySignals, m.copyLastID, m.copySchedules, m.settle, m.verifyJobs, m.verifyGroups, m.verifySchedules,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	m.report(fmt.Sprintf("compared, and the same: %d", m.done.Jobs))
	left, err := m.source.Export(ctx, backend.ExportRequest{After: m.copied, Jobs: 1})
	if err == nil && len(left.Jobs) > 0 {
		m.report("jobs were pushed to the old queue meanwhile, and are still there: move again when nothing pushes to it any more")
	}
	return err
}

// look returns an error if the target has jobs that the old store does not have. It
// changes nothing.
func (m *mover) look(ctx context.Context) error {
	there, err := m.target.Export(ctx, backend.ExportRequest{Jobs: check.MaxBatch})
	if err != nil || len(there.Jobs) == 0 {
		return err
	}
	here, err := m.source.Export(ctx, backend.ExportRequest{Jobs: check.MaxBatch})
	if err != nil {
		return err
	}
	byID := map[int64]*backend.Record{}
	for i := range here.Jobs {
		byID[here.Jobs[i].ID] = &here.Jobs[i]
	}
	for _, t := range there.Jobs {
		r := byID[t.ID]
		if r == nil && len(here.Jobs) == check.MaxBatch && t.ID > here.Jobs[len(here.Jobs)-1].ID {
			break
		}
		if r == nil && t.State.Terminal() {
			continue // pruned since
		}
		if r == nil {
			return fmt.Errorf("%w: the target has job %d, %s, which the old queue does not have: move to an empty store", backend.ErrDuplicate, t.ID, t.Name)
		}
		if err := lifecycle.CheckPresent(r, t.Name, t.CreatedAt); err != nil {
			return fmt.Errorf("the target is not empty: %w", err)
		}
	}
	return nil
}

func (m *mover) pause(ctx context.Context) error {
	for _, b := range []backend.Backend{m.from, m.to} {
		store, err := engine.Capability[backend.SettingsStore](b)
		if err != nil {
			return fmt.Errorf("pause: %w", err)
		}
		if err := store.Pause(ctx, "", true); err != nil {
			return err
		}
	}
	m.report("paused both queues: their workers wait")
	return nil
}

// The intervals of waiting for running jobs. A mover that is much later than an interval
// was stalled, and must not judge which workers are dead.
const (
	drainEvery = 50 * time.Millisecond
	drainGap   = time.Second
)

// drain waits until no job runs.
func (m *mover) drain(ctx context.Context) error {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	last := int64(0)
	steady := time.Now()
	for before := steady; ; {
		running, err := m.running(ctx)
		if err != nil || running == 0 {
			return err
		}
		if running != last {
			m.report(fmt.Sprintf("waiting for jobs that run: %d", running))
		}
		last = running
		heard, err := m.clock(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		if now.Sub(before) > drainGap {
			steady = now
		}
		if _, err := m.from.Reap(ctx, backend.ReapRequest{Expired: now.After(steady), StableFor: max(now.Sub(steady), 1), StoreTime: heard}); err != nil {
			return err
		}
		before = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// running returns the number of running jobs in the old store.
func (m *mover) running(ctx context.Context) (n int64, err error) {
	store, err := engine.Capability[backend.Reader](m.from)
	if err != nil {
		return 0, err
	}
	counts, err := store.Count(ctx)
	for _, c := range counts {
		if c.State == backend.Running {
			n += c.Jobs
		}
	}
	return n, err
}

// clock returns the old store's clock, if the store returns it.
func (m *mover) clock(ctx context.Context) (time.Time, error) {
	s, ok := m.from.(backend.Scheduler)
	if !ok {
		return time.Time{}, nil
	}
	all, err := s.Schedules(ctx)
	return all.Now, err
}

func (m *mover) copySettings(ctx context.Context) error {
	names, err := settingsOf(ctx, m.from)
	if err != nil {
		return err
	}
	var all []settingLine
	for i := range names {
		if names[i].Name != "" { // its pause is that of the move
			all = append(all, *lineOfSetting(&names[i]))
		}
	}
	m.done.Settings = int64(len(all))
	return applySettings(ctx, m.to, all)
}

// copyJobs copies all jobs and returns the schedules that belong to them. A tick pushes
// a job and advances its schedule at once, so if the schedules are the same before and
// after, no tick is lost or doubled.
func (m *mover) copyJobs(ctx context.Context) error {
	for {
		before, err := ticksOf(ctx, m.from)
		if err != nil {
			return err
		}
		if err := m.copyPages(ctx); err != nil {
			return err
		}
		m.schedules, err = ticksOf(ctx, m.from)
		if err != nil || sameTicks(before, m.schedules) {
			return err
		}
	}
}

func (m *mover) copyPages(ctx context.Context) error {
	told := time.Now()
	for {
		page, err := m.source.Export(ctx, backend.ExportRequest{After: m.copied, Jobs: batchJobs})
		if err != nil || len(page.Jobs) == 0 {
			return err
		}
		for i := range page.Jobs {
			if r := &page.Jobs[i]; r.State == backend.Running {
				return fmt.Errorf("%w: job %d runs, so the queue was resumed during the move: move again", backend.ErrUnavailable, r.ID)
			}
		}
		result, err := m.target.Import(ctx, page)
		if err != nil {
			return err
		}
		m.done.addResult(result)
		m.copied = page.Jobs[len(page.Jobs)-1].ID
		if time.Since(told) > time.Second {
			told = time.Now()
			m.report(fmt.Sprintf("copied as far as job %d of %d", m.copied, page.LastID))
		}
	}
}

// copyLastID keeps the target from assigning an ID that the source has assigned.
func (m *mover) copyLastID(ctx context.Context) error {
	page, err := m.source.Export(ctx, backend.ExportRequest{})
	if err == nil {
		_, err = m.target.Import(ctx, page)
	}
	return err
}

// settle lets both stores do what is due, so that they can be compared.
func (m *mover) settle(ctx context.Context) error {
	for _, q := range []backend.Backend{m.from, m.to} {
		for more := true; more; {
			result, err := q.Reap(ctx, backend.ReapRequest{})
			if err != nil {
				return err
			}
			more = result.More
		}
	}
	return nil
}
