package plainjobs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

type order struct {
	ID    int
	Items []string
}

var (
	testJob  = plainjobs.Declare[order]("test/order", plainjobs.MaxAttempts(7), plainjobs.Priority(3))
	anyJob   = plainjobs.Declare[any]("test/any")
	fileJob  = plainjobs.Declare[string](plainjobs.Filename())
	longName = strings.Repeat("x", 129)
)

var selfCompletedJob = plainjobs.Define("test/completes-itself", func(ctx context.Context, _ int) error {
	return plainjobs.Complete(ctx, new(sql.Tx))
})

func newQueue(t *testing.T, opts *plainjobs.Options) (*plainjobs.Queue, *memory.Backend) {
	t.Helper()
	b := memory.New(nil)
	q := plainjobs.New(b, opts)
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q, b
}

func get(t *testing.T, b backend.Reader, id int64) backend.Info {
	t.Helper()
	info, err := b.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestPerformStoresTheTask(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	id, err := q.Perform(ctx, testJob.With(order{ID: 5, Items: []string{"é"}}))
	if err != nil {
		t.Fatal(err)
	}
	info := get(t, b, id)
	if info.Name != "test/order" || string(info.Payload) != `{"ID":5,"Items":["é"]}` || info.MaxAttempts != 7 || info.Priority != 3 || info.State != backend.Pending {
		t.Errorf("stored %+v", info)
	}
	before := time.Now()
	ids, err := q.PerformMany(ctx,
		testJob.With(order{}, plainjobs.MaxAttempts(1), plainjobs.Priority(-9), plainjobs.In(time.Hour)),
		anyJob.With(nil, plainjobs.At(before.Add(2*time.Hour))),
		anyJob.With(1, plainjobs.At(before.Add(-time.Hour))),
		anyJob.With("x", plainjobs.In(time.Hour), plainjobs.At(before)), // the last one counts
	)
	if err != nil || len(ids) != 4 {
		t.Fatal(ids, err)
	}
	infos := make([]backend.Info, len(ids))
	for i, id := range ids {
		infos[i] = get(t, b, id)
	}
	if i := infos[0]; i.MaxAttempts != 1 || i.Priority != -9 || i.State != backend.Scheduled || !i.RunAt.Equal(i.CreatedAt.Add(time.Hour)) {
		t.Errorf("stored %+v", i)
	}
	if i := infos[1]; i.MaxAttempts != plainjobs.DefaultMaxAttempts || i.State != backend.Scheduled || i.RunAt.Sub(before.Add(2*time.Hour)).Abs() > time.Minute {
		t.Errorf("stored %+v", i)
	}
	if infos[2].State != backend.Pending || infos[3].State != backend.Pending {
		t.Errorf("jobs at a time in the past are %v and %v", infos[2].State, infos[3].State)
	}
}

func TestPerformRefuses(t *testing.T) {
	q, b := newQueue(t, &plainjobs.Options{MaxPayload: 100})
	for want, task := range map[string]plainjobs.Task{
		"make tasks with Job.With":              {},
		"data do not encode":                    anyJob.With(func() {}),
		"unsupported value: NaN":                anyJob.With(math.NaN()),
		"102 bytes, at most 100":                anyJob.With(strings.Repeat("x", 100)),
		"In(-1s) is not within 0 and 100 years": anyJob.With(1, plainjobs.In(-time.Second)),
		"At(the zero time)":                     anyJob.With(1, plainjobs.At(time.Time{})),
		"MaxAttempts(0)":                        anyJob.With(1, plainjobs.MaxAttempts(0)),
		"MaxAttempts(-5)":                       anyJob.With(1, plainjobs.MaxAttempts(-5)),
		"In(2562047h47m16.854775807s)":          anyJob.With(1, plainjobs.In(math.MaxInt64)),
		"plainjobs: perform test/any: payload":  anyJob.With(strings.Repeat("x", 200)),
	} {
		if _, err := q.Perform(t.Context(), task); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Perform = %v, want %q", err, want)
		}
		_, err := q.PerformMany(t.Context(), anyJob.With(1), task)
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "plainjobs: perform test/any: ")) {
			t.Errorf("PerformMany = %v, want %q", err, want)
		}
	}
	if _, err := q.Perform(t.Context(), anyJob.With(strings.Repeat("x", 200))); !errors.Is(err, plainjobs.ErrPayloadTooLarge) {
		t.Errorf("Perform = %v, want ErrPayloadTooLarge", err)
	}
	counts, err := b.Count(t.Context())
	if err != nil || len(counts) != 0 {
		t.Errorf("after refused tasks the store has %v, %v", counts, err)
	}
	if ids, err := q.PerformMany(t.Context()); len(ids) != 0 || err != nil {
		t.Errorf("PerformMany of nothing = %v, %v", ids, err)
	}
}

