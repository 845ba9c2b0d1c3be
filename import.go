package plainjobs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/plainjobs/plainjobs/backend"
)

// Import stores what [Queue.Export] has written, under the IDs it had. Jobs
// that ran wait again. A job that is there already is left as it is, whatever
// became of it; if another job has its ID, Import ends with an error that
// matches [ErrDuplicate]: it is for a queue that is empty, or has been in the
// export. Pauses come with the rest, so one of the whole queue is to be ended
// by Resume.
//
// A line that is damaged, and an end that is missing, are errors that name the
// line. If r is an [io.Seeker], as a file is, it is read through before anything
// is stored. Otherwise, and if the store fails, the jobs before are stored,
// some hundreds at a time, and calling Import again with the same lines goes
// on; let no workers run until it is done, as a job that has run, and whose
// history is not kept, would be stored again.
func (q *Queue) Import(ctx context.Context, r io.Reader) (Transfer, error) {
	store, err := capability[backend.Importer](q, "import")
	if err != nil {
		return Transfer{}, err
	}
	if s, ok := r.(io.Seeker); ok {
		if start, err := s.Seek(0, io.SeekCurrent); err == nil {
			i := newImporter(q, nil, r)
			if err := i.run(ctx); err != nil {
				return Transfer{}, fmt.Errorf("plainjobs: import: %w; nothing was stored", err)
			}
			if _, err := s.Seek(start, io.SeekStart); err != nil {
				return Transfer{}, fmt.Errorf("plainjobs: import: %w", err)
			}
		}
	}
	i := newImporter(q, store, r)
	err = i.run(ctx)
	i.done.count()
	if err != nil {
		err = fmt.Errorf("plainjobs: import: %w", err)
	}
	return i.done, err
}

// The bounds of a batch.
const (
	batchJobs  = 500
	batchBytes = 4 << 20
)

// An importer reads an export.
type importer struct {
	q     *Queue
	store backend.Importer // nil: it only looks
	lines lineReader

	header   *headerLine
	settings []settingLine
	batch    backend.Batch
	bytes    int
	first    int   // line of the batch
	lastID   int64 // of the job before
	done     Transfer
}

func newImporter(q *Queue, store backend.Importer, r io.Reader) *importer {
	return &importer{q: q, store: store, lines: lineReader{r: bufio.NewReaderSize(r, 64<<10), hash: sha256.New()}}
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
		if len(i.batch.Jobs) >= batchJobs || i.bytes >= batchBytes || max(len(i.batch.Keys), len(i.batch.Schedules)) >= batchJobs {
			if err := i.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// fault returns an error that names the line read last.
func (i *importer) fault(format string, args ...any) error { return i.lines.fault(format, args...) }

// take adds a line to the batch, and returns whether it is the last one.
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
		i.done.Keys++
		k := backend.KeptKey(*l.Key)
		k.Until = k.Until.UTC()
		i.batch.Keys = append(i.batch.Keys, k)
		return false, i.check(backend.Batch{Keys: []backend.KeptKey{k}})
	case l.Schedule != nil:
		i.done.Schedules++
		s := l.Schedule.schedule()
		i.batch.Schedules = append(i.batch.Schedules, s)
		return false, i.check(backend.Batch{Schedules: []backend.Schedule{s}})
	case l.Setting != nil:
		i.done.Settings++
		i.settings = append(i.settings, *l.Setting)
		if l.Setting.Name == "" && *l.Setting == (settingLine{Paused: true}) {
			return false, nil // a pause of the whole queue
		}
		if err := backend.CheckSettings([]backend.Settings{l.Setting.settings()}); err != nil {
			return false, i.fault("%w", err)
		}
		return false, nil
	case l.End != nil:
		i.done.Sum = i.lines.sum
		if want := (endLine{i.done.Jobs, i.done.Keys, i.done.Schedules, i.done.Settings, i.done.Sum}); *l.End != want {
			return false, i.fault("it counts %d jobs, %d keys, %d schedules and %d settings, and there are %d, %d, %d and %d, "+
				"or the checksum is another: lines are missing or were changed",
				l.End.Jobs, l.End.Keys, l.End.Schedules, l.End.Settings, want.Jobs, want.Keys, want.Schedules, want.Settings)
		}
		return true, nil
	}
	return false, i.fault("it is neither a job nor anything else that is known")
}

// check has the contract look at what a line says.
func (i *importer) check(b backend.Batch) error {
	if err := backend.CheckBatch(b); err != nil {
		return i.fault("%w", err)
	}
	return nil
}

// flush stores the batch.
func (i *importer) flush(ctx context.Context) error {
	if i.store == nil {
		i.batch = backend.Batch{}
	} else {
		if err := applySettings(ctx, i.q, i.settings); err != nil {
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

// applySettings sets what is set for names, and pauses those that are paused.
func applySettings(ctx context.Context, q *Queue, all []settingLine) error {
	if len(all) == 0 {
		return nil
	}
	setter, ok := q.engine.Backend.(backend.Setter)
	if !ok {
		return fmt.Errorf("settings: %w by %T", errors.ErrUnsupported, q.engine.Backend)
	}
	var settings []backend.Settings
	for _, s := range all {
		if s.Name != "" {
			settings = append(settings, s.settings())
		}
	}
	if err := setter.Set(ctx, settings); err != nil {
		return err
	}
	for _, s := range all {
		if s.Paused {
			if err := setter.Pause(ctx, s.Name, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxLine bounds a line: a payload may be large, and what is no export, too.
const maxLine = 1 << 30

// A lineReader reads lines that end with their checksum.
type lineReader struct {
	r      *bufio.Reader
	hash   hash.Hash // of all lines before
	sum    string    // of the lines before the one read last
	number int       // of the line read last, from 1
	length int
}

func (l *lineReader) fault(format string, args ...any) error {
	return &lineError{l.number, fmt.Errorf(format, args...)}
}

// A lineError says what is wrong with a line.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string        { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error        { return e.err }
func (e *lineError) Is(target error) bool { return target == backend.ErrInvalid }

// next reads a line.
func (l *lineReader) next() (*line, error) {
	l.number++
	var text []byte
	for {
		part, err := l.r.ReadSlice('\n')
		text = append(text, part...)
		if err == nil {
			break
		}
		if len(text) > maxLine {
			return nil, l.fault("it is longer than %d bytes", maxLine)
		}
		if errors.Is(err, io.EOF) {
			if len(text) == 0 {
				return nil, l.fault("it is missing: the export was cut short before its end")
			}
			return nil, l.fault("it has no end: the export was cut short")
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("line %d: %w", l.number, err) // of reading
		}
	}
	l.length, l.sum = len(text), hex.EncodeToString(l.hash.Sum(nil))
	l.hash.Write(text)
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) < sumLength {
		return nil, l.fault("it is too short")
	}
	body, sum := text[:len(text)-sumLength], text[len(text)-sumLength:]
	if string(sum) != fmt.Sprintf(sumFormat, crc32.Checksum(body, castagnoli)) {
		return nil, l.fault("its checksum is another: it was damaged, or changed, or this is no export of plainjobs")
	}
	d := json.NewDecoder(io.MultiReader(bytes.NewReader(body), bytes.NewReader([]byte("}"))))
	d.DisallowUnknownFields()
	var decoded line
	if err := d.Decode(&decoded); err != nil {
		return nil, l.fault("%w", err)
	}
	return &decoded, nil
}

// over returns an error if there is more after the last line.
func (l *lineReader) over() error {
	l.number++
	if _, err := l.r.ReadByte(); !errors.Is(err, io.EOF) {
		return l.fault("it comes after the end")
	}
	return nil
}
