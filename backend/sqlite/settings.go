package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A setting has the settings of a name.
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

// concurrency returns what the override says of the concurrency.
func (s setting) concurrency() int {
	if s.override != nil {
		return s.override.Override.Concurrency
	}
	return 0
}

// settings are the settings of all names that have any. They are not changed after
// they were read.
type settings map[int64]setting

// storedSettings are the settings of one version.
type storedSettings struct {
	version int64
	all     settings
}

// wholeQueue is the name ID of settings for the whole queue.
const wholeQueue = 0

const (
	selectSettings = `
		SELECT name, paused, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes, drop_done, drop_failed, differ, override, keep_bytes
		FROM plainjobs_job_setting`

	// Another process may change settings, and thousands of names may have some. So
	// each change raises the version, and settings are read if the version differs.
	selectSettingsVersion = `SELECT CAST(value AS INTEGER) FROM plainjobs_meta WHERE key = 'settings'`
	raiseSettingsVersion  = `
		INSERT INTO plainjobs_meta (key, value) VALUES ('settings', '1') ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1`
)

func (all *settings) scan(r *sql.Rows) error {
	var name int64
	var s setting
	var maxRunning, rate, per, done, failed int64
	var override string
	err := r.Scan(&name, &s.paused, &maxRunning, &rate, &per, &done, &failed, &s.History.Rows, &s.MaxCrashes,
		&s.History.DropDone, &s.History.DropFailed, &s.differ, &override, &s.History.Bytes)
	if err == nil && override != "" {
		s.override, err = jsonrow.ReadOverriding(override)
	}
	s.MaxRunning, s.Rate, s.Per = int(maxRunning), int(rate), time.Duration(per)
	s.History.Done, s.History.Failed = time.Duration(done), time.Duration(failed)
	if *all == nil {
		*all = settings{}
	}
	(*all)[name] = s
	return err
}

// settings returns the settings as the transaction sees them.
func (t *tx) settings() (settings, error) {
	if t.knowsSettings {
		return t.set, nil
	}
	var stored storedSettings
	err := t.each(selectSettingsVersion, nil, func(r *sql.Rows) (bool, error) { return false, r.Scan(&stored.version) })
	if err != nil {
		return nil, err
	}
	if t.w != nil && !t.setChanged {
		if known := t.w.settings.Load(); known != nil && known.version == stored.version {
			t.set, t.setVersion, t.knowsSettings = known.all, known.version, true
			return t.set, nil
		}
	}
	err = t.each(selectSettings, nil, func(r *sql.Rows) (bool, error) { return true, stored.all.scan(r) })
	if err != nil {
		return nil, err
	}
	if t.w != nil && !t.setChanged { // the transaction may be rolled back
		t.w.settings.Store(&stored)
		t.setVersion = stored.version
	}
	t.set, t.knowsSettings = stored.all, true
	return t.set, nil
}

// changedSettings ends a change of the settings by the transaction.
func (t *tx) changedSettings() error {
	if _, err := t.exec(deletePlain); err != nil {
		return err
	}
	t.wakes, t.knowsSettings, t.setVersion, t.setChanged = true, false, 0, true
	_, err := t.exec(raiseSettingsVersion)
	return err
}

// settings returns the settings as a reader sees them, and their version.
func (b *Backend) settings(ctx context.Context, q source) (all settings, version int64, err error) {
	var stored storedSettings
	err = scan(ctx, q, b.sql(selectSettingsVersion), nil, func(r *sql.Rows) error { return r.Scan(&stored.version) })
	if err != nil {
		return nil, 0, err
	}
	if known := b.writer.settings.Load(); known != nil && known.version == stored.version {
		return known.all, known.version, nil
	}
	// They are read after the version, so they are of this version or a later one.
	err = scan(ctx, q, b.sql(selectSettings), nil, stored.all.scan)
	if err == nil && b.readers != nil { // else q may see a transaction that is rolled back
		b.writer.settings.Store(&stored)
	}
	return stored.all, stored.version, err
}

// keep returns the retention of jobs of a name in a terminal state.
func (b *Backend) keep(all settings, name int64, s backend.State) time.Duration {
	return lifecycle.Retention(lifecycle.HistoryOf(all[name].Settings, b.history), s)
}

// drops reports whether the payloads of jobs of a name are deleted when they reach a
// terminal state.
func (b *Backend) drops(all settings, name int64, s backend.State) bool {
	return lifecycle.Drops(lifecycle.HistoryOf(all[name].Settings, b.history), s)
}

const (
	upsertPaused = `
		INSERT INTO plainjobs_job_setting (name, paused) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET paused = excluded.paused`
	deletePlain = `
		DELETE FROM plainjobs_job_setting WHERE paused = 0 AND max_running = 0 AND rate = 0
			AND keep_done = 0 AND keep_failed = 0 AND keep_rows = 0 AND keep_bytes = 0 AND max_crashes = 0
			AND drop_done = 0 AND drop_failed = 0 AND differ = 0 AND override = ''`
)

// Pause implements [backend.SettingsStore].
func (b *Backend) Pause(ctx context.Context, name string, paused bool) error {
	if name != "" {
		if err := check.Name(name); err != nil {
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
		return t.changedSettings()
	}})
}
