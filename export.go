package plainjobs

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// Export writes the jobs that match the filter to w as lines of JSON, for
// [Queue.Import]: each one whole, payload bytes and all, lowest ID first. With
// the zero filter, which matches every job, it also writes the limits, pauses
// and schedules, and the unique keys that outlive their jobs.
//
// The queue may be at work meanwhile, and each job that stays is written once,
// as it is at that moment; those pushed after the beginning are left out. For
// an export that is of one time pause the queue first. What is written before
// an error is refused by Import, as its end is missing.
func (q *Queue) Export(ctx context.Context, w io.Writer, filter Filter) (Transfer, error) {
	e := &exporter{q: q, filter: filter, buffer: bufio.NewWriter(w), hash: sha256.New()}
	err := filter.check()
	if err == nil {
		e.store, err = capability[backend.Exporter](q, "export")
	}
	if err == nil {
		err = e.run(ctx)
	}
	if err == nil {
		err = e.buffer.Flush()
	}
	e.done.count()
	if err != nil && !strings.HasPrefix(err.Error(), "plainjobs: ") {
		err = fmt.Errorf("plainjobs: export: %w", err)
	}
	return e.done, err
}

// An exporter writes an export.
type exporter struct {
	q      *Queue
	store  backend.Exporter
	filter Filter
	buffer *bufio.Writer
	hash   hash.Hash
	done   Transfer
}

func (e *exporter) run(ctx context.Context) error {
	start, err := e.store.Export(ctx, backend.ExportRequest{})
	if err != nil {
		return err
	}
	all := e.filter.stored().All()
	header := headerLine{Version: formatVersion, ExportedAt: e.q.engine.Now().UTC()}
	if s, ok := e.q.engine.Backend.(backend.Scheduler); ok { // which tells the store's clock
		all, err := s.Schedules(ctx)
		if err != nil {
			return err
		}
		header.ExportedAt = all.Now.UTC()
	}
	if d, ok := e.q.engine.Backend.(backend.Describer); ok {
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
	if err == nil {
		err = e.jobs(ctx, start.LastID)
	}
	if err == nil && all {
		err = errors.Join(e.keys(ctx), e.schedules(ctx))
	}
	if err != nil {
		return err
	}
	e.done.Sum = hex.EncodeToString(e.hash.Sum(nil))
	return e.write(line{End: &endLine{e.done.Jobs, e.done.Keys, e.done.Schedules, e.done.Settings, e.done.Sum}})
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
		page, err := e.store.Export(ctx, backend.ExportRequest{After: after, Jobs: backend.MaxBatch})
		if err != nil || len(page.Jobs) == 0 {
			return err
		}
		for i := range page.Jobs {
			r := &page.Jobs[i]
			if after = r.ID; after > last {
				return nil
			}
			if !e.filter.matches(r) {
				continue
			}
			e.done.add(r)
			if err := e.write(line{Job: lineOfRecord(r)}); err != nil {
				return err
			}
		}
	}
}

// matches reports whether f selects a job.
func (f *Filter) matches(r *backend.Record) bool {
	at := r.FinishedAt
	if at.IsZero() {
		at = r.CreatedAt
	}
	lastError := ""
	if n := len(r.Errors); n > 0 {
		lastError = r.Errors[n-1].Error
	}
	return (f.IDs == nil || slices.Contains(f.IDs, r.ID)) &&
		r.Name == cmp.Or(f.Name, r.Name) && r.State == cmp.Or(f.State, r.State) &&
		(f.Key == "" || f.Key == r.UniqueKey || f.Key == r.SerialKey) &&
		strings.Contains(lastError, f.Error) &&
		(f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until))
}

func (e *exporter) settings(ctx context.Context) error {
	names, err := settingsOf(ctx, e.q)
	for i := range names {
		if err == nil {
			err = e.write(line{Setting: lineOfSetting(&names[i])})
			e.done.Settings++
		}
	}
	return err
}

// settingsOf returns the names that are paused or have settings, if the store
// keeps such.
func settingsOf(ctx context.Context, q *Queue) ([]NameInfo, error) {
	names, err := q.Names(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	return slices.DeleteFunc(names, func(n NameInfo) bool {
		return !n.Paused && n.Settings == (backend.Settings{Name: n.Name})
	}), err
}

func (e *exporter) keys(ctx context.Context) error {
	for after := (backend.KeptKey{}); ; {
		page, err := e.store.Export(ctx, backend.ExportRequest{AfterKey: after, Keys: backend.MaxBatch})
		if err != nil || len(page.Keys) == 0 {
			return err
		}
		for _, k := range page.Keys {
			e.done.Keys++
			if err := e.write(line{Key: (*keyLine)(&k)}); err != nil {
				return err
			}
		}
		after = page.Keys[len(page.Keys)-1]
	}
}

func (e *exporter) schedules(ctx context.Context) error {
	all, err := schedulesOf(ctx, e.q)
	for i := range all {
		if err == nil {
			err = e.write(line{Schedule: lineOfSchedule(&all[i])})
			e.done.Schedules++
		}
	}
	return err
}

// schedulesOf returns the schedules, if the store keeps such.
func schedulesOf(ctx context.Context, q *Queue) ([]backend.Schedule, error) {
	s, ok := q.engine.Backend.(backend.Scheduler)
	if !ok {
		return nil, nil
	}
	all, err := s.Schedules(ctx)
	return all.Schedules, err
}
