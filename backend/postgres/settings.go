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
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A setting is what is set for a name.
type setting struct {
	backend.Settings // without the name
	paused           bool
	differ           bool
	override         *jsonrow.Overriding // nil if there is none
}

// defined returns the settings that apply without the override.
func (s setting) defined() backend.Settings {
	if s.override != nil {
		return s.override.Defined
	}
	return s.Settings
}

// settings are the settings by name. Each transaction that needs them asks for their
// version, and reads them if this process has another one.
type settings map[string]setting

// storedSettings are settings as read, with their version or a later one.
type storedSettings struct {
	version string
	all     settings
}

// everything stands for the whole queue.
const everything = ""

const (
	settingColumns = `name, paused, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes, drop_done, drop_failed, differ, override, keep_bytes`
	selectSettings = `SELECT ` + settingColumns + ` FROM plainjobs.job_setting`

	selectSettingsVersion = `SELECT coalesce((SELECT value FROM plainjobs.meta WHERE key = 'settings'), '')`
	raiseSettingsVersion  = `
		INSERT INTO plainjobs.meta AS m (key, value) VALUES ('settings', '1')
		ON CONFLICT (key) DO UPDATE SET value = (m.value::bigint + 1)::text`

	// Changes of settings run one at a time. A transaction locks the row of its worker
	// first, then this, then settings of names.
	lockSettingsVersion = `
		INSERT INTO plainjobs.meta AS m (key, value) VALUES ('settings', '0') ON CONFLICT (key) DO UPDATE SET value = m.value`

	// Claims of a limited name run one at a time. A claim that has locked some waits
	// for no others.
	lockSettings = `SELECT ` + settingColumns + ` FROM plainjobs.job_setting WHERE name = ANY($1::text::text[]) ORDER BY name FOR UPDATE`
)

