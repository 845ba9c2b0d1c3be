package postgres

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
	lockDefiner    = `SELECT jobs, defined FROM plainjobs.worker WHERE id = $1::bigint FOR UPDATE`
	selectDefiners = `SELECT jobs, defined FROM plainjobs.worker WHERE defined <> ''`
	updateDefined  = `UPDATE plainjobs.worker SET defined = $2::text WHERE id = $1::bigint`
	deleteWorker   = `DELETE FROM plainjobs.worker WHERE id = $1::bigint RETURNING jobs, defined`

	upsertSettings = `
		INSERT INTO plainjobs.job_setting AS s (name, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes,
			drop_done, drop_failed, differ, override, keep_bytes)
		SELECT v.name, v.max_running, v.rate, v.per, v.keep_done, v.keep_failed, v.keep_rows, v.max_crashes,
			v.drop_done <> 0, v.drop_failed <> 0, v.differ <> 0, v.override, v.keep_bytes
		FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[],
			$7::text::bigint[], $8::text::bigint[], $9::text::bigint[], $10::text::bigint[], $11::text::bigint[], $12::text::text[], $13::text::bigint[])
			AS v(name, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes, drop_done, drop_failed, differ, override, keep_bytes)
		ORDER BY v.name COLLATE "C"
		ON CONFLICT (name) DO UPDATE SET max_running = excluded.max_running, rate = excluded.rate, per = excluded.per,
			keep_done = excluded.keep_done, keep_failed = excluded.keep_failed, keep_rows = excluded.keep_rows,
			max_crashes = excluded.max_crashes, drop_done = excluded.drop_done, drop_failed = excluded.drop_failed,
			differ = excluded.differ, override = excluded.override, keep_bytes = excluded.keep_bytes`
)

// Set implements [backend.SettingsStore].
func (b *Backend) Set(ctx context.Context, worker int64, all []backend.Settings) (instead []backend.Settings, err error) {
	if err := check.Settings(all); err != nil {
		return nil, fmt.Errorf("postgres: set: %w", err)
	}
	if worker == 0 && len(all) == 0 {
		return nil, nil
	}
	err = b.write(ctx, "set", false, func(t *tx) error {
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
			if _, err := t.exec(updateDefined, worker, jsonrow.SettingsText(all)); err != nil {
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
	if _, err := t.exec(lockSettingsVersion); err != nil {
		return nil, err
	}
	all := settings{}
	return all, t.each(selectSettings, nil, all.scan)
}

// redefine computes the settings of names again, and returns all. Those that no worker knows become
// what orphans has for them, unless it is nil.
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
		now := stored[name]
		s, differ, known := lifecycle.Defined(name, definers, t.b.opts.History)
		switch {
		case known:
		case orphans != nil:
			s = orphans[name]
		default:
			s = now.defined()
		}
		s.Name = ""
		if now.defined() == s && now.differ == differ {
			continue
		}
		next := now
		next.define(s, differ)
		stored[name], changed[name] = next, next
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
	names := sqlstore.Sorted(changed)
	overrides, sizes := make([]string, len(names)), make([]int64, len(names))
	var columns [10][]int64
	for i, name := range names {
		s := changed[name]
		if s.override != nil {
			overrides[i] = s.override.Text()
		}
		sizes[i] = s.History.Bytes
		for c, v := range []int64{int64(s.MaxRunning), int64(s.Rate), int64(s.Per), int64(s.History.Done), int64(s.History.Failed),
			int64(s.History.Rows), int64(s.MaxCrashes), bit(s.History.DropDone), bit(s.History.DropFailed), bit(s.differ)} {
			columns[c] = append(columns[c], v)
		}
	}
	args := []any{textArray(names)}
	for _, c := range columns {
		args = append(args, intArray(c))
	}
	if _, err := t.exec(upsertSettings, append(args, textArray(overrides), intArray(sizes))...); err != nil {
		return err
	}
	return t.settingsChanged()
}

func bit(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// removeWorker deletes a worker's row, and what the worker defines.
func (t *tx) removeWorker(worker int64) error {
	jobs, defined := "", ""
	err := t.each(deleteWorker, []any{worker}, func(r *sql.Rows) error { return r.Scan(&jobs, &defined) })
	if err != nil || defined == "" {
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
	if err := check.Override(o); err != nil {
		return fmt.Errorf("postgres: override: %w", err)
	}
	return b.write(ctx, "override", b.durable(), func(t *tx) error {
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

// concurrency returns what overrides say of the concurrency of names, if the settings have the
// version.
func (t *tx) concurrency(version string) (of map[string]int, err error) {
	all, err := t.settingsOf(version)
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
