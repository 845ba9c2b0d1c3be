package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	selectDefiner  = `SELECT jobs, defined FROM plainjobs_worker WHERE id = ?`
	selectDefiners = `SELECT jobs, defined FROM plainjobs_worker WHERE defined <> ''`
	updateDefined  = `UPDATE plainjobs_worker SET defined = ? WHERE id = ?`

	upsertSettings = `
		INSERT INTO plainjobs_job_setting (name, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes,
			drop_done, drop_failed, differ, override, keep_bytes)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (name) DO UPDATE SET max_running = excluded.max_running, rate = excluded.rate, per = excluded.per,
			keep_done = excluded.keep_done, keep_failed = excluded.keep_failed, keep_rows = excluded.keep_rows,
			max_crashes = excluded.max_crashes, drop_done = excluded.drop_done, drop_failed = excluded.drop_failed,
			differ = excluded.differ, override = excluded.override, keep_bytes = excluded.keep_bytes`
)

// Set implements [backend.SettingsStore].
func (b *Backend) Set(ctx context.Context, worker int64, all []backend.Settings) (instead []backend.Settings, err error) {
	if err := check.Settings(all); err != nil {
		return nil, fmt.Errorf("sqlite: set: %w", err)
	}
	if worker == 0 && len(all) == 0 {
		return nil, nil
	}
	err = b.write(ctx, &request{op: "set", run: func(t *tx) error {
		given := lifecycle.NewDefiner(nil, all)
		if worker == 0 {
			err := b.redefine(t, given.Knows, given.Settings)
			if err == nil {
				instead, err = t.instead(all)
			}
			return err
		}
		before, err := t.definer(worker)
		if err != nil {
			return err
		}
		for name := range before.Knows {
			given.Knows[name] = true
		}
		if _, err := t.exec(updateDefined, jsonrow.SettingsText(all), worker); err != nil {
			return err
		}
		if err := b.redefine(t, given.Knows, nil); err != nil {
			return err
		}
		instead, err = t.instead(all)
		return err
	}})
	return instead, err
}

// definer returns a worker with what it has defined so far.
func (t *tx) definer(worker int64) (d lifecycle.Definer, err error) {
	jobs, defined := "", ""
	if err := t.each(selectDefiner, []any{worker}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&jobs, &defined) }); err != nil {
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

// instead returns the settings that apply to names where they differ from the given ones.
func (t *tx) instead(given []backend.Settings) (all []backend.Settings, err error) {
	stored, err := t.settings()
	if err != nil {
		return nil, err
	}
	for _, s := range given {
		if len(stored) == 0 && s == (backend.Settings{Name: s.Name}) {
			continue
		}
		id, err := t.nameID(s.Name)
		if err != nil {
			return nil, err
		}
		applies := stored[id].Settings
		if applies.Name = s.Name; applies != s {
			all = append(all, applies)
		}
	}
	return all, nil
}

// redefine computes the settings of names again. Those that no worker knows become what orphans has
// for them, unless it is nil.
func (b *Backend) redefine(t *tx, names map[string]bool, orphans map[string]backend.Settings) error {
	stored, err := t.settings()
	if err != nil {
		return err
	}
	var definers []lifecycle.Definer
	some := len(stored) > 0 || len(orphans) > 0
	err = t.each(selectDefiners, nil, func(r *sql.Rows) (bool, error) {
		var jobs, defined string
		if err := r.Scan(&jobs, &defined); err != nil {
			return false, err
		}
		d, _, err := jsonrow.Definer(jobs, defined)
		some = some || len(d.Settings) > 0
		definers = append(definers, d)
		return true, err
	})
	if err != nil || !some { // nothing is set, and nothing was
		return err
	}
	changed := false
	for name := range names {
		id, err := t.nameID(name)
		if err != nil {
			return err
		}
		s, differ, known := lifecycle.Defined(name, definers, b.history)
		switch {
		case known:
		case orphans != nil:
			s = orphans[name]
		default:
			s = stored[id].defined()
		}
		s.Name = ""
		now := stored[id]
		next := now
		next.define(s, differ)
		if now.defined() == s && now.differ == differ {
			continue
		}
		changed = true
		if err := t.storeSetting(id, next); err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	return t.changedSettings()
}

// define makes the settings of a name those that are defined and overridden.
func (s *setting) define(defined backend.Settings, differ bool) {
	s.Settings, s.differ = defined, differ
	if s.override != nil {
		s.override = &jsonrow.Overriding{Override: s.override.Override, Defined: defined}
		s.Settings = lifecycle.Overridden(defined, s.override.Override)
	}
}

func (t *tx) storeSetting(id int64, s setting) error {
	override := ""
	if s.override != nil {
		override = s.override.Text()
	}
	_, err := t.exec(upsertSettings, id, s.MaxRunning, s.Rate, int64(s.Per), int64(s.History.Done), int64(s.History.Failed), s.History.Rows,
		s.MaxCrashes, s.History.DropDone, s.History.DropFailed, s.differ, override, s.History.Bytes)
	return err
}

const deleteWorker = `DELETE FROM plainjobs_worker WHERE id = ? RETURNING jobs, defined`

// removeWorker deletes a worker's row, and what the worker defines.
func (b *Backend) removeWorker(t *tx, worker int64) error {
	jobs, defined := "", ""
	err := t.each(deleteWorker, []any{worker}, func(r *sql.Rows) (bool, error) { return true, r.Scan(&jobs, &defined) })
	if err != nil || defined == "" {
		return err
	}
	d, _, err := jsonrow.Definer(jobs, defined)
	if err != nil {
		return err
	}
	return b.redefine(t, d.Knows, nil)
}

// Override implements [backend.SettingsStore].
func (b *Backend) Override(ctx context.Context, o backend.Override, reset bool) error {
	if err := check.Override(o); err != nil {
		return fmt.Errorf("sqlite: override: %w", err)
	}
	return b.write(ctx, &request{op: "override", firm: true, run: func(t *tx) error {
		stored, err := t.settings()
		if err != nil {
			return err
		}
		id, err := t.nameID(o.Name)
		if err != nil {
			return err
		}
		s := stored[id]
		defined := s.defined()
		var before backend.Override
		if s.override != nil {
			before = s.override.Override
		}
		s.override = nil
		if next := lifecycle.ChangeOverride(before, o, reset, instant(b.now())); !next.Zero() {
			s.override = &jsonrow.Overriding{Override: next}
		}
		s.define(defined, s.differ)
		if err := t.storeSetting(id, s); err != nil {
			return err
		}
		return t.changedSettings()
	}})
}
