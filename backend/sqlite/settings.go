package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A setting is what is set or paused for a name.
type setting struct {
	paused     bool
	maxRunning int64
	rate, per  int64
	history    backend.History
	maxCrashes int
}

func (s setting) limited() bool { return s.maxRunning > 0 || s.rate > 0 }

func (s setting) condemns(crashes int64) bool {
	return backend.Settings{MaxCrashes: s.maxCrashes}.Condemns(int(crashes))
}

// settings are the settings of all names that have any. They are read by each
// transaction that needs them: the table is small, mostly empty, and another
// process may have changed it.
type settings map[int64]setting

// wholeQueue is the name of the whole queue.
const wholeQueue = 0

const selectSettings = `
	SELECT name, paused, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes FROM plainjobs_settings`

func (all *settings) scan(r *sql.Rows) error {
	var name int64
	var s setting
	var done, failed int64
	err := r.Scan(&name, &s.paused, &s.maxRunning, &s.rate, &s.per, &done, &failed, &s.history.Rows, &s.maxCrashes)
	s.history.Done, s.history.Failed = time.Duration(done), time.Duration(failed)
	if *all == nil {
		*all = settings{}
	}
	(*all)[name] = s
	return err
}

// settings returns the settings as the transaction sees them.
func (t *tx) settings() (settings, error) {
	if !t.knowsSettings {
		t.set = nil
		err := t.each(selectSettings, nil, func(r *sql.Rows) (bool, error) { return true, t.set.scan(r) })
		if err != nil {
			return nil, err
		}
		t.knowsSettings = true
	}
	return t.set, nil
}

// keep returns how long a job of a name is kept that ends in a state.
func (b *Backend) keep(all settings, name int64, s backend.State) time.Duration {
	return all[name].history.Over(b.history).Keep(s)
}

const (
	selectRunning = `SELECT jobs FROM plainjobs_counts WHERE name = ? AND state = 4`
	selectStarts  = `SELECT slot, jobs FROM plainjobs_starts WHERE name = ? AND slot > ? ORDER BY slot`
	deleteAhead   = `DELETE FROM plainjobs_starts WHERE name = ? AND slot > ?`
	deleteStarts  = `DELETE FROM plainjobs_starts WHERE name = ? AND slot <= ?`
	insertStart   = `
		INSERT INTO plainjobs_starts (name, slot, jobs) VALUES (?, ?, ?)
		ON CONFLICT (name, slot) DO UPDATE SET jobs = jobs + excluded.jobs`
)

// counted returns how many jobs of a name are in a state, this transaction's
// changes included.
func (t *tx) counted(query string, name int64, states ...backend.State) (n int64, err error) {
	err = t.each(query, []any{name}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&n) })
	for _, s := range states {
		n += t.counts[countKey{name, s}]
	}
	return n, err
}

// allowance returns how many jobs of a name may be claimed now.
func (t *tx) allowance(name int64, s setting, now int64) (int, error) {
	allowed := int64(math.MaxInt32)
	if s.maxRunning > 0 {
		running, err := t.counted(selectRunning, name, backend.Running)
		if err != nil {
			return 0, err
		}
		allowed = s.maxRunning - running
	}
	if s.rate > 0 {
		if _, err := t.exec(deleteStarts, name, now-s.per); err != nil {
			return 0, err
		}
		started, ahead := int64(0), int64(0)
		err := t.each(selectStarts, []any{name, now - s.per}, func(r *sql.Rows) (bool, error) {
			var slot, jobs int64
			err := r.Scan(&slot, &jobs)
			if started += jobs; slot > now+s.width() {
				ahead += jobs
			}
			return true, err
		})
		if err != nil {
			return 0, err
		}
		if ahead > 0 { // the clock has gone back: they count as claimed now
			if _, err := t.exec(deleteAhead, name, now+s.width()); err != nil {
				return 0, err
			}
			if err := t.start(name, s, now, ahead); err != nil {
				return 0, err
			}
		}
		allowed = min(allowed, s.rate-started)
	}
	return int(max(allowed, 0)), nil
}

// start notes that jobs of a name with a rate were claimed. It rounds up, so
// that never more than the rate are claimed in a span.
func (t *tx) start(name int64, s setting, now, jobs int64) error {
	if s.rate == 0 {
		return nil
	}
	_, err := t.exec(insertStart, name, (now/s.width()+1)*s.width(), jobs)
	return err
}

// width is the span of a slot: a hundredth of the rate's.
func (s setting) width() int64 { return max(s.per/100, 1) }

// free returns when the rate allows one more, from the starts within its span,
// by slot; 0 is now.
func (s setting) free(starts [][2]int64) int64 {
	if s.rate == 0 {
		return 0
	}
	sum := int64(0)
	for _, slot := range slices.Backward(starts) {
		if sum += slot[1]; sum >= s.rate {
			return slot[0] + s.per
		}
	}
	return 0
}

