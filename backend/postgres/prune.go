package postgres

import (
	"context"
	"database/sql"
	"slices"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

// A pruner remembers how far the searches for old jobs have come. There is no
// index of finished jobs, as it would cost each completion: the table is walked
// by id, a part at a time. A search goes on where it was and starts again at the
// oldest when it is through.
type pruner struct {
	mu      sync.Mutex
	age     int64            // of what is past its time
	surplus map[string]int64 // of what a name has too many of
}

const (
	selectFinished = `SELECT name, sum(jobs)::bigint FROM ` + allCounts + ` c WHERE state >= 5 GROUP BY name`

	selectWalk = `
		SELECT j.id, j.name, j.state, j.finished_at, j.flags & 1 <> 0 AND EXISTS (
			SELECT 1 FROM plainjobs.keys k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND k.until > $3::bigint)
		FROM plainjobs.jobs j WHERE j.id > $1::bigint ORDER BY j.id LIMIT $2::bigint`

	lockEnded = `
		SELECT ` + rowColumns + ` FROM plainjobs.jobs j WHERE j.id = ANY($1::text::bigint[]) AND j.state >= 5 ORDER BY j.id FOR UPDATE SKIP LOCKED`
)

// walkLength is how many jobs are looked at for each one that may be deleted.
const walkLength = 5

// pruneSome deletes at most limit jobs past their keep, and says whether going
// on at once would delete more.
func (b *Backend) pruneSome(ctx context.Context, limit int) (pruned int, more bool, err error) {
	if !b.prune.mu.TryLock() {
		return 0, false, nil // another call is at it
	}
	defer b.prune.mu.Unlock()
	var found search
	err = b.transact(ctx, false, func(t *tx) error {
		pruned = 0
		found = search{limit: limit, taken: map[int64]bool{}, surplus: map[string]int64{}}
		if err := t.searchOld(&found); err != nil || len(found.ids) == 0 {
			return err
		}
		rows, err := t.rows(lockEnded, intArray(found.ids))
		if err != nil {
			return err
		}
		now, err := t.now()
		if err != nil {
			return err
		}
		keys, err := t.keeping(rows, now)
		if err != nil {
			return err
		}
		rows = slices.DeleteFunc(rows, func(r *row) bool { return keys[r.id] })
		pruned = len(rows)
		return t.remove(rows)
	})
	if err != nil {
		return 0, false, err
	}
	b.prune.age, b.prune.surplus = found.age, found.reached
	return pruned, found.more, nil
}

// A search is for at most limit finished jobs that are to be deleted.
type search struct {
	limit   int
	ids     []int64
	taken   map[int64]bool
	surplus map[string]int64 // how many a name has too many

	age     int64 // how far it came
	reached map[string]int64
	more    bool // it found something and is not through
}

// A walked is a job that a search comes by.
type walked struct {
	id, finished int64
	name         string
	state        backend.State
	kept         bool // with its unique key
}

func (s *search) full() bool { return len(s.ids) >= s.limit }

func (s *search) add(j walked) {
	if !s.taken[j.id] {
		s.taken[j.id] = true
		s.ids = append(s.ids, j.id)
		s.surplus[j.name]--
	}
}

// walk calls take for the jobs behind from, until it says to stop, and returns
// how far it came and whether that is the end.
func (t *tx) walk(from int64, limit int, take func(walked) (more bool)) (to int64, end bool, err error) {
	now, err := t.now()
	if err != nil {
		return from, false, err
	}
	seen, stopped := 0, false
	err = t.each(selectWalk, []any{from, limit, now}, func(r *sql.Rows) error {
		var j walked
		if err := r.Scan(&j.id, &j.name, &j.state, &j.finished, &j.kept); err != nil || stopped {
			return err
		}
		seen++
		from = j.id
		stopped = !take(j)
		return nil
	})
	return from, seen < limit && !stopped, err
}

// searchOld searches for what is past its time, and then for what names have
// too many of.
func (t *tx) searchOld(s *search) error {
	now, err := t.now()
	if err != nil {
		return err
	}
	set, err := t.settings()
	if err != nil {
		return err
	}
	err = t.each(selectFinished, nil, func(r *sql.Rows) error {
		var name string
		var n int64
		err := r.Scan(&name, &n)
		if rows := int64(set[name].history.Over(t.b.opts.History).Rows); rows >= 0 && n > rows {
			s.surplus[name] = n - rows
		}
		return err
	})
	if err != nil {
		return err
	}
	var end bool
	s.age, end, err = t.walk(t.b.prune.age, walkLength*s.limit, func(j walked) bool {
		keep := set[j.name].history.Over(t.b.opts.History).Keep(j.state)
		if j.state.Terminal() && !j.kept && now-j.finished >= keep.Microseconds() {
			s.add(j)
		}
		return !s.full()
	})
	if err != nil {
		return err
	}
	if end {
		s.age = 0
	}
	s.more = !end && len(s.ids) > 0
	s.reached = map[string]int64{}
	for _, name := range sorted(s.surplus) {
		if s.reached[name], err = t.searchSurplus(s, name); err != nil {
			return err
		}
	}
	return nil
}

// searchSurplus searches for the oldest jobs of a name that has too many, and
// returns how far it came.
func (t *tx) searchSurplus(s *search, name string) (reached int64, err error) {
	from := t.b.prune.surplus[name]
	switch {
	case s.surplus[name] <= 0:
		return from, nil
	case s.full():
		s.more = true
		return from, nil
	}
	before := len(s.ids)
	reached, end, err := t.walk(from, walkLength*s.limit, func(j walked) bool {
		if j.name == name && j.state.Terminal() && !j.kept {
			s.add(j)
		}
		return s.surplus[name] > 0 && !s.full()
	})
	if err != nil {
		return from, err
	}
	if end {
		reached = 0 // what it passed by has finished since
	}
	// It is through once it has started at the oldest and found nothing.
	s.more = s.more || s.surplus[name] > 0 && (!end || len(s.ids) > before || from > 0)
	return reached, nil
}
