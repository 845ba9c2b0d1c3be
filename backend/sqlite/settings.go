package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A setting has the settings of a name. Durations are in the units of the table: per
// is in microseconds.
type setting struct {
	backend.Settings // without the name
	paused           bool
}

// settings are the settings of all names that have any. Each transaction that needs
// them reads them: the table is small, usually empty, and another process may have
// changed it.
type settings map[int64]setting

// wholeQueue is the name ID of settings for the whole queue.
const wholeQueue = 0

const selectSettings = `
	SELECT name, paused, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes FROM plainjobs_settings`

func (all *settings) scan(r *sql.Rows) error {
	var name int64
	var s setting
	var maxRunning, rate, per, done, failed int64
	err := r.Scan(&name, &s.paused, &maxRunning, &rate, &per, &done, &failed, &s.History.Rows, &s.MaxCrashes)
	s.MaxRunning, s.Rate, s.Per = int(maxRunning), int(rate), time.Duration(per)*time.Microsecond
	s.History.Done, s.History.Failed = time.Duration(done), time.Duration(failed)
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

// keep returns the retention of jobs of a name in a terminal state.
func (b *Backend) keep(all settings, name int64, s backend.State) time.Duration {
	return lifecycle.Retention(lifecycle.HistoryOf(all[name].Settings, b.history), s)
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
	if err := check.Settings(all); err != nil {
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
					continue // there is nothing to store or to reset
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
		t.wakes = true
		_, err := t.exec(deletePlain)
		return err
	}})
}