func TestWhichQueue(t *testing.T) {
	ctx := t.Context()
	// In a test, a job without a queue runs at once if it has a handler, also if it completes
	// itself in a transaction.
	if _, err := plainjobs.Perform(t.Context(), selfCompletedJob.With(1)); err != nil {
		t.Errorf("Perform of a job that completes itself = %v", err)
	}
	_, err := plainjobs.Perform(ctx, anyJob.With(1))
	if err == nil || !strings.Contains(err.Error(), "plainjobs.Handle") || !strings.Contains(err.Error(), "plainjobstest.Inline") {
		t.Errorf("Perform of a declared job without a queue = %v, want an error that says how to bind one", err)
	}
	byDefault, defaultStore := newQueue(t, nil)
	inContext, contextStore := newQueue(t, nil)
	plainjobs.SetDefault(byDefault)
	defer plainjobs.SetDefault(nil)
	if id, err := plainjobs.Perform(ctx, anyJob.With("default")); err != nil || string(get(t, defaultStore, id).Payload) != `"default"` {
		t.Errorf("the default queue does not have the task: %v", err)
	}
	ctx = plainjobs.NewContext(ctx, inContext)
	if id, err := plainjobs.Perform(ctx, anyJob.With("context")); err != nil || string(get(t, contextStore, id).Payload) != `"context"` {
		t.Errorf("the context's queue does not have the task: %v", err)
	}
	if _, ok := plainjobs.FromContext(ctx); ok {
		t.Error("FromContext finds a job in a context that is not a handler's")
	}
}

func TestClosedQueue(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	if err := errors.Join(q.Close(), q.Close()); err != nil {
		t.Error(err)
	}
	if _, err := q.Perform(t.Context(), anyJob.With(1)); !errors.Is(err, backend.ErrClosed) {
		t.Errorf("Perform = %v, want ErrClosed", err)
	}
}

