package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	modernc "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// Pushes, terminal ends and operations are on disk when they are acknowledged. Claims
// and completions are not: losing them only repeats work.
func TestDurabilityOfEachOperation(t *testing.T) {
	for _, durability := range []backend.Durability{backend.PowerLoss, backend.ProcessCrash} {
		b, s := open(t, &sqlite.Options{Durability: durability})
		check := func(what string, full bool, do func() error) {
			t.Helper()
			before := len(s.seen("COMMIT"))
			if err := do(); err != nil {
				t.Fatal(err)
			}
			// The last setting before the last commit counts.
			current := ""
			calls := s.seen("PRAGMA synchronous", "COMMIT")
			for _, c := range calls {
				if c != "COMMIT" {
					current = c
				}
			}
			want := map[bool]string{true: "PRAGMA synchronous=FULL", false: "PRAGMA synchronous=NORMAL"}[full]
			if current != want || calls[len(calls)-1] != "COMMIT" || len(s.seen("COMMIT")) != before+1 {
				t.Errorf("%v: %s committed under %q, want %q", durability, what, current, want)
			}
		}
		full := durability == backend.PowerLoss
		if got := b.Describe().Durability; got != durability {
			t.Errorf("Describe returned %v, want %v", got, durability)
		}
		// Once an hour Reap also commits what it folds of the activity.
		if _, err := b.Reap(context.Background(), backend.ReapRequest{}); err != nil {
			t.Fatal(err)
		}
		var jobs []backend.Job
		rate := 0
		for range 2 { // the second time shows what the first left
			check("Push", full, func() error { return push(b, "a") })
			check("Claim", false, func() (err error) { jobs, err = claim(b, 1, "a"); return err })
			check("Push", full, func() error { return push(b, "a") })
			check("Reap", false, func() error { _, err := b.Reap(context.Background(), backend.ReapRequest{}); return err })
			check("Complete", false, func() error {
				_, err := b.Complete(context.Background(), []backend.Completion{{Lease: jobs[0].Lease, Result: []byte("1")}})
				return err
			})
			check("Heartbeat", false, func() error {
				_, err := b.Heartbeat(context.Background(), backend.HeartbeatRequest{Worker: me})
				return err
			})
			for ending, lasts := range map[backend.Ending]bool{
				backend.EndRetry: false, backend.EndSnooze: false, backend.EndRelease: false, backend.EndFailed: true, backend.EndCancelled: true,
			} {
				check("Push", full, func() error { return push(b, "b") })
				check("Claim", false, func() (err error) { jobs, err = claim(b, 1, "b"); return err })
				check("Progress", false, func() error {
					return b.StoreProgress(context.Background(), []backend.Progress{{Lease: jobs[0].Lease, Done: 1, Total: 2}})
				})
				check(fmt.Sprint("Fail with ", ending), lasts && full, func() error {
					_, err := b.Fail(context.Background(), []backend.Failure{{Lease: jobs[0].Lease, Ending: ending, Delay: delayOf(ending)}})
					return err
				})
			}
			check("Operate", full, func() error {
				_, err := b.Operate(context.Background(), backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{Names: []string{"b"}}})
				return err
			})
			for _, paused := range []bool{true, false} {
				check("Pause", full, func() error { return b.Pause(context.Background(), "a", paused) })
			}
			check("Set", false, func() error {
				rate++ // what is set already is not written
				_, err := b.Set(context.Background(), 0, []backend.Settings{{Name: "a", Rate: rate, Per: time.Second}})
				return err
			})
			due := time.UnixMicro(1 + int64(rate))
			check("Define", full, func() error {
				return b.Define(context.Background(), []backend.Schedule{{Name: "s", Definition: fmt.Sprint(rate), Next: due}})
			})
			check("Tick", full, func() error {
				job := backend.NewJob{Name: "tick", Payload: []byte("1"), MaxAttempts: 1}
				_, err := b.Tick(context.Background(), backend.Tick{Name: "s", Definition: fmt.Sprint(rate), Due: due, Next: due.Add(time.Hour), Jobs: []backend.NewJob{job}})
				return err
			})
			check("PauseSchedule", full, func() error { return b.PauseSchedule(context.Background(), "s", rate%2 == 1) })
		}
	}
}

