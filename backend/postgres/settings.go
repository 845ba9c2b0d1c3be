package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A setting is what is set for a name.
type setting struct {
	backend.Settings // without the name
	paused           bool
}

// settings are the settings by name. Each transaction that needs them reads them: the
// table is small and mostly empty, and another process may have changed it.
type settings map[string]setting

// everything stands for the whole queue.
const everything = ""

const (
	settingColumns = `name, paused, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes`
	selectSettings = `SELECT ` + settingColumns + ` FROM plainjobs.settings`

	// Claims of a limited name run one at a time.
	lockSettings = `SELECT ` + settingColumns + ` FROM plainjobs.settings WHERE name = ANY($1::text::text[]) ORDER BY name FOR UPDATE`
)

func (all settings) scan(r *sql.Rows) error {
	var name string
	var s setting
	var maxRunning, rate, per, done, failed int64
	err := r.Scan(&name, &s.paused, &maxRunning, &rate, &per, &done, &failed, &s.History.Rows, &s.MaxCrashes)
	all[name] = s.with(maxRunning, rate, per, done, failed)
	return err
}

// with returns s with its limits and with its durations, which are stored in
// nanoseconds.
func (s setting) with(maxRunning, rate, per, done, failed int64) setting {
	s.MaxRunning, s.Rate, s.Per = int(maxRunning), int(rate), time.Duration(per)
	s.History.Done, s.History.Failed = time.Duration(done), time.Duration(failed)
	return s
}

// settings returns the settings as the transaction sees them.
func (t *tx) settings() (settings, error) {
	if t.set == nil {
		all := settings{}
		if err := t.each(selectSettings, nil, all.scan); err != nil {
			return nil, err
		}
		t.know(all)
	}
	return *t.set, nil
}

func (t *tx) know(all settings) {
	t.set = &all
	t.b.limited.Store(&all)
}

// isLimited reports whether a name was limited when settings were last read.
func (b *Backend) isLimited(name string) bool {
	all := b.limited.Load()
	return all != nil && (*all)[name].Limited()
}

// keep returns how long a job of a name is kept in a terminal state.
func (t *tx) keep(name string, s backend.State) (time.Duration, error) {
	all, err := t.settings()
	return lifecycle.Retention(lifecycle.HistoryOf(all[name].Settings, t.b.opts.History), s), err
}

const (
	selectStarts = `SELECT slot, jobs FROM plainjobs.starts WHERE name = $1::text AND slot > $2::bigint ORDER BY slot`
	deleteAhead  = `DELETE FROM plainjobs.starts WHERE name = $1::text AND slot > $2::bigint`
	deleteStarts = `DELETE FROM plainjobs.starts WHERE name = $1::text AND slot <= $2::bigint`
	insertStart  = `
		INSERT INTO plainjobs.starts AS s (name, slot, jobs) VALUES ($1::text, $2::bigint, $3::bigint)
		ON CONFLICT (name, slot) DO UPDATE SET jobs = s.jobs + excluded.jobs`
)

// allowance returns how many jobs of a limited name, whose settings are locked,
// may be claimed now.
func (t *tx) allowance(name string, s setting, now int64) (int, error) {
	allowed := math.MaxInt32
	if s.MaxRunning > 0 {
		running, err := t.counted([]string{name}, backend.Running, backend.Running)
		if err != nil {
			return 0, err
		}
		allowed = s.MaxRunning - int(running[name])
	}
	if s.Rate > 0 {
		rate := lifecycle.RateOf(s.Settings)
		if _, err := t.exec(deleteStarts, name, rate.Since(now)); err != nil {
			return 0, err
		}
		slots, err := t.b.slots(t.ctx, t.conn, name, rate, now)
		if err != nil {
			return 0, err
		}
		left, ahead := rate.Left(slots, now)
		if ahead > 0 {
			if _, err := t.exec(deleteAhead, name, rate.Ahead(now)); err != nil {
				return 0, err
			}
			if err := t.start(name, s, now, int64(ahead)); err != nil {
				return 0, err
			}
		}
		allowed = min(allowed, left)
	}
	return max(allowed, 0), nil
}

// start records that jobs of a name were claimed, if it has a rate.
func (t *tx) start(name string, s setting, now, jobs int64) error {
	if s.Rate == 0 {
		return nil
	}
	_, err := t.exec(insertStart, name, lifecycle.RateOf(s.Settings).Slot(now), jobs)
	return err
}

// freeAt returns when the rate of a name allows one more claim, or 0 if it does
// now.
func (b *Backend) freeAt(ctx context.Context, q querier, name string, s setting, now int64) (int64, error) {
	if s.Rate == 0 {
		return 0, nil
	}
	rate := lifecycle.RateOf(s.Settings)
	slots, err := b.slots(ctx, q, name, rate, now)
	return rate.Free(slots, now), err
}