const (
	upsertSettings = `
		INSERT INTO plainjobs_settings (name, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes) VALUES (?,?,?,?,?,?,?,?)
		ON CONFLICT (name) DO UPDATE SET max_running = excluded.max_running, rate = excluded.rate, per = excluded.per,
			keep_done = excluded.keep_done, keep_failed = excluded.keep_failed, keep_rows = excluded.keep_rows,
			max_crashes = excluded.max_crashes`
	upsertPaused = `
		INSERT INTO plainjobs_settings (name, paused) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET paused = excluded.paused`
	deletePlain = `
		DELETE FROM plainjobs_settings WHERE paused = 0 AND max_running = 0 AND rate = 0
			AND keep_done = 0 AND keep_failed = 0 AND keep_rows = 0 AND max_crashes = 0`
)

// Set implements [backend.SettingsStore].
func (b *Backend) Set(ctx context.Context, all []backend.Settings) error {
	if err := backend.CheckSettings(all); err != nil {
		return fmt.Errorf("sqlite: set: %w", err)
	}
	if len(all) == 0 {
		return nil
	}
	return b.write(ctx, &request{op: "set", run: func(t *tx) error {
		stored, err := t.settings()
		if err != nil {
			return err
		}
		for _, s := range all {
			id, err := t.nameID(s.Name)
			if err != nil {
				return err
			}
			plain := s
			if plain.Name = ""; plain == (backend.Settings{}) {
				if _, ok := stored[id]; !ok {
					continue // nothing to say, and nothing said
				}
			}
			_, err = t.exec(upsertSettings, id, s.MaxRunning, s.Rate, s.Per.Microseconds(),
				int64(s.History.Done), int64(s.History.Failed), s.History.Rows, s.MaxCrashes)
			if err != nil {
				return err
			}
		}
		t.wakes = true
		_, err = t.exec(deletePlain)
		return err
	}})
}

// Pause implements [backend.SettingsStore].
func (b *Backend) Pause(ctx context.Context, name string, paused bool) error {
	if name != "" {
		if err := backend.CheckSettings([]backend.Settings{{Name: name}}); err != nil {
			return fmt.Errorf("sqlite: pause: %w", err)
		}
	}
	return b.write(ctx, &request{op: "pause", firm: true, run: func(t *tx) error {
		id := int64(wholeQueue)
		if name != "" {
			var err error
			if id, err = t.nameID(name); err != nil {
				return err
			}
		}
		if _, err := t.exec(upsertPaused, id, paused); err != nil {
			return err
		}
		t.wakes = true
		_, err := t.exec(deletePlain)
		return err
	}})
}

// write runs a request whose results are nothing but its error.
func (b *Backend) write(ctx context.Context, r *request) error {
	leave, err := b.enter()
	if err == nil {
		defer leave()
		r.full = r.firm && b.opts.Durability == backend.PowerLoss
		err = b.writer.do(ctx, r)
	}
	return failed(ctx, r.op, err)
}

const (
	selectNames = `
		SELECT n.id, n.name, coalesce((SELECT jobs FROM plainjobs_counts c WHERE c.name = n.id AND c.state = 4), 0)
		FROM plainjobs_names n
		WHERE EXISTS (SELECT 1 FROM plainjobs_counts c WHERE c.name = n.id AND c.jobs > 0)
			OR EXISTS (SELECT 1 FROM plainjobs_settings s WHERE s.name = n.id)
		ORDER BY n.name`
)

// Names implements [backend.SettingsStore].
func (b *Backend) Names(ctx context.Context) ([]backend.NameInfo, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "names", err)
	}
	defer leave()
	var infos []backend.NameInfo
	err = b.read(ctx, func(q queryer) error {
		infos = nil
		var all settings
		if err := scan(ctx, q, b.sql(selectSettings), nil, all.scan); err != nil {
			return err
		}
		if all[wholeQueue].paused {
			infos = append(infos, backend.NameInfo{Paused: true})
		}
		var ids []int64
		err := scan(ctx, q, b.sql(selectNames), nil, func(r *sql.Rows) error {
			var id int64
			var n backend.NameInfo
			err := r.Scan(&id, &n.Name, &n.Running)
			s := all[id]
			n.Paused, n.MaxRunning, n.Rate = s.paused, int(s.maxRunning), int(s.rate)
			n.Per, n.History, n.MaxCrashes = time.Duration(s.per)*time.Microsecond, s.history, s.maxCrashes
			infos, ids = append(infos, n), append(ids, id)
			return err
		})
		if err != nil {
			return err
		}
		for i, id := range ids {
			free, err := b.freeAt(ctx, q, id, all[id])
			if err != nil {
				return err
			}
			if free != 0 {
				infos[len(infos)-len(ids)+i].Free = instant(free)
			}
		}
		return nil
	})
	return infos, failed(ctx, "names", err)
}

// freeAt returns when a name's rate allows one more claim, or 0 if it does
// now.
func (b *Backend) freeAt(ctx context.Context, q source, name int64, s setting) (int64, error) {
	if s.rate == 0 {
		return 0, nil
	}
	now := b.now()
	var starts [][2]int64
	err := scan(ctx, q, b.sql(selectStarts), []any{name, now - s.per}, func(r *sql.Rows) error {
		var slot [2]int64
		err := r.Scan(&slot[0], &slot[1])
		slot[0] = min(slot[0], now+s.width()) // the clock may have gone back
		starts = append(starts, slot)
		return err
	})
	return s.free(starts), err
}
