package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	lockDefiner    = `SELECT jobs, defined FROM plainjobs_worker WHERE id = ? FOR UPDATE`
	selectDefiners = `SELECT jobs, defined FROM plainjobs_worker WHERE defined <> ''`
	updateDefined  = `UPDATE plainjobs_worker SET defined = ? WHERE id = ?`

	upsertSettings = `
		INSERT INTO plainjobs_job_setting (name, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes,
			drop_done, drop_failed, differ, override, keep_bytes) VALUES `
	upsertSettingsTail = ` ON DUPLICATE KEY UPDATE max_running = VALUES(max_running), rate = VALUES(rate), per = VALUES(per),
		keep_done = VALUES(keep_done), keep_failed = VALUES(keep_failed), keep_rows = VALUES(keep_rows), max_crashes = VALUES(max_crashes),
		drop_done = VALUES(drop_done), drop_failed = VALUES(drop_failed), differ = VALUES(differ), override = VALUES(override), keep_bytes = VALUES(keep_bytes)`
)

// Set implements [backend.SettingsStore].
func (b *Backend) Set(ctx context.Context, worker int64, all []backend.Settings) (instead []backend.Settings, err error) {
	if err := check.Set(b.Describe(), all); err != nil {
		return nil, fmt.Errorf("mysql: set: %w", err)
	}
	if worker == 0 && len(all) == 0 {
		return nil, nil
	}
	err = b.write(ctx, "set", func(t *tx) error {
		given := lifecycle.NewDefiner(nil, all)
		orphans := given.Settings
		if worker != 0 {
			orphans = nil
			before, err := t.lockDefiner(worker)
			if err != nil {
				return err
			}
			for name := range before.Knows {
				given.Knows[name] = true
			}
			if err := t.later(updateDefined, []byte(jsonrow.SettingsText(all)), worker); err != nil {
				return err
			}
		}
		stored, err := t.redefine(given.Knows, orphans)
		instead = nil
		for _, s := range all {
			applies := stored[s.Name].Settings
			if applies.Name = s.Name; applies != s {
				instead = append(instead, applies)
			}
		}
		return err
	})
	return instead, err
}

// lockDefiner locks the row of a worker and returns what the worker has defined so far.
func (t *tx) lockDefiner(worker int64) (d lifecycle.Definer, err error) {
	jobs, defined := "", ""
	if err := t.each(lockDefiner, []any{worker}, func(r *sql.Rows) error { return r.Scan(&jobs, &defined) }); err != nil {
		return d, err
	}
	if jobs == "" {
		return d, rejected{backend.ErrWorkerGone}
	}
	if defined == "" {
		defined = "[]"
	}
	d, _, err = jsonrow.Definer(jobs, defined)
	return d, err
}

// lockedSettings locks the settings and returns them. They are not those that the process
// shares: the transaction may change them, and be rolled back.
func (t *tx) lockedSettings() (settings, error) {
	if _, err := t.ids(lockVersion); err != nil {
		return nil, err
	}
	all := settings{}
	return all, t.each(selectSettings, nil, all.scan)
}

// redefine computes the settings of names again, and returns all. Those that no worker knows
// become what orphans has for them, unless it is nil.
func (t *tx) redefine(names map[string]bool, orphans map[string]backend.Settings) (settings, error) {
	stored, err := t.lockedSettings()
	if err != nil {
		return nil, err
	}
	var definers []lifecycle.Definer
	some := len(stored) > 0 || len(orphans) > 0
	err = t.each(selectDefiners, nil, func(r *sql.Rows) error {
		var jobs, defined string
		if err := r.Scan(&jobs, &defined); err != nil {
			return err
		}
		d, _, err := jsonrow.Definer(jobs, defined)
		some = some || len(d.Settings) > 0
		definers = append(definers, d)
		return err
	})
	if err != nil || !some { // nothing is set, and nothing was
		return stored, err
	}
	changed := settings{}
	for name := range names {
		current := stored[name]
		s, differ, known := lifecycle.Defined(name, definers, t.b.opts.History)
		switch {
		case known:
		case orphans != nil:
			s = orphans[name]
		default:
			s = current.defined()
		}
		s.Name = ""
		if current.defined() == s && current.differ == differ {
			continue
		}
		current.define(s, differ)
		stored[name], changed[name] = current, current
	}
	return stored, t.storeSettings(changed)
}

// define makes the settings of a name those that are defined and overridden.
func (s *setting) define(defined backend.Settings, differ bool) {
	s.Settings, s.differ = defined, differ
	if s.override != nil {
		s.override = &jsonrow.Overriding{Override: s.override.Override, Defined: defined}
		s.Settings = lifecycle.Overridden(defined, s.override.Override)
	}
}

// storeSettings stores settings that have changed.
func (t *tx) storeSettings(changed settings) error {
	if len(changed) == 0 {
		return nil
	}
	rows := insert{head: upsertSettings, tail: upsertSettingsTail}
	for _, name := range sqlstore.Sorted(changed) {
		s := changed[name]
		override := ""
		if s.override != nil {
			override = s.override.Text()
		}
		err := rows.add(t, name, s.MaxRunning, s.Rate, int64(s.Per), int64(s.History.Done), int64(s.History.Failed), s.History.Rows, s.MaxCrashes,
			s.History.DropDone, s.History.DropFailed, s.differ, []byte(override), s.History.Bytes)
		if err != nil {
			return err
		}
	}
	if err := rows.flush(t); err != nil {
		return err
	}
	return t.settingsChanged()
}

// removeWorker deletes a worker's row, and what the worker defines.
func (t *tx) removeWorker(worker int64) error {
	jobs, defined := "", ""
	if err := t.each(lockDefiner, []any{worker}, func(r *sql.Rows) error { return r.Scan(&jobs, &defined) }); err != nil {
		return err
	}
	if err := t.later(deleteWorker, worker); err != nil || defined == "" {
		return err
	}
	d, _, err := jsonrow.Definer(jobs, defined)
	if err != nil {
		return err
	}
	_, err = t.redefine(d.Knows, nil)
	return err
}

// Override implements [backend.SettingsStore].
func (b *Backend) Override(ctx context.Context, o backend.Override, reset bool) error {
	if err := check.SetOverride(b.Describe(), o); err != nil {
		return fmt.Errorf("mysql: override: %w", err)
	}
	return b.write(ctx, "override", func(t *tx) error {
		stored, err := t.lockedSettings()
		if err != nil {
			return err
		}
		now, err := t.now()
		if err != nil {
			return err
		}
		s := stored[o.Name]
		defined := s.defined()
		var before backend.Override
		if s.override != nil {
			before = s.override.Override
		}
		s.override = nil
		if next := lifecycle.ChangeOverride(before, o, reset, instant(now)); !next.Zero() {
			s.override = &jsonrow.Overriding{Override: next}
		}
		s.define(defined, s.differ)
		if err := t.storeWeights(o.Name, s.override); err != nil {
			return err
		}
		return t.storeSettings(settings{o.Name: s})
	})
}

// concurrency returns what overrides say of the concurrency of names.
func (t *tx) concurrency() (of map[string]int, err error) {
	all, err := t.settings()
	if err != nil {
		return nil, err
	}
	for name, s := range all {
		if s.override == nil || s.override.Override.Concurrency == 0 {
			continue
		}
		if of == nil {
			of = map[string]int{}
		}
		of[name] = s.override.Override.Concurrency
	}
	return of, nil
}