// Concurrent pushes share transactions.
func TestGroupCommit(t *testing.T) {
	b, s := open(t, nil)
	const pushers = 64
	// The first commit waits until all pushes are queued.
	asked := make(chan struct{})
	var once sync.Once
	s.set(func(query string) error {
		if query == "COMMIT" {
			once.Do(func() { <-asked })
		}
		return nil
	})
	var wg sync.WaitGroup
	var entering sync.WaitGroup
	entering.Add(pushers)
	for range pushers {
		wg.Go(func() {
			entering.Done()
			if err := push(b, "a"); err != nil {
				t.Error(err)
			}
		})
	}
	entering.Wait()
	time.AfterFunc(100*time.Millisecond, func() { close(asked) })
	wg.Wait()
	if n := total(t, b); n != pushers {
		t.Errorf("%d jobs are stored, want %d", n, pushers)
	}
	if n := len(s.seen("COMMIT")); n > pushers/2 {
		t.Errorf("%d pushes took %d transactions", pushers, n)
	}
}

// If one request of a group fails, the others succeed.
func TestOneRequestFailsAlone(t *testing.T) {
	b, s := open(t, nil)
	for _, name := range []string{"good", "bad"} {
		if err := push(b, name); err != nil {
			t.Fatal(err)
		}
	}
	// The bad push is the only one of eight jobs, which has its own statement.
	asked := make(chan struct{})
	var once sync.Once
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			once.Do(func() { <-asked })
		}
		if strings.HasPrefix(strings.TrimSpace(query), "INSERT INTO plainjobs_job") && strings.Count(query, "(NULL,") == 7 {
			return &faultdriver.Error{Result: 19} // CONSTRAINT
		}
		return nil
	})
	const good = 20
	errs := make(chan error, good)
	var entering, wg sync.WaitGroup
	entering.Add(good)
	for range good {
		wg.Go(func() { entering.Done(); errs <- push(b, "good") })
	}
	entering.Wait()
	bad := make(chan error, 1)
	wg.Add(1)
	time.AfterFunc(50*time.Millisecond, func() { // behind most of the others, if not all
		defer wg.Done()
		jobs := slices.Repeat([]backend.NewJob{newJob("bad")}, 8)
		_, err := b.Push(context.Background(), jobs)
		bad <- err
	})
	time.AfterFunc(100*time.Millisecond, func() { close(asked) })
	wg.Wait()
	for range good {
		if err := <-errs; err != nil {
			t.Errorf("a good push failed with the bad one: %v", err)
		}
	}
	if err := <-bad; err == nil {
		t.Error("the bad push did not fail")
	}
	if n := total(t, b); n != good+2 {
		t.Errorf("%d jobs are stored, want %d", n, good+2)
	}
	// The failed request is known, so the others still share a transaction.
	if n := len(s.seen("COMMIT")); n > 4 {
		t.Errorf("%d transactions were committed", n)
	}
}

