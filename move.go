package plainjobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// MoveTo carries the queue into another store, which is empty or has part of it
// from a move that was interrupted: jobs with their IDs, attempts, keys and
// history, limits, pauses of names, and schedules. At any moment it may be
// killed, and is then called again, until it returns nil.
//
// It pauses both queues, so that the workers of both wait, and waits for the
// jobs that run; those of workers that died are rescued as ever. Then it copies
// in batches, reads both stores and compares each job. In the end both are still
// paused: end the workers of the old queue, let the program open the new one,
// and [Queue.Resume] that. To give up before, resume the old one.
//
// A schedule that ticks, or a program that pushes, into the old queue does so
// until it is told of the new one. What comes after the copy stays there, and a
// repeated move carries it as well.
//
// told, unless it is nil, is called with what is going on, for people.
func (q *Queue) MoveTo(ctx context.Context, to *Queue, told func(text string)) (Transfer, error) {
	if told == nil {
		told = func(string) {}
	}
	m := &mover{from: q, to: to, told: told}
	err := m.run(ctx)
	if err != nil && !strings.HasPrefix(err.Error(), "plainjobs: ") {
		err = fmt.Errorf("plainjobs: move: %w", err)
	}
	return m.done, err
}

// A mover carries one queue to another.
type mover struct {
	from, to *Queue
	told     func(string)

	source backend.Exporter
	target interface {
		backend.Exporter
		backend.Importer
	}
	copied    int64 // the ID of the last job
	schedules []backend.Schedule
	done      Transfer
}

func (m *mover) run(ctx context.Context) error {
	if m.from.engine.Backend == m.to.engine.Backend {
		return fmt.Errorf("%w: it is one store that jobs are to be moved from and to", backend.ErrInvalid)
	}
	var err error
	if m.source, err = capability[backend.Exporter](m.from, "move from"); err != nil {
		return err
	}
	if _, err = capability[backend.Importer](m.to, "move to"); err != nil {
		return err
	}
	if m.target, err = capability[interface {
		backend.Exporter
		backend.Importer
	}](m.to, "move to"); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		m.look, m.pause, m.drain, m.copySettings, m.copyJobs, m.copyKeys, m.copySchedules, m.settle, m.verifyJobs, m.verifyKeys, m.verifySchedules,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	m.done.count()
	m.told(fmt.Sprintf("compared, and the same: %d", m.done.Jobs))
	left, err := m.source.Export(ctx, backend.ExportRequest{After: m.copied, Jobs: 1})
	if err == nil && len(left.Jobs) > 0 {
		m.told("jobs were pushed to the old queue meanwhile, and are still there: move again when nothing pushes to it any more")
	}
	return err
}

// look makes sure, before anything is changed, that the target has nothing of
// its own.
func (m *mover) look(ctx context.Context) error {
	there, err := m.target.Export(ctx, backend.ExportRequest{Jobs: backend.MaxBatch})
	if err != nil || len(there.Jobs) == 0 {
		return err
	}
	here, err := m.source.Export(ctx, backend.ExportRequest{Jobs: backend.MaxBatch})
	if err != nil {
		return err
	}
	byID := map[int64]*backend.Record{}
	for i := range here.Jobs {
		byID[here.Jobs[i].ID] = &here.Jobs[i]
	}
	for _, t := range there.Jobs {
		r := byID[t.ID]
		if r == nil && len(here.Jobs) == backend.MaxBatch && t.ID > here.Jobs[len(here.Jobs)-1].ID {
			break
		}
		if r == nil && t.State.Terminal() {
			continue // pruned since
		}
		if r == nil {
			return fmt.Errorf("%w: the target has job %d, %s, which the old queue has not: move to a store that is empty", ErrDuplicate, t.ID, t.Name)
		}
		if err := r.CheckPresent(t.Name, t.CreatedAt); err != nil {
			return fmt.Errorf("the target is not empty: %w", err)
		}
	}
	return nil
}

func (m *mover) pause(ctx context.Context) error {
	if err := m.from.Pause(ctx, ""); err != nil {
		return err
	}
	m.told("paused both queues: their workers wait")
	return m.to.Pause(ctx, "")
}

