package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// A store has what a queue is carried by.
type store interface {
	backend.Backend
	backend.Reader
	backend.SettingsStore
	backend.Scheduler
	backend.Operator
	backend.ExportImporter
	io.Closer
}

func openFile(t *testing.T, path string) store {
	t.Helper()
	b, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newStores are an empty store of each kind that needs no server.
var newStores = map[string]func(t *testing.T) store{
	"memory": func(*testing.T) store { return memory.New(nil) },
	"sqlite": func(t *testing.T) store { return openFile(t, filepath.Join(t.TempDir(), "queue.db")) },
}

func newStore(t *testing.T, kind string) (*plainjobs.Queue, store) {
	t.Helper()
	s := newStores[kind](t)
	q := plainjobs.New(s, nil)
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q, s
}

// fill stores jobs in each state with all that a job can have, settings, pauses,
// and schedules. It returns the worker that runs two.
func fill(ctx context.Context, b store) (backend.Worker, error) {
	w := backend.Worker{ID: 7, Host: "mill", PID: 1, Lease: time.Hour}
	var errs []error
	push := func(n int, j backend.NewJob) {
		for i := range n {
			if j.MaxAttempts = 5; j.Payload == nil {
				j.Payload = fmt.Appendf(nil, `{"n": %d, "<&>": "\u00fc  %s"}`, i, strings.Repeat("x", i%70))
			}
			_, err := b.Push(ctx, []backend.NewJob{j})
			errs = append(errs, err)
		}
	}
	claim := func(name string, n int) []backend.Job {
		jobs, err := b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{name}, Limit: n})
		errs = append(errs, err)
		return jobs
	}
	push(5, backend.NewJob{Name: "binary", Payload: []byte{0, 0xff, '\n', '"', 0x80}, Metadata: []byte{0xfe}, Priority: -3})
	push(5, backend.NewJob{Name: "text", Payload: []byte(" {\"a\" : 1}\n\u2028 <b>&"), Metadata: []byte(`{"trace":"é"}`)})
	push(30, backend.NewJob{Name: "later", Delay: time.Hour, Expires: 90 * time.Minute})
	push(4, backend.NewJob{Name: "serial", Serial: "k"})
	push(2, backend.NewJob{Name: "serial", Serial: "l"})
	push(700, backend.NewJob{Name: "done"})
	for i, j := range claim("done", 600) {
		_, err := b.Complete(ctx, []backend.Completion{{Lease: j.Lease, Result: [][]byte{nil, {}, []byte(`"r"`), {0xff}}[i%4]}})
		errs = append(errs, err)
	}
	push(40, backend.NewJob{Name: "fails"})
	for i, j := range claim("fails", 40) {
		ending := []backend.Ending{backend.EndRetry, backend.EndFailed, backend.EndCancelled, backend.EndSnooze}[i%4]
		_, err := b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: ending, Delay: time.Hour, Error: "dial: \"refused\"\n\tü", Stack: "main.go:7"}})
		errs = append(errs, err)
	}
	for i, u := range []backend.Unique{{Key: "a"}, {Key: "b", Scope: backend.UntilStarted}, {Key: "c", For: time.Hour}, {Key: "d", For: time.Hour}} {
		push(1, backend.NewJob{Name: "unique", Unique: u})
		if i == 2 {
			for _, j := range claim("unique", 3) {
				_, err := b.Complete(ctx, []backend.Completion{{Lease: j.Lease}})
				errs = append(errs, err)
			}
		}
	}
	page, err := b.List(ctx, backend.ListRequest{Filter: backend.Filter{Key: "d"}})
	errs = append(errs, err)
	for _, j := range page.Jobs {
		_, err := b.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{IDs: []int64{j.ID}}})
		errs = append(errs, err)
	}
	push(2, backend.NewJob{Name: "runs"})
	claim("runs", 2)
	now := time.Now().Truncate(time.Microsecond).UTC()
	_, err = b.Import(ctx, backend.Batch{Schedules: []backend.Schedule{
		{Name: "nightly", Definition: "d|0 3 * * *", Next: now.Add(time.Hour), Last: now.Add(-23 * time.Hour)},
		{Name: "paused", Definition: "e", Next: now.Add(time.Minute), Paused: true},
	}, Stored: []backend.StoredSchedule{{
		Name: "stored", Definition: "done|0 3 * * *||1|0", Next: now.Add(time.Hour), Last: now.Add(-time.Hour), Look: now.Add(time.Hour), Paused: true, Runs: []int64{3, 2},
		Job: backend.NewJob{
			Name: "done", Payload: []byte{0, 0xff}, Priority: -2, MaxAttempts: 3, Delay: time.Minute, Expires: time.Hour, Serial: "s", MaxPending: 7,
			Unique: backend.Unique{Key: "k", Scope: backend.UntilStarted, For: time.Minute, Conflict: backend.Reject}, Metadata: []byte(`{"a":"b"}`),
		},
	}}})
	_, notSet := b.Set(ctx, 0, []backend.Settings{{Name: "done", MaxRunning: 4, MaxCrashes: -1, History: backend.History{Rows: 5000, Bytes: 1 << 40, DropDone: true}}, {Name: "fails", Rate: 3, Per: time.Minute}})
	return w, errors.Join(append(errs, err, notSet,
		b.Override(ctx, backend.Override{Settings: backend.Settings{Name: "done", MaxRunning: -1, Rate: 8, Per: time.Second}, Concurrency: 2, By: "ann"}, false),
		b.Pause(ctx, "fails", true),
		b.Pause(ctx, "never-pushed", true),
	)...)
}