// A heartbeat runs before a request that already leads. If the heartbeat fails, the other
// request must not count as done.
func TestHeartbeatBeforeLeaderFails(t *testing.T) {
	b, s := open(t, nil)
	if _, err := claim(b, 0); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	began, goOn := make(chan struct{}), make(chan struct{})
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			once.Do(func() { close(began); s.mu.Unlock(); <-goOn; s.mu.Lock() })
		}
		if strings.Contains(query, "UPDATE plainjobs_worker") {
			return &faultdriver.Error{Result: 10}
		}
		return nil
	})
	pushed, beaten := make(chan error, 1), make(chan error, 1)
	go func() { pushed <- push(b, "a") }()
	<-began
	go func() {
		_, err := b.Heartbeat(context.Background(), backend.HeartbeatRequest{Worker: me})
		beaten <- err
	}()
	eventually(t, "the beat behind the push", func() bool { return b.Queued() >= 2 })
	close(goOn)
	if err := <-pushed; err != nil {
		t.Errorf("Push = %v", err)
	}
	if err := <-beaten; !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Heartbeat = %v, want ErrUnavailable", err)
	}
	s.set(nil)
	if n := total(t, b); n != 1 {
		t.Errorf("%d jobs are stored after a push was acknowledged, want 1", n)
	}
	if err := push(b, "a"); err != nil {
		t.Errorf("the next push: %v", err)
	}
}

// A request that runs again alone still ends with its context.
func TestSecondTryHeedsContext(t *testing.T) {
	b, s := open(t, nil)
	if err := push(b, "a"); err != nil {
		t.Fatal(err)
	}
	jobs, err := claim(b, 1, "a")
	if err != nil {
		t.Fatal(err)
	}
	begins := 0
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			if begins++; begins > 1 {
				return &faultdriver.Error{Result: 5}
			}
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	unknown := jobs[0].Lease
	unknown.Token++ // as one that another process claimed
	if _, err := b.Complete(ctx, []backend.Completion{{Lease: unknown}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Complete = %v, want its context's error", err)
	}
}

// An application may commit its transaction although a push in it failed.
func TestPushTxIsAllOrNone(t *testing.T) {
	b, _ := open(t, nil)
	s := &script{}
	db := sql.OpenDB((&faultdriver.Driver{Driver: &modernc.Driver{}, Before: faultdriver.Statements(s.before)}).Connector("file:" + b.Path()))
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	ctx, cancel := context.WithCancel(t.Context())
	inserts := 0
	s.set(func(query string) error {
		if strings.Contains(query, "INSERT INTO plainjobs_job") {
			if inserts++; inserts == 2 {
				cancel()
				return context.Canceled
			}
		}
		return nil
	})
	jobs := slices.Repeat([]backend.NewJob{newJob("a")}, 129) // more than one INSERT takes
	if _, err := b.PushTx(ctx, tx, jobs); !errors.Is(err, context.Canceled) {
		t.Errorf("PushTx = %v, want context.Canceled", err)
	}
	s.set(nil)
	if _, err := b.PushTx(t.Context(), tx, jobs[:1]); err != nil {
		t.Errorf("PushTx after a failed one: %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	var rows int64
	if err := db.QueryRow("SELECT count(*) FROM plainjobs_job").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if n := total(t, b); rows != 1 || n != 1 {
		t.Errorf("%d rows are stored and %d counted, want 1", rows, n)
	}
}

// A log handler may call the queue.
func TestLogCallsTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	register := func(b *sqlite.Backend, id int64) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := b.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: id, Lease: time.Minute}, Register: true})
		return err
	}
	b, err := sqlite.Open(&modernc.Driver{}, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(register(b, 1), b.Close()); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "b.db")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	log := &pushingLog{Handler: slog.DiscardHandler}
	if b, err = sqlite.Open(&modernc.Driver{}, moved, &sqlite.Options{Logger: slog.New(log)}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	log.push = func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Push(ctx, []backend.NewJob{newJob("a")})
		return err
	}
	if err := register(b, 2); err != nil {
		t.Fatal(err)
	}
	if log.calls == 0 || log.err != nil {
		t.Errorf("the log was called %d times, and its push returned %v", log.calls, log.err)
	}
}

// A pushingLog pushes a job for each record.
type pushingLog struct {
	slog.Handler
	push  func() error
	calls int
	err   error
}

func (*pushingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *pushingLog) Handle(context.Context, slog.Record) error {
	l.calls++
	l.err = errors.Join(l.err, l.push())
	return nil
}