func (all settings) scan(r *sql.Rows) error {
	var name string
	var s setting
	var maxRunning, rate, per, done, failed int64
	var override string
	err := r.Scan(&name, &s.paused, &maxRunning, &rate, &per, &done, &failed, &s.History.Rows, &s.MaxCrashes,
		&s.History.DropDone, &s.History.DropFailed, &s.differ, &override, &s.History.Bytes)
	if err == nil && override != "" {
		s.override, err = jsonrow.ReadOverriding(override)
	}
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

// settings returns the settings as the transaction sees them. They must not be
// changed.
func (t *tx) settings() (settings, error) {
	if t.set != nil {
		return t.set, nil
	}
	version := ""
	if err := t.each(selectSettingsVersion, nil, func(r *sql.Rows) error { return r.Scan(&version) }); err != nil {
		return nil, err
	}
	return t.settingsOf(version)
}

// settingsOf is settings for their version.
func (t *tx) settingsOf(version string) (settings, error) {
	set := t.b.set.Load()
	if set == nil || set.version != version {
		set = &storedSettings{version, settings{}}
		if err := t.each(selectSettings, nil, set.all.scan); err != nil {
			return nil, err
		}
		t.b.set.Store(set)
	}
	t.set = set.all
	return t.set, nil
}

// isLimited reports whether a name was limited when settings were last read.
func (b *Backend) isLimited(name string) bool {
	set := b.set.Load()
	return set != nil && set.all[name].Limited()
}

// history returns what is kept of the finished jobs of a name.
func (t *tx) history(name string) (backend.History, error) {
	all, err := t.settings()
	return lifecycle.HistoryOf(all[name].Settings, t.b.opts.History), err
}

const (
	selectStarts = `SELECT name, slot, jobs FROM plainjobs.rate_count WHERE name = ANY($1::text::text[]) ORDER BY name, slot`
	deleteAhead  = `DELETE FROM plainjobs.rate_count WHERE name = $1::text AND slot > $2::bigint`
	deleteStarts = `DELETE FROM plainjobs.rate_count WHERE name = $1::text AND slot <= $2::bigint`
	insertStart  = `
		INSERT INTO plainjobs.rate_count AS s (name, slot, jobs) VALUES ($1::text, $2::bigint, $3::bigint)
		ON CONFLICT (name, slot) DO UPDATE SET jobs = s.jobs + excluded.jobs`
)

// allowances returns how many jobs of each limited name may be claimed now, and the
// names with claims that were counted before the clock went back, see tidySlots.
func (t *tx) allowances(names []string, all settings, now int64) (allowed map[string]int, untidy []string, err error) {
	allowed = make(map[string]int, len(names))
	var running, rates []string
	for _, name := range names {
		allowed[name] = math.MaxInt32
		if all[name].MaxRunning > 0 {
			running = append(running, name)
		}
		if all[name].Rate > 0 {
			rates = append(rates, name)
		}
	}
	if len(running) > 0 {
		counts, err := t.counted(running, backend.Running, backend.Running)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range running {
			allowed[name] = max(0, all[name].MaxRunning-int(counts[name]))
		}
	}
	slots, err := t.b.slots(t.ctx, t.conn, rates)
	for _, name := range rates {
		left, ahead := lifecycle.RateOf(all[name].Settings).Left(slots[name], now)
		allowed[name] = min(allowed[name], left)
		if ahead > 0 {
			untidy = append(untidy, name)
		}
	}
	return allowed, untidy, err
}

// tidySlots deletes what a rate no longer counts, and moves claims that were counted
// before the clock went back. The name's settings are locked.
func (t *tx) tidySlots(name string, s setting, now int64) error {
	rate := lifecycle.RateOf(s.Settings)
	if _, err := t.exec(deleteStarts, name, rate.Since(now)); err != nil {
		return err
	}
	slots, err := t.b.slots(t.ctx, t.conn, []string{name})
	if err != nil {
		return err
	}
	_, ahead := rate.Left(slots[name], now)
	if ahead == 0 {
		return nil
	}
	if _, err := t.exec(deleteAhead, name, rate.Ahead(now)); err != nil {
		return err
	}
	return t.start(name, s, now, int64(ahead))
}

// start records that jobs of a name were claimed, if it has a rate.
func (t *tx) start(name string, s setting, now, jobs int64) error {
	if s.Rate == 0 {
		return nil
	}
	_, err := t.exec(insertStart, name, lifecycle.RateOf(s.Settings).Slot(now), jobs)
	return err
}

// slots returns the claims of names that their rates may count.
func (b *Backend) slots(ctx context.Context, q querier, names []string) (map[string][]lifecycle.Slot, error) {
	slots := map[string][]lifecycle.Slot{}
	if len(names) == 0 {
		return slots, nil
	}
	err := b.scan(ctx, q, selectStarts, []any{textArray(names)}, func(r *sql.Rows) error {
		var name string
		var s lifecycle.Slot
		err := r.Scan(&name, &s.At, &s.Jobs)
		slots[name] = append(slots[name], s)
		return err
	})
	return slots, err
}

const (
	upsertPaused = `
		INSERT INTO plainjobs.job_setting (name, paused) VALUES ($1::text, $2::boolean)
		ON CONFLICT (name) DO UPDATE SET paused = excluded.paused`
	deletePlain = `
		DELETE FROM plainjobs.job_setting WHERE NOT paused AND max_running = 0 AND rate = 0
			AND keep_done = 0 AND keep_failed = 0 AND keep_rows = 0 AND keep_bytes = 0 AND max_crashes = 0
			AND NOT drop_done AND NOT drop_failed AND NOT differ AND override = ''`
)

// Pause implements [backend.SettingsStore].
func (b *Backend) Pause(ctx context.Context, name string, paused bool) error {
	if name != everything {
		if err := check.Name(name); err != nil {
			return fmt.Errorf("postgres: pause: %w", err)
		}
	}
	return b.write(ctx, "pause", b.durable(), func(t *tx) error {
		if _, err := t.exec(lockSettingsVersion); err != nil {
			return err
		}
		if _, err := t.exec(upsertPaused, name, paused); err != nil {
			return err
		}
		return t.settingsChanged()
	})
}

// settingsChanged drops settings that say nothing, and raises their version.
func (t *tx) settingsChanged() error {
	t.wakes = true
	if _, err := t.exec(deletePlain); err != nil {
		return err
	}
	_, err := t.exec(raiseSettingsVersion)
	return err
}

const selectNames = `
	SELECT name, coalesce(sum(c.jobs) FILTER (WHERE c.state = 4), 0)::bigint
	FROM (SELECT * FROM ` + allCounts + ` c WHERE c.jobs > 0) c FULL JOIN plainjobs.job_setting s USING (name)
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
		var rates []string
		for name, s := range all {
			if s.Rate > 0 {
				rates = append(rates, name)
			}
		}
		slots, err := b.slots(ctx, q, rates)
		if err != nil {
			return err
		}
		for i := range infos {
			n := &infos[i]
			s := all[n.Name]
			s.Name = n.Name
			n.Settings, n.Paused, n.Differ = s.Settings, s.paused, s.differ
			n.Defined = s.defined()
			n.Defined.Name = n.Name
			if s.override != nil {
				n.Override = s.override.Override
			}
			if s.Rate > 0 {
				if free := lifecycle.RateOf(s.Settings).Free(slots[n.Name], now); free != 0 {
					n.Free = instant(free)
				}
			}
		}
		return nil
	})
	return infos, err
}