// The rhythm in which running jobs are waited for. Who came much later than
// that was stalled, and must not judge who is dead.
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
		running, _, err := m.from.Count(ctx, Filter{State: Running}, true)
		if err != nil || running == 0 {
			return err
		}
		if running != last {
			m.told(fmt.Sprintf("waiting for jobs that run: %d", running))
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
		if _, err := m.from.engine.Backend.Reap(ctx, backend.ReapRequest{Expired: now.After(steady), Steady: max(now.Sub(steady), 1), Heard: heard}); err != nil {
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

// clock returns the old store's clock, if that tells it.
func (m *mover) clock(ctx context.Context) (time.Time, error) {
	s, ok := m.from.engine.Backend.(backend.Scheduler)
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

// copyJobs copies all jobs, and finds out the schedules that go with them: a
// tick pushes a job and advances its schedule at once, so when the schedules are
// the same before and after, no tick is lost and none is doubled.
func (m *mover) copyJobs(ctx context.Context) error {
	for {
		before, err := schedulesOf(ctx, m.from)
		if err != nil {
			return err
		}
		if err := m.copyPages(ctx); err != nil {
			return err
		}
		m.schedules, err = schedulesOf(ctx, m.from)
		if err != nil || slices.Equal(before, m.schedules) {
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
			if r := &page.Jobs[i]; r.State == Running {
				return fmt.Errorf("%w: job %d runs although the queue is paused: somebody has resumed it; move again", backend.ErrUnavailable, r.ID)
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
			m.told(fmt.Sprintf("copied as far as job %d of %d", m.copied, page.LastID))
		}
	}
}

func (m *mover) copyKeys(ctx context.Context) error {
	for after := (backend.KeptKey{}); ; {
		page, err := m.source.Export(ctx, backend.ExportRequest{AfterKey: after, Keys: batchJobs})
		if err != nil {
			return err
		}
		if _, err := m.target.Import(ctx, page); err != nil { // for the last ID, also without keys
			return err
		}
		if len(page.Keys) == 0 {
			return nil
		}
		m.done.Keys += int64(len(page.Keys))
		after = page.Keys[len(page.Keys)-1]
	}
}

func (m *mover) copySchedules(ctx context.Context) error {
	m.done.Schedules = int64(len(m.schedules))
	for part := range slices.Chunk(m.schedules, batchJobs) {
		if _, err := m.target.Import(ctx, backend.Batch{Schedules: part}); err != nil {
			return err
		}
	}
	return nil
}

// settle has both stores do what time asks for, so that they can be compared.
func (m *mover) settle(ctx context.Context) error {
	for _, q := range []*Queue{m.from, m.to} {
		for more := true; more; {
			result, err := q.engine.Backend.Reap(ctx, backend.ReapRequest{})
			if err != nil {
				return err
			}
			more = result.More
		}
	}
	return nil
}

// A side is what was compared of one store.
type side struct {
	Transfer
	hash hash.Hash
}

func (s *side) take(r *backend.Record, text []byte) {
	s.add(r)
	s.hash.Write(text)
}

// verifyJobs reads both stores and compares what they have, job by job, by
// counts and by a checksum.
func (m *mover) verifyJobs(ctx context.Context) error {
	m.told("comparing both queues")
	jobsOf := func(e backend.Exporter) *cursor[backend.Record] {
		return &cursor[backend.Record]{fetch: func(after backend.Record) ([]backend.Record, error) {
			page, err := e.Export(ctx, backend.ExportRequest{After: after.ID, Jobs: backend.MaxBatch})
			return page.Jobs, err
		}}
	}
	source, target := jobsOf(m.source), jobsOf(m.target)
	here, there := side{hash: sha256.New()}, side{hash: sha256.New()}
	for {
		a, err := source.peek()
		if err != nil {
			return err
		}
		b, err := target.peek()
		if err != nil {
			return err
		}
		if a != nil && a.ID > m.copied {
			a = nil // pushed since
		}
		if b != nil && b.ID > m.copied {
			b = nil
		}
		switch {
		case a == nil && b == nil:
			here.count()
			there.count()
			m.done.Jobs, m.done.byKind, m.done.Sum = there.Jobs, there.byKind, hex.EncodeToString(there.hash.Sum(nil))
			if sum := hex.EncodeToString(here.hash.Sum(nil)); here.Jobs != there.Jobs || sum != m.done.Sum {
				return fmt.Errorf("%w: %d jobs with the checksum %s became %d with %s", backend.ErrCorrupt, here.Jobs, sum, there.Jobs, m.done.Sum)
			}
			return nil
		case b == nil || a != nil && a.ID < b.ID:
			if err := m.missing(ctx, a); err != nil {
				return err
			}
			source.next()
		case a == nil || b.ID < a.ID:
			if !b.State.Terminal() { // history may have been pruned there
				return fmt.Errorf("job %d, %s, is %v in the target and was deleted in the old queue: delete it there too, and move again", b.ID, b.Name, b.State)
			}
			target.next()
		default:
			x, y := canonical(*a), canonical(*b)
			if !bytes.Equal(x, y) {
				return fmt.Errorf("job %d, %s, is %v in the old queue and %v in the target, and differs in %s: if nothing has run in the target, "+
					"delete it there, and move again", a.ID, a.Name, a.State, b.State, differing(x, y))
			}
			here.take(a, x)
			there.take(b, y)
			source.next()
			target.next()
		}
	}
}

// missing looks after a job that is not in the target: one that is past its
// keep there need not be.
func (m *mover) missing(ctx context.Context, r *backend.Record) error {
	if r.State.Terminal() {
		result, err := m.target.Import(ctx, backend.Batch{Jobs: []backend.Record{*r}})
		if err != nil || len(result.Pruned) > 0 {
			return err
		}
	}
	return fmt.Errorf("%w: job %d, %s, is %v in the old queue and missing in the target; move again", backend.ErrCorrupt, r.ID, r.Name, r.State)
}

// canonical returns a job as text, without what time and others change.
func canonical(r backend.Record) []byte {
	if r.State == Scheduled {
		r.State = Pending // which it is, its time says
	}
	if n := len(r.Errors); r.State == Cancelled && n > 0 && r.Errors[n-1].Error == backend.ExpiredError {
		r.FinishedAt, r.Errors = time.Time{}, r.Errors[:n-1]
	}
	if !r.KeyUntil.After(time.Now()) {
		r.KeyUntil = time.Time{}
	}
	text, err := json.Marshal(lineOfRecord(&r))
	if err != nil {
		panic(err) // it has nothing that could not be encoded
	}
	return text
}

// differing returns the names of the fields in which two jobs differ; their
// values may be secret.
func differing(x, y []byte) string {
	var a, b map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(x, &a), json.Unmarshal(y, &b)); err != nil {
		return "all"
	}
	var names []string
	for name := range maps.Keys(a) {
		if !bytes.Equal(a[name], b[name]) {
			names = append(names, name)
		}
	}
	for name := range maps.Keys(b) {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// verifyKeys looks for the kept keys in the target.
func (m *mover) verifyKeys(ctx context.Context) error {
	keysOf := func(e backend.Exporter) *cursor[backend.KeptKey] {
		return &cursor[backend.KeptKey]{fetch: func(after backend.KeptKey) ([]backend.KeptKey, error) {
			page, err := e.Export(ctx, backend.ExportRequest{AfterKey: after, Keys: backend.MaxBatch})
			return page.Keys, err
		}}
	}
	source, target := keysOf(m.source), keysOf(m.target)
	for {
		a, err := source.peek()
		if err != nil || a == nil {
			return err
		}
		b, err := target.peek()
		if err != nil {
			return err
		}
		switch {
		case b != nil && cmp.Or(cmp.Compare(b.Name, a.Name), cmp.Compare(b.Key, a.Key)) < 0:
			target.next()
			continue
		case (b == nil || *b != *a) && a.Until.After(time.Now()):
			return fmt.Errorf("%w: the unique key of job %d, %s, which is deleted, is not kept in the target; move again", backend.ErrCorrupt, a.Job, a.Name)
		}
		source.next()
	}
}

// verifySchedules looks for the schedules in the target. One may have gone on.
func (m *mover) verifySchedules(ctx context.Context) error {
	all, err := schedulesOf(ctx, m.to)
	if err != nil {
		return err
	}
	for _, want := range m.schedules {
		i := slices.IndexFunc(all, func(s backend.Schedule) bool { return s.Name == want.Name })
		if i < 0 || all[i].Definition != want.Definition || all[i].Paused != want.Paused || all[i].Next.Before(want.Next) || all[i].Last.Before(want.Last) {
			return fmt.Errorf("%w: schedule %s is not the same in the target; move again", backend.ErrCorrupt, want.Name)
		}
	}
	return nil
}

// A cursor goes through pages.
type cursor[T any] struct {
	fetch func(after T) ([]T, error)
	page  []T
	last  T
	over  bool
}

// peek returns what is next, or nil at the end.
func (c *cursor[T]) peek() (*T, error) {
	if len(c.page) == 0 && !c.over {
		var err error
		if c.page, err = c.fetch(c.last); err != nil {
			return nil, err
		}
		c.over = len(c.page) == 0
	}
	if c.over {
		return nil, nil
	}
	return &c.page[0], nil
}

// next goes on behind what peek has returned.
func (c *cursor[T]) next() {
	c.last, c.page = c.page[0], c.page[1:]
}