func filled(t *testing.T, kind string) (*plainjobs.Queue, store, backend.Worker) {
	t.Helper()
	q, s := newStore(t, kind)
	w, err := fill(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return q, s, w
}

func export(t *testing.T, q *plainjobs.Queue, filter plainjobs.Filter) ([]byte, plainjobs.Transfer) {
	t.Helper()
	var b bytes.Buffer
	done, err := q.Export(t.Context(), &b, filter)
	if err != nil {
		t.Fatal(err)
	}
	if n := int64(bytes.Count(b.Bytes(), []byte("\n"))); n != 2+done.Jobs+done.Schedules+done.Settings {
		t.Fatalf("Export wrote %d lines and says %+v", n, done)
	}
	return b.Bytes(), done
}

// content returns what is stored, as text: all that is carried.
func content(t *testing.T, q *plainjobs.Queue) string {
	t.Helper()
	text, _ := export(t, q, plainjobs.Filter{})
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		if cut := strings.LastIndex(lines[i], `,"crc":`); cut > 0 {
			lines[i] = lines[i][:cut]
		}
	}
	return strings.Join(lines[1:len(lines)-2], "\n") // without what tells when
}

// A stream is a reader that cannot be read twice.
type stream struct{ io.Reader }

// What is exported and imported is the same, in whatever store.
func TestExportImport(t *testing.T) {
	for from := range newStores {
		for to := range newStores {
			t.Run(from+" to "+to, func(t *testing.T) {
				q, b, w := filled(t, from)
				beat, err := b.(backend.Heartbeater).Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: w, Leave: true})
				if err != nil || len(beat.Leases) != 2 {
					t.Fatalf("Beat = %v, %v", beat, err)
				}
				text, exported := export(t, q, plainjobs.Filter{})
				other, _ := newStore(t, to)
				for i, r := range []io.Reader{bytes.NewReader(text), stream{bytes.NewReader(text)}} {
					got, err := other.Import(t.Context(), r)
					if err != nil {
						t.Fatal(err)
					}
					want := exported
					if i > 0 {
						want.Present = want.Jobs
					}
					if !reflect.DeepEqual(shown(got), shown(want)) {
						t.Errorf("Import = %+v, want %+v", shown(got), shown(want))
					}
					if got, want := content(t, other), content(t, q); got != want {
						t.Fatalf("it was\n%s\nand is\n%s", want, got)
					}
				}
				id, err := other.Perform(t.Context(), testJob.With(order{}))
				if err != nil {
					t.Fatal(err)
				}
				if last, err := q.Perform(t.Context(), testJob.With(order{})); err != nil || id != last {
					t.Errorf("the next ID is %d, want %d (%v)", id, last, err)
				}
			})
		}
	}
}

