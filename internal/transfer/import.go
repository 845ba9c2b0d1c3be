package transfer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Import stores the lines that Export has written. If r is an [io.Seeker], it
// checks all lines before it stores the first.
func Import(ctx context.Context, b backend.Backend, r io.Reader) (Summary, error) {
	store, err := engine.Capability[backend.ExportImporter](b)
	if err != nil {
		return Summary{}, err
	}
	if s, ok := r.(io.Seeker); ok {
		if start, err := s.Seek(0, io.SeekCurrent); err == nil {
			check := newImporter(b, nil, r)
			if err := check.run(ctx); err != nil {
				return Summary{}, fmt.Errorf("%w; nothing was stored", err)
			}
			if _, err := s.Seek(start, io.SeekStart); err != nil {
				return Summary{}, err
			}
		}
	}
	i := newImporter(b, store, r)
	err = i.run(ctx)
	return i.done.summary(), err
}

// The limits of a batch.
const (
	batchJobs  = 500
	batchBytes = 4 << 20
)

// An importer holds the state of one Import.
type importer struct {
	backend backend.Backend
	store   backend.ExportImporter // nil to check the lines only
	lines   lineReader

	header   *headerLine
	settings []settingLine
	batch    backend.Batch
	bytes    int
	first    int   // line of the batch
	lastID   int64 // of the job before
	lastGate int64 // the ID of the group before
	keys     int64 // lines with keys of deleted jobs, which are free
	done     tally
}

func newImporter(b backend.Backend, store backend.ExportImporter, r io.Reader) *importer {
	return &importer{backend: b, store: store, lines: lineReader{r: bufio.NewReaderSize(r, 64<<10), hash: sha256.New()}}
}

func (i *importer) run(ctx context.Context) error {
	for {
		l, err := i.lines.next()
		if err == nil {
			var end bool
			end, err = i.take(l)
			if err == nil && end {
				if err := i.lines.over(); err != nil {
					return err
				}
				return i.flush(ctx)
			}
		}
		if err != nil {
			return err
		}
		if len(i.batch.Jobs) >= batchJobs || i.bytes >= batchBytes || max(len(i.batch.Schedules), len(i.batch.Stored), len(i.batch.Gates), len(i.batch.Signals)) >= batchJobs {
			if err := i.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// fault returns an error that names the line read last.
func (i *importer) fault(format string, args ...any) error { return i.lines.fault(format, args...) }

// take adds a line to the batch and reports whether it is the last one.
func (i *importer) take(l *line) (end bool, err error) {
	if i.header == nil {
		if l.Header == nil {
			return false, i.fault("it is no header: this is no export of plainjobs, or its beginning is missing")
		}
		if l.Header.Version != formatVersion {
			return false, i.fault("it says version %d, and this program knows %d; use the program that wrote it, or a newer one",
				l.Header.Version, formatVersion)
		}
		i.header, i.batch.LastID = l.Header, l.Header.LastID
		return false, i.check(backend.Batch{LastID: l.Header.LastID})
	}
	if i.first == 0 {
		i.first = i.lines.number
	}
	i.bytes += i.lines.length
	switch {
	case l.Group != nil:
		if l.Group.ID <= i.lastGate {
			return false, i.fault("group %d comes after group %d", l.Group.ID, i.lastGate)
		}
		i.lastGate = l.Group.ID
		g := l.Group.gate()
		i.done.Groups += groupsIn([]backend.GateInfo{g})
		i.batch.Gates = append(i.batch.Gates, g)
		return false, i.check(backend.Batch{Gates: []backend.GateInfo{g}})
	case l.Signal != nil:
		i.done.Signals++
		s := l.Signal.signal()
		i.batch.Signals = append(i.batch.Signals, s)
		return false, i.check(backend.Batch{Signals: []backend.Signal{s}})
	case l.Job != nil:
		r, err := l.Job.record()
		if err != nil {
			return false, i.fault("%w", err)
		}
		if r.ID <= i.lastID {
			return false, i.fault("job %d comes after job %d", r.ID, i.lastID)
		}
		i.lastID = r.ID
		i.done.add(&r)
		i.batch.Jobs = append(i.batch.Jobs, r)
		return false, i.check(backend.Batch{Jobs: []backend.Record{r}})
	case l.Key != nil:
		i.keys++
		return false, nil
	case l.Schedule != nil:
		i.done.Schedules++
		if l.Schedule.Pushes != nil {
			s := l.Schedule.stored()
			i.batch.Stored = append(i.batch.Stored, s)
			return false, i.check(backend.Batch{Stored: []backend.StoredSchedule{s}})
		}
		s := l.Schedule.schedule()
		i.batch.Schedules = append(i.batch.Schedules, s)
		return false, i.check(backend.Batch{Schedules: []backend.Schedule{s}})
	case l.Setting != nil:
		i.done.Settings++
		i.settings = append(i.settings, *l.Setting)
		if l.Setting.Name == "" && *l.Setting == (settingLine{Paused: true}) {
			return false, nil // a pause of the whole queue
		}
		if err := check.Settings([]backend.Settings{l.Setting.settings()}); err != nil {
			return false, i.fault("%w", err)
		}
		if err := check.Override(l.Setting.override()); err != nil {
			return false, i.fault("%w", err)
		}
		return false, nil
	case l.End != nil:
		i.done.Sum = i.lines.sum
		if want := (endLine{i.done.Jobs, i.keys, i.done.Schedules, i.done.Settings, i.done.Groups, i.done.Signals, i.done.Sum}); *l.End != want {
			return false, i.fault("it counts %d jobs, %d keys, %d schedules, %d settings, %d groups and %d signals, and there are %d, %d, %d, %d, %d and %d, "+
				"or the checksum is another: lines are missing or were changed",
				l.End.Jobs, l.End.Keys, l.End.Schedules, l.End.Settings, l.End.Groups, l.End.Signals, want.Jobs, want.Keys, want.Schedules, want.Settings, want.Groups, want.Signals)
		}
		return true, nil
	}
	return false, i.fault("it is neither a job nor anything else that is known")
}

// check returns what the contract finds wrong with a line.
func (i *importer) check(b backend.Batch) error {
	if err := check.Import(b); err != nil {
		return i.fault("%w", err)
	}
	return nil
}

// flush stores the batch.
func (i *importer) flush(ctx context.Context) error {
	if i.store == nil {
		i.batch = backend.Batch{}
	} else {
		if err := applySettings(ctx, i.backend, i.settings); err != nil {
			return err
		}
		result, err := i.store.Import(ctx, i.batch)
		if err != nil {
			return fmt.Errorf("lines %d to %d: %w", i.first, i.lines.number, err)
		}
		i.done.addResult(result)
		i.batch = backend.Batch{LastID: i.header.LastID}
	}
	i.settings, i.bytes, i.first = nil, 0, 0
	return ctx.Err()
}

// applySettings stores the settings and overrides of names and pauses those that are paused.
func applySettings(ctx context.Context, b backend.Backend, all []settingLine) error {
	if len(all) == 0 {
		return nil
	}
	setter, err := engine.Capability[backend.SettingsStore](b)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	var settings []backend.Settings
	for _, s := range all {
		if s.Name != "" {
			settings = append(settings, s.settings())
		}
	}
	if _, err := setter.Set(ctx, 0, settings); err != nil {
		return err
	}
	for _, s := range all {
		if o := s.override(); !o.Zero() {
			if err := setter.Override(ctx, o, true); err != nil {
				return err
			}
		}
		if s.Paused {
			if err := setter.Pause(ctx, s.Name, true); err != nil {
				return err
			}
		}
	}
	return nil
}
