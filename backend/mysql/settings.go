package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// settings are the settings by name. Each transaction that needs them asks for their version,
// and reads them if this process has another one.
type settings map[string]setting

// storedSettings are settings as read, with their version or a later one.
type storedSettings struct {
	version int64
	all     settings
}

// everything stands for the whole queue.
const everything = ""

const (
	settingColumns = `name, paused, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes, drop_done, drop_failed, differ, override, keep_bytes`
	selectSettings = `SELECT ` + settingColumns + ` FROM plainjobs_job_setting`

	// Changes of settings run one at a time. A transaction locks the row of its worker first,
	// then this, then settings of names.
	lockVersion  = `SELECT number FROM plainjobs_meta WHERE key_text = 'settings' FOR UPDATE`
	raiseVersion = `UPDATE plainjobs_meta SET number = number + 1 WHERE key_text = 'settings'`
)

// Claims of a limited name run one at a time. A claim that has locked some waits for no others.
var lockSettings = `
	SELECT s.name, s.paused, s.max_running, s.rate, s.per, s.keep_done, s.keep_failed, s.keep_rows, s.max_crashes,
		s.drop_done, s.drop_failed, s.differ, s.override, s.keep_bytes
	FROM ` + join("name*") + ` plainjobs_job_setting s FORCE INDEX (PRIMARY) ON s.name = UNHEX(v.name) FOR UPDATE`

func (all settings) scan(r *sql.Rows) error {
	var name string
	var s setting
	var per, done, failed int64
	var override string
	err := r.Scan(&name, &s.paused, &s.MaxRunning, &s.Rate, &per, &done, &failed, &s.History.Rows, &s.MaxCrashes,
		&s.History.DropDone, &s.History.DropFailed, &s.differ, &override, &s.History.Bytes)
	if err == nil && override != "" {
		s.override, err = jsonrow.ReadOverriding(override)
	}
	s.Per, s.History.Done, s.History.Failed = time.Duration(per), time.Duration(done), time.Duration(failed)
	all[name] = s
	return err
}

// settings returns the settings as the transaction sees them. They must not be changed.
func (t *tx) settings() (settings, error) {
	if t.set != nil {
		return t.set, nil
	}
	if _, err := t.now(); err != nil { // it reads the version
		return nil, err
	}
	set := t.b.set.Load()
	if set == nil || set.version != t.version {
		set = &storedSettings{t.version, settings{}}
		if err := t.each(selectSettings, nil, set.all.scan); err != nil {
			return nil, err
		}
		if !t.caller { // whose snapshot may be old
			t.b.set.Store(set)
		}
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
	upsertPaused = `INSERT INTO plainjobs_job_setting (name, paused, override) VALUES (?, ?, '') ON DUPLICATE KEY UPDATE paused = VALUES(paused)`
	deletePlain  = `
		DELETE FROM plainjobs_job_setting WHERE paused = 0 AND max_running = 0 AND rate = 0
			AND keep_done = 0 AND keep_failed = 0 AND keep_rows = 0 AND keep_bytes = 0 AND max_crashes = 0
			AND drop_done = 0 AND drop_failed = 0 AND differ = 0 AND override = ''`
)

// Pause implements [backend.SettingsStore].
func (b *Backend) Pause(ctx context.Context, name string, paused bool) error {
	if name != everything {
		if err := check.Name(name); err != nil {
			return fmt.Errorf("mysql: pause: %w", err)
		}
	}
	return b.write(ctx, "pause", func(t *tx) error {
		if _, err := t.ids(lockVersion); err != nil {
			return err
		}
		if err := t.later(upsertPaused, name, paused); err != nil {
			return err
		}
		return t.settingsChanged()
	})
}

// settingsChanged drops settings that say nothing, and raises their version.
func (t *tx) settingsChanged() error {
	t.wakes = true
	if err := t.later(deletePlain); err != nil {
		return err
	}
	err := t.later(raiseVersion)
	return err
}

// Names implements [backend.SettingsStore].
func (b *Backend) Names(ctx context.Context) ([]backend.NameInfo, error) {
	var infos []backend.NameInfo
	err := b.readAtOnce(ctx, "names", func(q querier) error {
		infos = nil
		all, running := settings{}, map[string]int64{}
		now := int64(0)
		err := errors.Join(b.scan(ctx, q, selectSettings, nil, all.scan),
			b.scan(ctx, q, selectNow, nil, func(r *sql.Rows) error { return r.Scan(&now) }),
			b.scan(ctx, q, selectCounts, nil, func(r *sql.Rows) error {
				var c backend.Count
				err := r.Scan(&c.Name, &c.State, &c.Jobs)
				if running[c.Name] += 0; c.State == backend.Running {
					running[c.Name] += c.Jobs
				}
				return err
			}))
		if err != nil {
			return err
		}
		if all[everything].paused {
			infos = append(infos, backend.NameInfo{Paused: true})
		}
		for name := range all {
			if name != everything {
				running[name] += 0
			}
		}
		slots, err := b.slots(ctx, q)
		for _, name := range slices.Sorted(maps.Keys(running)) {
			s := all[name]
			s.Name = name
			info := backend.NameInfo{Settings: s.Settings, Defined: s.defined(), Differ: s.differ, Paused: s.paused, Running: running[name]}
			if info.Defined.Name = name; s.override != nil {
				info.Override = s.override.Override
			}
			if free := lifecycle.RateOf(s.Settings).Free(slots[name], now); s.Rate > 0 && free != 0 {
				info.Free = instant(free)
			}
			infos = append(infos, info)
		}
		return err
	})
	return infos, err
}
