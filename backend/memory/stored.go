package memory

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A look is when a stored schedule is due. It is stale if the schedule has another one.
type look struct {
	at   int64
	name string
}

func (l look) compare(o look) int {
	return cmp.Or(cmp.Compare(l.at, o.at), cmp.Compare(l.name, o.name))
}

// looks is a heap.
type looks []look

func (h looks) Len() int           { return len(h) }
func (h looks) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h looks) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *looks) Push(x any)        { *h = append(*h, x.(look)) }
func (h *looks) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// store stores s, which nothing else refers to.
func (b *Backend) store(s *backend.StoredSchedule) {
	s.Next, s.Last, s.Look = micros(s.Next), micros(s.Last), micros(s.Look)
	if old := b.stored[s.Name]; old == nil || !old.Look.Equal(s.Look) {
		heap.Push(&b.looks, look{s.Look.UnixMicro(), s.Name})
	}
	b.stored[s.Name] = s
}

// nextLook removes and returns the earliest look that is not stale.
func (b *Backend) nextLook() (l look, ok bool) {
	for len(b.looks) > 0 {
		l := heap.Pop(&b.looks).(look)
		for len(b.looks) > 0 && b.looks[0] == l {
			heap.Pop(&b.looks)
		}
		if s := b.stored[l.name]; s != nil && s.Look.UnixMicro() == l.at {
			return l, true
		}
	}
	return look{}, false
}

func cloneStored(s backend.StoredSchedule) backend.StoredSchedule {
	s.Runs, s.Job.Payload, s.Job.Metadata = slices.Clone(s.Runs), bytes.Clone(s.Job.Payload), bytes.Clone(s.Job.Metadata)
	return s
}

// ChangeSchedule implements [backend.Scheduler].
func (b *Backend) ChangeSchedule(ctx context.Context, tx *sql.Tx, name string, change func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error)) error {
	if tx != nil {
		return fmt.Errorf("memory: change schedule: %w", errNoTx)
	}
	if err := b.enter(ctx, "change schedule"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	defined := b.schedules[name]
	live := defined != nil && defined.RemovedAt.IsZero()
	if live && b.stored[name] == nil {
		return fmt.Errorf("memory: change schedule: %w", lifecycle.DefinedError(name))
	}
	var old *backend.StoredSchedule
	if s := b.stored[name]; s != nil {
		c := cloneStored(*s)
		old = &c
	}
	next, err := lifecycle.ChangeStored(name, old, live, lifecycle.Time(b.now()), change)
	if err != nil {
		return fmt.Errorf("memory: change schedule: %w", err)
	}
	if next == nil {
		delete(b.stored, name)
		return nil
	}
	delete(b.schedules, name)
	c := cloneStored(*next)
	b.store(&c)
	return nil
}

// StoredSchedules implements [backend.Scheduler].
func (b *Backend) StoredSchedules(ctx context.Context, req backend.StoredRequest) (all backend.StoredSchedules, err error) {
	limit, err := check.StoredRequest(req)
	if err != nil {
		return all, fmt.Errorf("memory: stored schedules: %w", err)
	}
	if err := b.enter(ctx, "stored schedules"); err != nil {
		return all, err
	}
	defer b.mu.Unlock()
	all.Now = lifecycle.Time(b.now())
	if req.Due {
		b.dueSchedules(&all, look{lifecycle.Micros(req.Look), req.After}, limit)
		return all, nil
	}
	for _, name := range slices.Sorted(maps.Keys(b.stored)) {
		s := b.stored[name]
		if name <= req.After || !strings.HasPrefix(name, req.Prefix) || req.Problems && s.Problem == "" {
			continue
		}
		if len(all.Schedules) == limit {
			break
		}
		all.Schedules = append(all.Schedules, cloneStored(*s))
	}
	return all, nil
}

// dueSchedules adds at most limit schedules that are due after a position.
func (b *Backend) dueSchedules(all *backend.StoredSchedules, after look, limit int) {
	var seen []look
	for len(all.Schedules) < limit {
		l, ok := b.nextLook()
		if !ok {
			break
		}
		seen = append(seen, l)
		if l.at > all.Now.UnixMicro() {
			all.Next = lifecycle.Time(l.at)
			break
		}
		if l.compare(after) > 0 {
			all.Schedules = append(all.Schedules, cloneStored(*b.stored[l.name]))
		}
	}
	for _, l := range seen {
		heap.Push(&b.looks, l)
	}
}

// TickStored implements [backend.Scheduler].
func (b *Backend) TickStored(ctx context.Context, ticks []backend.Tick) ([]bool, error) {
	if err := check.TickStored(ticks); err != nil {
		return nil, fmt.Errorf("memory: tick stored: %w", err)
	}
	if err := b.enter(ctx, "tick stored"); err != nil {
		return nil, err
	}
	defer b.leave()
	stored := make([]*backend.StoredSchedule, len(ticks))
	for i := range ticks {
		stored[i] = b.stored[ticks[i].Name]
	}
	now := b.now()
	ticking := lifecycle.TickAll(stored, ticks, lifecycle.Time(now))
	pushed, err := b.push(ticking.Jobs, now)
	if err != nil {
		return nil, fmt.Errorf("memory: tick stored: %w", err)
	}
	for _, s := range ticking.Changed(pushed) {
		b.store(s)
	}
	return ticking.Taken, nil
}
