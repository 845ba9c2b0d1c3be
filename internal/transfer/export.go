package transfer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Export writes the jobs of a store that match the filter to w, and the settings, groups and
// schedules if the filter matches every job. now is the time in the header if the store
// does not return its own.
func Export(ctx context.Context, b backend.Backend, w io.Writer, filter backend.Filter, now time.Time) (Summary, error) {
	e := &exporter{backend: b, filter: filter, now: now, buffer: bufio.NewWriter(w), hash: sha256.New()}
	var err error
	if slices.ContainsFunc(filter.States, func(s backend.State) bool { return !slices.Contains(backend.States(), s) }) {
		err = fmt.Errorf("%w: unknown state among %v", backend.ErrInvalid, filter.States)
	}
	if err == nil {
		e.store, err = engine.Capability[backend.ExportImporter](b)
	}
	if err == nil {
		err = e.run(ctx)
	}
	if err == nil {
		err = e.buffer.Flush()
	}
	return e.done.summary(), err
}

// An exporter holds the state of one Export.
type exporter struct {
	backend backend.Backend
	store   backend.ExportImporter
	filter  backend.Filter
	now     time.Time
	buffer  *bufio.Writer
	hash    hash.Hash
	done    tally
}

func (e *exporter) run(ctx context.Context) error {
	start, err := e.store.Export(ctx, backend.ExportRequest{})
	if err != nil {
		return err
	}
	all := engine.SelectsAll(e.filter)
	header := headerLine{Version: formatVersion, ExportedAt: e.now.UTC()}
	if s, ok := e.backend.(backend.Scheduler); ok { // which tells the store's clock
		all, err := s.Schedules(ctx)
		if err != nil {
			return err
		}
		header.ExportedAt = all.Now.UTC()
	}
	if d, ok := e.backend.(backend.Describer); ok {
		header.Store = d.Describe().Store
	}
	if all {
		header.LastID = start.LastID
	}
	if err := e.write(line{Header: &header}); err != nil {
		return err
	}
	if all {
		err = e.settings(ctx)
	}
	if err == nil && all { // before their jobs
		err = e.groups(ctx)
	}
	if err == nil {
		err = e.jobs(ctx, start.LastID)
	}
	if err == nil && all {
		err = e.schedules(ctx)
	}
	if err == nil && all {
		err = e.signals(ctx)
	}
	if err != nil {
		return err
	}
	e.done.Sum = hex.EncodeToString(e.hash.Sum(nil))
	return e.write(line{End: &endLine{Jobs: e.done.Jobs, Schedules: e.done.Schedules, Settings: e.done.Settings, Groups: e.done.Groups, Signals: e.done.Signals, Sum: e.done.Sum}})
}

func (e *exporter) write(l line) error {
	text, err := l.encode()
	if err == nil {
		_, err = e.buffer.Write(text)
		e.hash.Write(text)
	}
	return err
}

func (e *exporter) jobs(ctx context.Context, last int64) error {
	for after := int64(0); ; {
		page, err := e.store.Export(ctx, backend.ExportRequest{After: after, Jobs: check.MaxBatch})
		if err != nil || len(page.Jobs) == 0 {
			return err
		}
		for i := range page.Jobs {
			r := &page.Jobs[i]
			if after = r.ID; after > last {
				return nil
			}
			if !lifecycle.Matches(e.filter, &r.Info) {
				continue
			}
			e.done.add(r)
			if err := e.write(line{Job: lineOfRecord(r)}); err != nil {
				return err
			}
		}
	}
}

func (e *exporter) settings(ctx context.Context) error {
	names, err := settingsOf(ctx, e.backend)
	for i := range names {
		if err == nil {
			err = e.write(line{Setting: lineOfSetting(&names[i])})
			e.done.Settings++
		}
	}
	return err
}

// settingsOf returns the names that are paused or have settings. It returns none if the
// store keeps no settings.
func settingsOf(ctx context.Context, b backend.Backend) ([]backend.NameInfo, error) {
	store, ok := b.(backend.SettingsStore)
	if !ok {
		return nil, nil
	}
	names, err := store.Names(ctx)
	return slices.DeleteFunc(names, func(n backend.NameInfo) bool {
		return !n.Paused && n.Override.Zero() && n.Defined == (backend.Settings{Name: n.Name})
	}), err
}
