package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	// A row from further ahead than its own lease was written before the
	// clock went back; it must not keep jobs until the clock catches up.
	selectSilent = `
		SELECT id, seen_at, lease, silent_seen, silent_at, silent_by, silent_for FROM plainjobs_workers
		WHERE seen_at + lease <= (?1+0) OR seen_at > (?1+0) + lease ORDER BY id`

	updateSilence = `UPDATE plainjobs_workers SET silent_seen = ?, silent_at = ?, silent_by = ?, silent_for = ? WHERE id = ?`

	selectNextHolder = `
		SELECT worker FROM plainjobs_jobs INDEXED BY plainjobs_running
		WHERE state = 4 AND worker > (?+0) ORDER BY worker LIMIT 1`

	selectWorker = `SELECT 1 FROM plainjobs_workers WHERE id = ?`

	selectDeadsJobs = `
		SELECT ` + rowColumns + ` FROM plainjobs_jobs INDEXED BY plainjobs_running
		WHERE state = 4 AND worker = (?+0) ORDER BY id`

	updateCrashed = `UPDATE plainjobs_jobs SET crashes = ?, suspect = 1 WHERE id = ?`
)

var updateRescued = newList(`
	UPDATE plainjobs_jobs SET state = 3, suspect = 1, worker = -4611686018427387904, token = -4611686018427387904
	WHERE +state = 4 AND id IN (`, `?`, `)`)

// Reap implements [backend.Backend].
func (b *Backend) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if err := backend.CheckReap(req); err != nil {
		return backend.ReapResult{}, fmt.Errorf("sqlite: reap: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.ReapResult{}, failed(ctx, "reap", err)
	}
	defer leave()
	limit := cmp.Or(req.Limit, 1000)
	var result backend.ReapResult
	err = b.writer.do(ctx, &request{op: "reap", run: func(t *tx) error {
		result = backend.ReapResult{}
		now := b.now()
		dead, err := t.dead(req, now)
		if err != nil {
			return err
		}
		for _, worker := range dead {
			if result.Rescued+result.Failed >= limit {
				result.More = true
				break
			}
			if err := b.rescue(t, worker, now, &result); err != nil {
				return err
			}
			if slices.Contains(req.Dead, worker) {
				if err := b.bury(t, worker); err != nil {
					return err
				}
			}
			if _, err := t.exec(deleteWorker, worker); err != nil {
				return err
			}
			result.Workers = append(result.Workers, worker)
		}
		if result.Due, err = t.promote(now, limit); err != nil {
			return err
		}
		if result.Expired, err = b.expire(t, now, limit); err != nil {
			return err
		}
		kept, err := t.execN(deleteKept, now, limit)
		if err != nil {
			return err
		}
		result.More = result.More || result.Due == limit || result.Expired == limit || kept == int64(limit)
		return t.retire(now)
	}})
	if err != nil {
		return backend.ReapResult{}, failed(ctx, "reap", err)
	}
	var more bool
	result.Pruned, more, err = b.pruneSome(ctx, limit)
	result.More = result.More || more
	if err != nil {
		return result, failed(ctx, "reap", err)
	}
	return result, nil
}

// dead returns the workers whose jobs are to be rescued: those that hold jobs
// without having a row, those that are named, and those that are judged dead.
func (t *tx) dead(req backend.ReapRequest, now int64) (dead []int64, err error) {
	collect := func(ids *[]int64) func(*sql.Rows) (bool, error) {
		return func(r *sql.Rows) (bool, error) {
			var id int64
			err := r.Scan(&id)
			*ids = append(*ids, id)
			return true, err
		}
	}
	if dead, err = t.judge(req, now); err != nil {
		return nil, err
	}
	for _, id := range req.Dead {
		var row []int64
		if err := t.each(selectWorker, []any{id}, collect(&row)); err != nil {
			return nil, err
		}
		if len(row) > 0 && !slices.Contains(dead, id) {
			dead = append(dead, id)
		}
	}
	for last := int64(-1); ; {
		var holder, row []int64
		if err := t.each(selectNextHolder, []any{last}, collect(&holder)); err != nil || len(holder) == 0 {
			return dead, err
		}
		last = holder[0]
		if err := t.each(selectWorker, []any{last}, collect(&row)); err != nil {
			return nil, err
		}
		if len(row) == 0 {
			dead = append(dead, last)
		}
	}
}