func TestWithTx(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	b, err := modernc.Open(path, &sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q := plainjobs.New(b, nil)
	defer q.Close()
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, commit := range []bool{false, true} {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		one, err := q.WithTx(tx).Perform(t.Context(), anyJob.With(1))
		if err != nil {
			t.Fatal(err)
		}
		more, err := q.WithTx(tx).PerformMany(t.Context(), anyJob.With(2), anyJob.With(3))
		if err != nil || len(more) != 2 {
			t.Fatal(more, err)
		}
		var want error
		if commit {
			err = tx.Commit()
		} else {
			want, err = backend.ErrNotFound, tx.Rollback()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range append(more, one) {
			if _, err := b.Get(t.Context(), id); !errors.Is(err, want) {
				t.Errorf("commit %v: Get = %v, want %v", commit, err, want)
			}
		}
	}

	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	inMemory, _ := newQueue(t, nil)
	if _, err := inMemory.WithTx(tx).Perform(t.Context(), anyJob.With(1)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Perform in a transaction on a store without transactions = %v, want ErrUnsupported", err)
	}
}

// panics returns what f panics with.
func panics(f func()) (message string) {
	defer func() { message = fmt.Sprint(recover()) }()
	f()
	return "nothing"
}

// A small store keeps payloads of at most 1,000 bytes.
type small struct{ *memory.Backend }

func (small) Describe() backend.Description {
	return backend.Description{Store: "small", MaxPayload: 1000}
}

// Names of other libraries can stay: with capitals, with colons, and with an alias that
// differs only in case from the job's own name.
var namedTwice = plainjobs.Declare[int]("named:twice", plainjobs.Aliases("Named:twice"))

func init() { plainjobs.Schedule("nightly:sweep", "@daily", namedTwice.With(1)) }

func TestProgrammerErrorsPanic(t *testing.T) {
	q, _ := newQueue(t, nil)
	run := func(context.Context, string) error { return nil }
	for want, f := range map[string]func(){
		`job "test/order" is defined twice, at `:              func() { plainjobs.Declare[int]("test/order") },
		`names are unique in a program`:                       func() { plainjobs.Define("test/any", run) },
		`job "test/any" is defined twice`:                     func() { plainjobs.Declare[int]("test/free", plainjobs.Aliases("test/any")) },
		`has "test/twice" twice among its names`:              func() { plainjobs.Declare[int]("test/twice", plainjobs.Aliases("test/twice")) },
		`job name ""`:                                         func() { plainjobs.Declare[int]("") },
		`job name ":a"`:                                       func() { plainjobs.Declare[int](":a") },
		`differs only in case from a name of job "test/any"`:  func() { plainjobs.Declare[int]("Test/ANY") },
		`name "Named:Twice" differs only in case from a name`: func() { plainjobs.Declare[int]("test/named", plainjobs.Aliases("Named:Twice")) },
		`schedule name "NIGHTLY:Sweep" differs only in case from "nightly:sweep"`: func() {
			plainjobs.Schedule("NIGHTLY:Sweep", "@daily", namedTwice.With(1))
		},
		`job name "a b"`:                            func() { plainjobs.Declare[int]("a b") },
		`job name "-a"`:                             func() { plainjobs.Declare[int]("-a") },
		`job name "é"`:                              func() { plainjobs.Declare[int]("é") },
		`job name "` + longName:                     func() { plainjobs.Declare[int](longName) },
		`"test/nil" is defined with a nil handler`:  func() { plainjobs.Define[int]("test/nil", nil) },
		`Fixed(-1s) is negative`:                    func() { plainjobs.Fixed(-time.Second) },
		`Exponential(1s, -1s) is negative`:          func() { plainjobs.Exponential(time.Second, -time.Second) },
		`MaxPayload -1, which is negative`:          func() { plainjobs.New(memory.New(nil), &plainjobs.Options{MaxPayload: -1}) },
		`MaxAttempts(0) is not within`:              func() { plainjobs.Declare[int]("test/max", plainjobs.MaxAttempts(0)) },
		`Backoff(nil)`:                              func() { plainjobs.Declare[int]("test/backoff", plainjobs.Backoff(nil)) },
		`Handle with a nil queue, job or handler`:   func() { plainjobs.Handle(nil, fileJob, run) },
		`: Handle with a nil queue, job or handler`: func() { plainjobs.Handle(q, fileJob, nil) },
		`New with a nil backend`:                    func() { plainjobs.New(nil, nil) },
		`New with Options.MaxPayload -1`:            func() { plainjobs.New(memory.New(nil), &plainjobs.Options{MaxPayload: -1}) },
		`carries payloads of 1000 bytes at most`:    func() { plainjobs.New(small{memory.New(nil)}, &plainjobs.Options{MaxPayload: 1001}) },
		`WithTx with a nil transaction`:             func() { q.WithTx(nil) },
		`Subscribe with a nil function`:             func() { q.Subscribe(nil) },
		`With of a nil job`:                         func() { (*plainjobs.Job[string])(nil).With("") },
		`: With of a nil job`:                       func() { (*plainjobs.ResultJob[string, int])(nil).With("") },
		`Await of a nil job`:                        func() { _, _ = (*plainjobs.ResultJob[string, int])(nil).Await(t.Context(), q, 1) },
		`HandleResult with a nil queue, job`:        func() { plainjobs.HandleResult(q, (*plainjobs.ResultJob[int, string])(nil), nil) },
		`HandleResult with a nil queue, job or`:     func() { plainjobs.HandleResult(q, resultJob, nil) },
		`job "life/result" has a result: bind`:      func() { plainjobs.Handle(q, resultJob.Job, func(context.Context, int) error { return nil }) },
	} {
		message := panics(f)
		if !strings.Contains(message, want) || !strings.Contains(message, "plainjobs_test.go:") {
			t.Errorf("panicked with %s; want %q and the place", message, want)
		}
	}
}

func TestFilename(t *testing.T) {
	if fileJob.Name() != "plainjobs" { // plainjobs_test.go
		t.Errorf("Filename() = %q, want %q", fileJob.Name(), "plainjobs")
	}
	for file, want := range map[string]string{
		"/src/jobs/double_opt_in.go": "double-opt-in", "Report.go": "report", "a_test.go": "a", "x.y.go": "x.y",
	} {
		if got := plainjobs.NameOf(file); got != want {
			t.Errorf("the name of %s is %q, want %q", file, got, want)
		}
	}
}

// bare is a store with only the five methods of backend.Backend.
type bare struct{ backend.Backend }

// A closed queue refuses tasks even if its store cannot be closed.
func TestClosedQueueOfBareStore(t *testing.T) {
	q := plainjobs.New(bare{memory.New(nil)}, nil)
	job := plainjobs.Declare[string]("closed/queue")
	if _, err := q.Perform(t.Context(), job.With("")); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if id, err := q.Perform(t.Context(), job.With("")); id != 0 || !errors.Is(err, backend.ErrClosed) {
		t.Errorf("Perform on a closed queue = %d, %v; want ErrClosed", id, err)
	}
}

// Stored tells whether a push stored the task or found a duplicate.
func TestStored(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	job := plainjobs.Declare[string]("stored/unique")
	var first, second, other bool
	id, err := q.Perform(t.Context(), job.With("", plainjobs.Unique("k"), plainjobs.Stored(&first)))
	if err != nil || !first {
		t.Errorf("Perform = %d, %v, and stored is %v", id, err, first)
	}
	second = true
	ids, err := q.PerformMany(t.Context(), job.With("", plainjobs.Stored(&other)), job.With("", plainjobs.Unique("k"), plainjobs.Stored(&second)))
	if err != nil || second || !other || ids[1] != id {
		t.Errorf("PerformMany = %v, %v, and stored are %v and %v", ids, err, other, second)
	}
	if _, err := q.Perform(t.Context(), job.With("", plainjobs.Stored(nil))); err == nil {
		t.Error("Stored(nil) is no error")
	}
}