// slots returns the claims of a name that its rate counts.
func (b *Backend) slots(ctx context.Context, q querier, name string, rate lifecycle.Rate, now int64) (slots []lifecycle.Slot, err error) {
	err = b.scan(ctx, q, selectStarts, []any{name, rate.Since(now)}, func(r *sql.Rows) error {
		var at, jobs int64
		err := r.Scan(&at, &jobs)
		slots = append(slots, lifecycle.Slot{At: at, Jobs: int(jobs)})
		return err
	})
	return slots, err
}

const (
	// Unchanged settings are not written.
	upsertSettings = `
		INSERT INTO plainjobs.settings AS s (name, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes)
		SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
			$7::text::bigint[], $8::text::bigint[]) AS v(name, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes)
		ORDER BY v.name COLLATE "C"
		ON CONFLICT (name) DO UPDATE SET max_running = excluded.max_running, rate = excluded.rate, per = excluded.per,
			keep_done = excluded.keep_done, keep_failed = excluded.keep_failed, keep_rows = excluded.keep_rows,
			max_crashes = excluded.max_crashes
		WHERE (s.max_running, s.rate, s.per, s.keep_done, s.keep_failed, s.keep_rows, s.max_crashes) <>
			(excluded.max_running, excluded.rate, excluded.per, excluded.keep_done, excluded.keep_failed, excluded.keep_rows, excluded.max_crashes)`
	upsertPaused = `
		INSERT INTO plainjobs.settings (name, paused) VALUES ($1::text, $2::boolean)
		ON CONFLICT (name) DO UPDATE SET paused = excluded.paused`
	deletePlain = `
		DELETE FROM plainjobs.settings WHERE NOT paused AND max_running = 0 AND rate = 0
			AND keep_done = 0 AND keep_failed = 0 AND keep_rows = 0 AND max_crashes = 0`
)

// Set implements [backend.SettingsStore].
func (b *Backend) Set(ctx context.Context, all []backend.Settings) error {
	if err := check.Settings(all); err != nil {
		return fmt.Errorf("postgres: set: %w", err)
	}
	if len(all) == 0 {
		return nil
	}
	last := map[string]backend.Settings{}
	for _, s := range all {
		last[s.Name] = s
	}
	names := sorted(last)
	var columns [7][]int64
	for _, name := range names {
		s := last[name]
		for i, v := range []int64{int64(s.MaxRunning), int64(s.Rate), int64(s.Per), int64(s.History.Done), int64(s.History.Failed), int64(s.History.Rows), int64(s.MaxCrashes)} {
			columns[i] = append(columns[i], v)
		}
	}
	return b.write(ctx, "set", false, func(t *tx) error {
		_, err := t.exec(upsertSettings, textArray(names), intArray(columns[0]), intArray(columns[1]), intArray(columns[2]),
			intArray(columns[3]), intArray(columns[4]), intArray(columns[5]), intArray(columns[6]))
		if err != nil {
			return err
		}
		t.wakes = true
		_, err = t.exec(deletePlain)
		return err
	})
}

// Pause implements [backend.SettingsStore].
func (b *Backend) Pause(ctx context.Context, name string, paused bool) error {
	if name != everything {
		if err := check.Name(name); err != nil {
			return fmt.Errorf("postgres: pause: %w", err)
		}
	}
	return b.write(ctx, "pause", b.durable(), func(t *tx) error {
		if _, err := t.exec(upsertPaused, name, paused); err != nil {
			return err
		}
		t.wakes = true
		_, err := t.exec(deletePlain)
		return err
	})
}

const selectNames = `
	SELECT name, coalesce(sum(c.jobs) FILTER (WHERE c.state = 4), 0)::bigint
	FROM (SELECT * FROM ` + allCounts + ` c WHERE c.jobs > 0) c FULL JOIN plainjobs.settings s USING (name)
	WHERE name <> '' GROUP BY name ORDER BY name`

// Names implements [backend.SettingsStore].
func (b *Backend) Names(ctx context.Context) ([]backend.NameInfo, error) {
	var infos []backend.NameInfo
	err := b.read(ctx, "names", func(q querier) error {
		infos = nil
		all := settings{}
		now := int64(0)
		err := errors.Join(b.scan(ctx, q, selectSettings, nil, all.scan),
			b.scan(ctx, q, selectNow, nil, func(r *sql.Rows) error { return r.Scan(&now) }))
		if err != nil {
			return err
		}
		if all[everything].paused {
			infos = append(infos, backend.NameInfo{Paused: true})
		}
		err = b.scan(ctx, q, selectNames, nil, func(r *sql.Rows) error {
			var n backend.NameInfo
			err := r.Scan(&n.Name, &n.Running)
			infos = append(infos, n)
			return err
		})
		if err != nil {
			return err
		}
		for i := range infos {
			n := &infos[i]
			s := all[n.Name]
			s.Name = n.Name
			n.Settings, n.Paused = s.Settings, s.paused
			free, err := b.freeAt(ctx, q, n.Name, s, now)
			if err != nil {
				return err
			}
			if free != 0 {
				n.Free = instant(free)
			}
		}
		return nil
	})
	return infos, err
}