// shown returns the exported part of t.
func shown(t plainjobs.Transfer) string {
	return fmt.Sprint(t.Jobs, t.Counts, t.Schedules, t.Settings, t.Present, t.Superseded, t.Pruned, t.Sum)
}

func TestExportFilter(t *testing.T) {
	q, _, _ := filled(t, "memory")
	for what, test := range map[string]struct {
		filter plainjobs.Filter
		jobs   int64
	}{
		"name":  {plainjobs.Filter{Names: []string{"fails"}}, 40},
		"state": {plainjobs.Filter{Names: []string{"fails"}, States: []plainjobs.State{plainjobs.Failed}}, 10},
		"IDs":   {plainjobs.Filter{IDs: []int64{1, 5, 99999}}, 2},
		"none":  {plainjobs.Filter{IDs: []int64{}}, 0},
		"key":   {plainjobs.Filter{Key: "k"}, 4},
		"error": {plainjobs.Filter{Error: "refused"}, 40},
		"since": {plainjobs.Filter{Since: time.Now().Add(time.Hour)}, 0},
		"until": {plainjobs.Filter{Until: time.Now().Add(time.Hour), States: []plainjobs.State{plainjobs.Running}}, 2},
	} {
		_, done := export(t, q, test.filter)
		if done.Jobs != test.jobs || done.Schedules+done.Settings != 0 {
			t.Errorf("%s: Export says %+v, want %d jobs", what, done, test.jobs)
		}
	}
	if _, err := q.Export(t.Context(), io.Discard, plainjobs.Filter{States: []plainjobs.State{99}}); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("Export with an unknown state = %v", err)
	}
	// A part is imported like the whole.
	text, _ := export(t, q, plainjobs.Filter{Names: []string{"serial"}, States: []plainjobs.State{plainjobs.Blocked}})
	to, b := newStore(t, "memory")
	if _, err := to.Import(t.Context(), bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	counts, err := b.Count(t.Context())
	if want := []backend.Count{{Name: "serial", State: backend.Blocked, Jobs: 2}, {Name: "serial", State: backend.Pending, Jobs: 2}}; err != nil || !reflect.DeepEqual(counts, want) {
		t.Errorf("of blocked jobs alone there are %v, %v", counts, err)
	}
}