// judge returns the workers that are dead by their silence, and keeps that of
// the others.
func (t *tx) judge(req backend.ReapRequest, now int64) (dead []int64, err error) {
	if !req.Expired && req.By == 0 {
		return nil, nil
	}
	kept := map[int64]backend.Silence{}
	err = t.each(selectSilent, []any{now}, func(r *sql.Rows) (bool, error) {
		var id, seen, lease, silentSeen, silentAt, watched int64
		var before backend.Silence
		if err := r.Scan(&id, &seen, &lease, &silentSeen, &silentAt, &before.By, &watched); err != nil {
			return false, err
		}
		before.Seen, before.At, before.Watched = instant(silentSeen), instant(silentAt), time.Duration(watched)*time.Microsecond
		after, gone := before.Judge(req, instant(seen), time.Duration(lease)*time.Microsecond, instant(now))
		if gone {
			dead = append(dead, id)
		} else if after != before {
			kept[id] = after
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for id, s := range kept {
		if _, err := t.exec(updateSilence, s.Seen.UnixMicro(), s.At.UnixMicro(), s.By, s.Watched.Microseconds(), id); err != nil {
			return nil, err
		}
	}
	return dead, nil
}

// rescue makes the jobs of a dead worker wait again, or ends them.
func (b *Backend) rescue(t *tx, worker, now int64, result *backend.ReapResult) error {
	if _, err := t.settings(); err != nil { // of limited names, which wake others
		return err
	}
	rows, err := t.rows(t.carried(selectDeadsJobs), worker)
	if err != nil {
		return err
	}
	suspects := int64(0)
	for _, r := range rows {
		suspects += r.suspect
	}
	var ids []int64
	// From the latest, which have their keys before those that they supersede.
	for _, r := range slices.Backward(rows) {
		crashed := r.suspect == 1 && suspects == 1
		if crashed {
			r.crashes++
			if _, err := t.exec(updateCrashed, r.crashes, r.id); err != nil {
				return err
			}
		}
		state, why := backend.Pending, ""
		if r.flags&flagCancelling != 0 {
			state, why = backend.Cancelled, backend.CancelledError
		} else if crashed && r.crashes >= backend.MaxCrashes {
			state, why = backend.Failed, backend.CrashError
		} else if other, err := b.retake(t, r.keyed, now); err != nil {
			return err
		} else if other != 0 {
			state, why = backend.Cancelled, superseded(other)
		}
		if state == backend.Failed {
			result.Failed++
		} else {
			result.Rescued++
		}
		if state == backend.Pending {
			ids = append(ids, r.id)
			t.move(r.name, backend.Running, backend.Pending, 1)
		} else if err := b.finish(t, r, state, why, now); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(ids, maxList) {
		query, length := updateRescued.fit(len(part))
		n, err := t.execN(query, appendIDs(nil, part, length)...)
		if err != nil {
			return err
		}
		if n != int64(len(part)) {
			return fmt.Errorf("%w: %d running jobs are in the index and %d in the table", backend.ErrCorrupt, len(part), n)
		}
	}
	return nil
}

const selectPresence = `SELECT presence FROM plainjobs_workers WHERE id = ?`

// bury removes what showed that a worker's process lived, which it does not.
func (b *Backend) bury(t *tx, worker int64) error {
	shown := ""
	err := t.each(selectPresence, []any{worker}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&shown) })
	if err == nil && shown != "" {
		t.then(func() { b.presence.forget(shown) })
	}
	return err
}

// A pruner remembers how far the searches for old jobs have come. There is no
// index of finished jobs, as it would cost each completion: the table is walked
// by id, a part at a time. A search goes on where it was and starts again at the
// oldest when it is through.
type pruner struct {
	mu      sync.Mutex
	age     int64           // of what is past its time
	surplus map[int64]int64 // of what a name has too many of
}

const (
	selectFinished = `SELECT name, sum(jobs) FROM plainjobs_counts WHERE state >= 5 GROUP BY name`

	selectWalk = `
		SELECT id, name, state, finished_at, flags & 1 AND EXISTS (
			SELECT 1 FROM plainjobs_keys k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id AND k.until > ?)
		FROM plainjobs_jobs j WHERE id > ? ORDER BY id LIMIT ?`
)

// walkLength is how many jobs are looked at for each one that may be deleted.
const walkLength = 5

// A walked is a job that a search comes by.
type walked struct {
	id, name, finished int64
	state              backend.State
	kept               bool // with its unique key
}

// walk calls take for the jobs behind from, until it says to stop, and returns
// how far it came and whether that is the end.
func (b *Backend) walk(ctx context.Context, q queryer, from int64, limit int, take func(walked) (more bool)) (to int64, end bool, err error) {
	seen, stopped := 0, false
	err = scan(ctx, q, b.sql(selectWalk), []any{b.now(), from, limit}, func(r *sql.Rows) error {
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

// pruneSome deletes at most limit jobs past their keep, and says whether going
// on at once would delete more.
func (b *Backend) pruneSome(ctx context.Context, limit int) (pruned int, more bool, err error) {
	if !b.prune.mu.TryLock() {
		return 0, false, nil // another call is at it
	}
	defer b.prune.mu.Unlock()
	var found search
	// Searching takes no lock; only deleting does.
	err = b.read(ctx, func(q queryer) (err error) {
		found, err = b.searchOld(ctx, q, limit)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	for part := range slices.Chunk(found.ids, maxList) {
		n := 0
		err := b.writer.do(ctx, &request{op: "prune", run: func(t *tx) error {
			now := b.now()
			query, length := selectEnded.fit(len(part))
			rows, err := t.rows(query, appendIDs(nil, part, length)...)
			if err != nil {
				return err
			}
			gone := rows[:0]
			for _, r := range rows {
				kept, err := t.keeps(r.keyed, r.state, now)
				if err != nil {
					return err
				}
				if !kept {
					gone = append(gone, r)
				}
			}
			n = len(gone)
			return t.remove(gone, now)
		}})
		if err != nil {
			return pruned, false, err
		}
		pruned += n
	}
	b.prune.age, b.prune.surplus = found.age, found.surplus
	return pruned, found.more, nil
}

// A search is what searchOld has found, and how far it came.
type search struct {
	ids     []int64
	age     int64
	surplus map[int64]int64
	more    bool // it found something and is not through
}

// searchOld searches for at most limit finished jobs that are to be deleted.
func (b *Backend) searchOld(ctx context.Context, q queryer, limit int) (s search, err error) {
	var set settings
	if err := scan(ctx, q, b.sql(selectSettings), nil, set.scan); err != nil {
		return s, err
	}
	surplus := map[int64]int64{}
	err = scan(ctx, q, b.sql(selectFinished), nil, func(r *sql.Rows) error {
		var name, n int64
		err := r.Scan(&name, &n)
		if rows := int64(set[name].history.Over(b.history).Rows); rows >= 0 && n > rows {
			surplus[name] = n - rows
		}
		return err
	})
	if err != nil {
		return s, err
	}
	now := b.now()
	taken := map[int64]bool{}
	add := func(j walked) {
		if !taken[j.id] {
			taken[j.id] = true
			s.ids = append(s.ids, j.id)
			surplus[j.name]--
		}
	}
	var end bool
	s.age, end, err = b.walk(ctx, q, b.prune.age, walkLength*limit, func(j walked) bool {
		if j.state.Terminal() && !j.kept && now-j.finished >= b.keep(set, j.name, j.state).Microseconds() {
			add(j)
		}
		return len(s.ids) < limit
	})
	if err != nil {
		return s, err
	}
	if end {
		s.age = 0
	}
	s.more = !end && len(s.ids) > 0
	s.surplus = map[int64]int64{}
	for _, name := range slices.Sorted(maps.Keys(surplus)) {
		at := b.prune.surplus[name]
		switch {
		case surplus[name] <= 0:
		case len(s.ids) == limit:
			s.more = true
		default:
			before := len(s.ids)
			at, end, err = b.walk(ctx, q, at, walkLength*limit, func(j walked) bool {
				if j.name == name && j.state.Terminal() && !j.kept {
					add(j)
				}
				return surplus[name] > 0 && len(s.ids) < limit
			})
			if err != nil {
				return s, err
			}
			if end {
				at = 0 // what it passed by has finished since
			}
			// It is through once it has started at the oldest and found nothing.
			s.more = s.more || surplus[name] > 0 && (!end || len(s.ids) > before || b.prune.surplus[name] > 0)
		}
		s.surplus[name] = at
	}
	return s, nil
}

var selectEnded = newList(`SELECT `+rowColumns+` FROM plainjobs_jobs WHERE +state >= 5 AND id IN (`, `?`, `)`)