// Damage anywhere is found, named by its line, and nothing is stored of what
// can be looked at before; of a stream, only whole batches before it.
func TestImportDamaged(t *testing.T) {
	q, _, _ := filled(t, "memory")
	text, _ := export(t, q, plainjobs.Filter{})
	lines := bytes.SplitAfter(text, []byte("\n"))
	lineOf := func(at int) int { return 1 + bytes.Count(text[:at], []byte("\n")) }
	for at := 0; at < len(text); at += 1 + len(text)/40 {
		flipped := bytes.Clone(text)
		flipped[at] ^= 0x01
		line := lineOf(at)
		if text[at] == '\n' {
			continue // two lines become one
		}
		for what, damaged := range map[string][]byte{"a flipped bit": flipped, "a cut": text[:at]} {
			to, b := newStore(t, "memory")
			_, err := to.Import(t.Context(), bytes.NewReader(damaged))
			if want := fmt.Sprintf("line %d: ", line); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Fatalf("%s at byte %d: Import = %v, want %q", what, at, err, want)
			}
			if counts, err := b.Count(t.Context()); err != nil || len(counts) != 0 {
				t.Fatalf("%s at byte %d: the refused import has stored %v, %v", what, at, counts, err)
			}
			_, err = to.Import(t.Context(), stream{bytes.NewReader(damaged)})
			if want := fmt.Sprintf("line %d: ", line); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Fatalf("%s at byte %d: Import of a stream = %v, want %q", what, at, err, want)
			}
			// What is right goes on from there.
			if _, err := to.Import(t.Context(), stream{bytes.NewReader(text)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	without := func(n int) []byte { return bytes.Join(append(append([][]byte{}, lines[:n]...), lines[n+1:]...), nil) }
	for what, test := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":            {nil, "line 1: it is missing"},
		"no header":          {without(0), "line 1: it is no header"},
		"a line less":        {without(20), fmt.Sprintf("line %d: it counts", len(lines)-2)},
		"lines twice":        {append(bytes.Clone(text), text...), fmt.Sprintf("line %d: it comes after the end", len(lines))},
		"something else":     {[]byte("%PDF-1.7 and some more that is no export\n"), "no export of plainjobs"},
		"a file of zeros":    {make([]byte, 5000), "line 1: "},
		"no end of the last": {text[:len(text)-1], fmt.Sprintf("line %d: it has no end", len(lines)-1)},
	} {
		to, _ := newStore(t, "memory")
		if _, err := to.Import(t.Context(), bytes.NewReader(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Import = %v, want %q", what, err, test.want)
		}
	}
}

// Another job with an ID is no place for an import.
func TestImportOver(t *testing.T) {
	q, _, _ := filled(t, "memory")
	text, _ := export(t, q, plainjobs.Filter{})
	for kind := range newStores {
		to, b := newStore(t, kind)
		if _, err := to.Perform(t.Context(), testJob.With(order{})); err != nil {
			t.Fatal(err)
		}
		_, err := to.Import(t.Context(), bytes.NewReader(text))
		if !errors.Is(err, plainjobs.ErrDuplicate) || !strings.Contains(err.Error(), "job 1 of the store is another one, test/order") {
			t.Errorf("%s: Import = %v", kind, err)
		}
		if counts, err := b.Count(t.Context()); err != nil || len(counts) != 1 {
			t.Errorf("%s: the refused import has stored %v, %v", kind, counts, err)
		}
	}
}

// A reader or writer that fails, and a context that ends, end it.
func TestTransferEnds(t *testing.T) {
	q, _, _ := filled(t, "memory")
	r, w := io.Pipe()
	broken := errors.New("the disk is full")
	r.CloseWithError(broken)
	if _, err := q.Export(t.Context(), w, plainjobs.Filter{}); !errors.Is(err, broken) {
		t.Errorf("Export to a broken pipe = %v", err)
	}
	if _, err := q.Import(t.Context(), r); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Import from a closed pipe = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Export(ctx, io.Discard, plainjobs.Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Export = %v", err)
	}
	text, _ := export(t, q, plainjobs.Filter{})
	if _, err := q.Import(ctx, bytes.NewReader(text)); !errors.Is(err, context.Canceled) {
		t.Errorf("Import = %v", err)
	}
	bare := plainjobs.New(struct{ backend.Backend }{memory.New(nil)}, nil)
	if _, err := bare.Export(t.Context(), io.Discard, plainjobs.Filter{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Export of a store that cannot = %v", err)
	}
	if _, err := bare.Import(t.Context(), bytes.NewReader(text)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Import into a store that cannot = %v", err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"plainjobs":{"version":1,"exported_at":"2026-03-28T12:00:00Z","last_id":0},"crc":"00000000"}` + "\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		q := plainjobs.New(memory.New(nil), nil)
		if _, err := q.Import(t.Context(), bytes.NewReader(text)); err == nil {
			t.Errorf("%q was imported", text)
		}
	})
}
