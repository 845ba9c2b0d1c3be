package sqlite_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
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

	ncruces "github.com/ncruces/go-sqlite3/driver"
	modernc "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A script is what a test does to the calls of a driver.
type script struct {
	mu    sync.Mutex
	calls []string
	fault func(query string) error
}

func (s *script) before(query string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, strings.Join(strings.Fields(query), " "))
	if s.fault != nil {
		return s.fault(query)
	}
	return nil
}

// set replaces the fault and forgets the calls so far.
func (s *script) set(fault func(query string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.calls = fault, nil
}

// seen returns the calls since set that start with one of the words.
func (s *script) seen(words ...string) (calls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(c, w) }) {
			calls = append(calls, c)
		}
	}
	return calls
}

func open(t *testing.T, opts *sqlite.Options) (*sqlite.Backend, *script) {
	t.Helper()
	s := &script{}
	b, err := sqlite.Open(&faultdriver.Driver{Driver: &modernc.Driver{}, Before: faultdriver.Statements(s.before)}, filepath.Join(t.TempDir(), "jobs.db"), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.set(nil)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, s
}

func newJob(name string) backend.NewJob {
	return backend.NewJob{Name: name, Payload: []byte("{}"), MaxAttempts: 3}
}

func push(b *sqlite.Backend, name string) error {
	_, err := b.Push(context.Background(), []backend.NewJob{newJob(name)})
	return err
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func total(t *testing.T, b *sqlite.Backend) (n int64) {
	t.Helper()
	counts, err := b.Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		n += c.Jobs
	}
	return n
}

var me = backend.Worker{ID: 1, Host: "h", Lease: time.Minute}

func claim(b *sqlite.Backend, limit int, names ...string) ([]backend.Job, error) {
	return b.Claim(context.Background(), backend.ClaimRequest{Worker: me, Register: true, Names: names, Limit: limit})
}

// delayOf returns a delay that suits an ending.
func delayOf(e backend.Ending) time.Duration {
	if e == backend.EndRetry || e == backend.EndSnooze {
		return time.Hour
	}
	return 0
}

// What is pushed, ended for good or steered is on disk when it is
// acknowledged; claims and completions need not be: they would only be
// repeated.
func TestDurabilityOfEachOperation(t *testing.T) {
	for _, durability := range []backend.Durability{backend.PowerLoss, backend.ProcessCrash} {
		b, s := open(t, &sqlite.Options{Durability: durability})
		check := func(what string, full bool, do func() error) {
			t.Helper()
			before := len(s.seen("COMMIT"))
			if err := do(); err != nil {
				t.Fatal(err)
			}
			// From the first call on: what counts is the last setting
			// before the last commit.
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
			t.Errorf("Describe says %v, want %v", got, durability)
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
			check("Beat", false, func() error {
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
				_, err := b.Operate(context.Background(), backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{Name: "b"}})
				return err
			})
			for _, paused := range []bool{true, false} {
				check("Pause", full, func() error { return b.Pause(context.Background(), "a", paused) })
			}
			check("Set", false, func() error {
				rate++ // what is set already is not written
				return b.Set(context.Background(), []backend.Settings{{Name: "a", Rate: rate, Per: time.Second}})
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

// Concurrent pushes share transactions, without their callers knowing.
func TestGroupCommit(t *testing.T) {
	b, s := open(t, nil)
	const pushers = 64
	// The first commit waits until everybody has asked, so that the test does
	// not depend on the machine's pace.
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

// Of a group one request may fail; the others must not notice.
func TestOneRequestFailsAlone(t *testing.T) {
	b, s := open(t, nil)
	for _, name := range []string{"good", "bad"} {
		if err := push(b, name); err != nil {
			t.Fatal(err)
		}
	}
	// A name is not visible in an INSERT, so the bad one is the only push of
	// eight jobs, which has a statement of its own.
	asked := make(chan struct{})
	var once sync.Once
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			once.Do(func() { <-asked })
		}
		if strings.HasPrefix(strings.TrimSpace(query), "INSERT INTO plainjobs_jobs") && strings.Count(query, "(?,") == 8 {
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
	// It was known whose fault it was: the others still share a transaction.
	if n := len(s.seen("COMMIT")); n > 4 {
		t.Errorf("%d transactions were committed", n)
	}
}

// A job that was imported with a time in thousands of years wakes nobody.
func TestWaitForFarAway(t *testing.T) {
	b, s := open(t, nil)
	now := time.Now()
	_, err := b.Import(t.Context(), backend.Batch{LastID: 1, Jobs: []backend.Record{{Info: backend.Info{
		ID: 1, Name: "a", State: backend.Scheduled, MaxAttempts: 1, CreatedAt: now, RunAt: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.set(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	self := backend.Worker{ID: 1, Lease: time.Minute}
	if err := b.Wait(ctx, backend.ClaimRequest{Worker: self, Names: []string{"a"}, Limit: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v", err)
	}
	if n := len(s.seen("SELECT", "WITH")); n > 20 {
		t.Errorf("it looked by %d statements", n)
	}
}

// A log that calls the queue is called when others can write.
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

// Whatever call fails, once or for good, a method does all or nothing, says
// what happened in the package's kinds, and the store works again afterwards.
func TestEveryCallFails(t *testing.T) {
	kinds := map[int]error{
		5: nil, // BUSY is tried again
		// mapped kinds
		13:   backend.ErrNoSpace,     // FULL
		778:  backend.ErrUnavailable, // IOERR_WRITE
		1034: backend.ErrUnavailable, // IOERR_FSYNC
		11:   backend.ErrCorrupt,     // CORRUPT
	}
	for code, kind := range kinds {
		for k := 1; ; k++ {
			b, s := open(t, nil)
			if err := push(b, "a"); err != nil {
				t.Fatal(err)
			}
			jobs, err := claim(b, 1, "a")
			if err != nil {
				t.Fatal(err)
			}
			calls := 0
			s.set(func(string) error {
				if calls++; calls == k {
					return &faultdriver.Error{Result: code}
				}
				return nil
			})
			pushErr := push(b, "a")
			_, completeErr := b.Complete(context.Background(), []backend.Completion{{Lease: jobs[0].Lease}})
			reached := calls >= k
			s.set(nil)

			for what, err := range map[string]error{"Push": pushErr, "Complete": completeErr} {
				if err != nil && kind == nil {
					t.Errorf("code %d at call %d: %s = %v, want it tried again", code, k, what, err)
				}
				if err != nil && kind != nil && !errors.Is(err, kind) {
					t.Errorf("code %d at call %d: %s = %v, want %v", code, k, what, err, kind)
				}
				if e := (*faultdriver.Error)(nil); err != nil && !errors.As(err, &e) {
					t.Errorf("code %d at call %d: the driver's error is out of reach in %v", code, k, err)
				}
			}
			want := int64(2)
			if pushErr != nil {
				want = 1
			}
			if n := total(t, b); n != want {
				t.Errorf("code %d at call %d: %d jobs are stored after Push = %v", code, k, n, pushErr)
			}
			info, err := b.Get(t.Context(), jobs[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			if done := info.State == backend.Done; done != (completeErr == nil) {
				t.Errorf("code %d at call %d: Complete = %v and the job is %v", code, k, completeErr, info.State)
			}
			if err := push(b, "a"); err != nil {
				t.Errorf("code %d at call %d: the store does not work afterwards: %v", code, k, err)
			}
			if !reached {
				break
			}
			if k > 100 {
				t.Fatal("there is no end of calls")
			}
		}
	}
}

// The kernel reports a failed fsync once and forgets the pages; the next one
// that works says nothing about them. So no push may be acknowledged before
// everything was written again.
func TestFailedFsync(t *testing.T) {
	b, s := open(t, nil)
	if err := push(b, "a"); err != nil {
		t.Fatal(err)
	}
	s.set(func(query string) error {
		if query == "COMMIT" {
			return &faultdriver.Error{Result: 1034}
		}
		return nil
	})
	if err := push(b, "a"); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Push = %v, want ErrUnavailable", err)
	}
	s.set(func(query string) error {
		if strings.HasPrefix(query, "PRAGMA wal_checkpoint") {
			return &faultdriver.Error{Result: 1034}
		}
		return nil
	})
	if err := push(b, "a"); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Push before the checkpoint works = %v, want ErrUnavailable", err)
	}
	if _, err := claim(b, 1, "a"); err != nil {
		t.Errorf("Claim = %v: it promises nothing to the disk and may go on", err)
	}
	s.set(nil)
	if err := push(b, "a"); err != nil {
		t.Fatal(err)
	}
	if calls := s.seen("PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO plainjobs_jobs"); len(calls) < 2 || !strings.HasPrefix(calls[0], "PRAGMA") {
		t.Errorf("after a failed fsync the calls are %q, want a checkpoint before the push", calls)
	}
}

// A write that failed, as for want of room, leaves nothing in doubt, and no
// push waits for a checkpoint, which readers hold up.
func TestFailedWriteNeedsNoCheckpoint(t *testing.T) {
	b, s := open(t, nil)
	s.set(func(query string) error {
		if query == "COMMIT" {
			return &faultdriver.Error{Result: 778}
		}
		return nil
	})
	if err := push(b, "a"); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Push = %v, want ErrUnavailable", err)
	}
	s.set(nil)
	if err := push(b, "a"); err != nil {
		t.Fatal(err)
	}
	if calls := s.seen("PRAGMA wal_checkpoint"); len(calls) != 0 {
		t.Errorf("after a failed write the calls are %q, want no checkpoint", calls)
	}
}

// A request may leave with its context until its transaction is begun, the
// one that leads too, and then nothing of it is stored.
func TestContextEndsWhileLocked(t *testing.T) {
	b, s := open(t, nil)
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			return &faultdriver.Error{Result: 5}
		}
		return nil
	})
	const n = 10
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := b.Push(ctx, []backend.NewJob{newJob("left")})
			errs <- err
		}()
	}
	stays := make(chan error, 1)
	go func() { stays <- push(b, "stays") }()
	eventually(t, "a second try", func() bool { return len(s.seen("BEGIN")) >= 3 })
	cancel()
	for range n {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("Push = %v, want context.Canceled", err)
		}
	}
	s.set(nil)
	if err := <-stays; err != nil {
		t.Errorf("the push that stayed: %v", err)
	}
	if n := total(t, b); n != 1 {
		t.Errorf("%d jobs are stored, want 1", n)
	}
}

// Plans are looked at with the planner's statistics in place, which have led
// it astray: it then reads a whole partial index rather than a few rows.
func TestPlans(t *testing.T) {
	b, s := open(t, nil)
	db := sqlOpen(t, b)
	worker := me
	for range 20 {
		jobs := slices.Repeat([]backend.NewJob{newJob("a"), newJob("b")}, 100)
		jobs = append(jobs, backend.NewJob{Name: "a", MaxAttempts: 1, Delay: time.Hour})
		if _, err := b.Push(t.Context(), jobs); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("ANALYZE"); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 { // as many heads, each with one behind it
		key := fmt.Sprint("k", i)
		keyed := backend.NewJob{
			Name: "keyed", MaxAttempts: 2, Serial: key, Unique: backend.Unique{Key: key, Scope: backend.UntilStarted, For: time.Minute},
			Expires: time.Hour, MaxPending: 1 << 20,
		}
		if _, err := b.Push(t.Context(), []backend.NewJob{keyed, {Name: "keyed", MaxAttempts: 1, Serial: key}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("ANALYZE"); err != nil {
		t.Fatal(err)
	}
	s.set(nil)
	lifeOfKeyedJobs(t, b)
	// Everything that the life of a job executes.
	for range 3 {
		jobs, err := claim(b, 50, "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := claim(b, 10, "a"); err != nil {
			t.Fatal(err)
		}
		var done []backend.Completion
		for _, j := range jobs[10:] {
			done = append(done, backend.Completion{Lease: j.Lease})
		}
		if _, err := b.Complete(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		for _, e := range []backend.Ending{backend.EndRetry, backend.EndFailed} {
			if _, err := b.Fail(t.Context(), []backend.Failure{{Lease: jobs[e].Lease, Ending: e, Delay: time.Hour, Error: "x"}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: worker}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Reap(t.Context(), backend.ReapRequest{Expired: true}); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	calls := slices.Clone(s.calls)
	s.mu.Unlock()
	slices.Sort(calls)
	looked := 0
	for _, query := range slices.Compact(calls) {
		verb, _, _ := strings.Cut(query, " ")
		if verb != "SELECT" && verb != "UPDATE" && verb != "DELETE" || sqlite.IsAudit(b, query) {
			continue
		}
		looked++
		args := make([]any, strings.Count(query, "?"))
		for i := range args {
			args[i] = 1
		}
		for n := range 6 { // numbered ones are not as many as question marks
			if strings.Contains(query, fmt.Sprint("?", n)) {
				args = args[:n]
			}
		}
		rows, err := db.Query("EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if (strings.HasPrefix(detail, "SCAN") && !small(detail)) || strings.Contains(detail, "TEMP B-TREE") {
				t.Errorf("%s\n\t%s", query, detail)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if looked < 15 {
		t.Errorf("only %d statements were looked at", looked)
	}
}

// lifeOfKeyedJobs executes what jobs with keys, limits and schedules do, and
// what an operator does to them.
func lifeOfKeyedJobs(t *testing.T, b *sqlite.Backend) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(b.Set(ctx, []backend.Settings{{Name: "keyed", MaxRunning: 1000, Rate: 1000, Per: time.Hour}}))
	jobs, err := claim(b, 50, "keyed")
	check(err)
	_, err = b.Complete(ctx, []backend.Completion{{Lease: jobs[0].Lease, Result: []byte("1")}})
	check(err)
	check(b.StoreProgress(ctx, []backend.Progress{{Lease: jobs[1].Lease, Done: 1, Total: 2}}))
	for i, e := range []backend.Ending{backend.EndRetry, backend.EndSnooze, backend.EndRelease, backend.EndFailed, backend.EndCancelled} {
		_, err := b.Fail(ctx, []backend.Failure{{Lease: jobs[2+i].Lease, Ending: e, Delay: time.Hour, Error: "x"}})
		check(err)
	}
	for _, op := range []backend.Op{backend.OpCancel, backend.OpRetry, backend.OpDelete} {
		_, err := b.Operate(ctx, backend.OperateRequest{Op: op, Filter: backend.Filter{IDs: []int64{jobs[20].ID, jobs[6].ID, jobs[0].ID, jobs[0].ID + 1}}})
		check(err)
	}
	now := time.Now()
	check(b.Define(ctx, []backend.Schedule{{Name: "s", Definition: "d", Next: now}}))
	_, err = b.Tick(ctx, backend.Tick{Name: "s", Definition: "d", Due: now, Next: now.Add(time.Hour), Jobs: []backend.NewJob{newJob("a")}})
	check(err)
	check(b.PauseSchedule(ctx, "s", true))
	check(b.Pause(ctx, "nothing", true))
}

// small reports whether a table is read whole that has a row for each name or
// worker, or a partial index that is asked for any row.
func small(detail string) bool {
	for _, table := range []string{
		"SCAN plainjobs_workers", "SCAN plainjobs_counts", "SCAN plainjobs_settings", "SCAN plainjobs_schedules",
		"SCAN w", "SCAN e VIRTUAL TABLE", // the workers' schedules
		"SCAN json_each VIRTUAL TABLE", // the IDs that were asked for
		"SCAN plainjobs_jobs USING COVERING INDEX plainjobs_suspects", "SCAN plainjobs_jobs USING INDEX plainjobs_suspects",
	} {
		if strings.HasPrefix(detail, table) {
			return true
		}
	}
	return false
}

// A beat goes before a request that leads already. When the beat fails, the
// other must not be taken for done.
func TestBeatBeforeLeaderFails(t *testing.T) {
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
		if strings.Contains(query, "UPDATE plainjobs_workers") {
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
		t.Errorf("Beat = %v, want ErrUnavailable", err)
	}
	s.set(nil)
	if n := total(t, b); n != 1 {
		t.Errorf("%d jobs are stored after a push was acknowledged, want 1", n)
	}
	if err := push(b, "a"); err != nil {
		t.Errorf("the next push: %v", err)
	}
}

// A request that is run a second time, alone, still heeds its context.
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

// Without a deadline a call waits for the lock as long as it says and no
// longer, however many wait.
func TestWaitingForTheLockEnds(t *testing.T) {
	sqlite.SetLockWait(t, 200*time.Millisecond)
	b, s := open(t, nil)
	s.set(func(query string) error {
		if query == "BEGIN IMMEDIATE" {
			return &faultdriver.Error{Result: 5}
		}
		return nil
	})
	const callers = 50
	errs := make(chan error, callers)
	for range callers {
		go func() { errs <- push(b, "a") }()
	}
	late := time.After(20 * time.Second) // a fifth of a second each in turn would be 10 s, with nothing else to do
	for range callers {
		select {
		case err := <-errs:
			if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "Queue.WithTx") {
				t.Fatalf("Push = %v, want ErrUnavailable and the advice to use WithTx", err)
			}
		case <-late:
			t.Fatal("the callers wait one after the other")
		}
	}
	s.set(nil)
	if n := total(t, b); n != 0 {
		t.Errorf("%d jobs are stored by pushes that failed", n)
	}
}

// A caller may commit its transaction although a push in it failed.
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
		if strings.Contains(query, "INSERT INTO plainjobs_jobs") {
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
	if err := db.QueryRow("SELECT count(*) FROM plainjobs_jobs").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if n := total(t, b); rows != 1 || n != 1 {
		t.Errorf("%d rows are stored and %d counted, want 1", rows, n)
	}
}

// A driver that panics frees the writer, and the jobs with which it does become
// suspects.
func TestDriverPanics(t *testing.T) {
	b, s := open(t, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	panicsAt := func(text string, times int) func(string) error {
		return func(query string) error {
			if strings.Contains(query, text) && times > 0 {
				times--
				panic("the driver is broken")
			}
			return nil
		}
	}
	for what, times := range map[string]int{"INSERT INTO plainjobs_jobs": 1, "BEGIN": 1, "COMMIT": 1} {
		s.set(panicsAt(what, times))
		if _, err := b.Push(t.Context(), []backend.NewJob{newJob("once")}); what == "INSERT INTO plainjobs_jobs" && err != nil {
			t.Errorf("Push, when the driver has panicked once at %s: %v", what, err)
		}
		s.set(nil)
		if _, err := b.Push(t.Context(), []backend.NewJob{newJob("once")}); err != nil {
			t.Errorf("Push, after the driver has panicked at %s: %v", what, err)
		}
	}
	s.set(panicsAt("INSERT INTO plainjobs_jobs", 1000))
	if _, err := b.Push(t.Context(), []backend.NewJob{newJob("a")}); err == nil || !strings.Contains(err.Error(), "the SQLite driver panicked: the driver is broken") {
		t.Errorf("Push = %v, want the panic", err)
	}
	s.set(nil)
	pushed, err := b.Push(t.Context(), []backend.NewJob{newJob("a"), newJob("a"), newJob("a")})
	if err != nil {
		t.Fatalf("Push after the panic: %v", err)
	}

	req := backend.ClaimRequest{Worker: backend.Worker{ID: 1, Lease: time.Minute}, Register: true, Names: []string{"a"}, Limit: 10, Suspects: true}
	claim := func() ([]backend.Job, error) {
		jobs, err := b.Claim(t.Context(), req)
		req.Register = req.Register && err != nil
		return jobs, err
	}
	s.set(panicsAt("SET state = 4", 1000))
	if jobs, err := claim(); err == nil {
		t.Fatalf("Claim = %d jobs, want the panic", len(jobs))
	}
	s.set(nil)
	for _, p := range pushed {
		if info, err := b.Get(t.Context(), p.ID); err != nil || !info.Suspect {
			t.Errorf("job %d is no suspect: %+v, %v", p.ID, info, err)
		}
	}
	jobs, err := claim()
	if err != nil || len(jobs) != 1 {
		t.Fatalf("Claim of suspects = %d jobs, %v; want 1", len(jobs), err)
	}
	if _, err := b.Complete(t.Context(), []backend.Completion{{Lease: jobs[0].Lease}}); err != nil {
		t.Fatal(err)
	}
	s.set(panicsAt("SET state = 4", 1000))
	for range backend.DefaultMaxCrashes {
		if _, err := claim(); err == nil {
			t.Fatal("Claim worked, want the panic")
		}
	}
	s.set(nil)
	info, err := b.Get(t.Context(), pushed[1].ID)
	if err != nil || info.State != backend.Failed || len(info.Errors) != 1 || !strings.Contains(info.Errors[0].Error, "panicked") {
		t.Errorf("the job with which the driver panics is %+v, %v", info, err)
	}
	if jobs, err := claim(); err != nil || len(jobs) != 1 || jobs[0].ID != pushed[2].ID {
		t.Errorf("Claim = %v, %v; want the last job", jobs, err)
	}
}

// A database in use must not be opened through a second library: the two would
// void each other's locks. A driver that wraps another one has its library.
func TestSecondDriver(t *testing.T) {
	b, _ := open(t, nil)
	path := pathOf(t, b)
	if other, err := sqlite.Open(&ncruces.SQLite{}, path, nil); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(fmt.Sprint(err), "second SQLite library") {
		if err == nil {
			other.Close()
		}
		t.Errorf("Open through another library = %v, want ErrInvalid", err)
	}
	for what, drv := range map[string]driver.Driver{
		"the same driver":  &faultdriver.Driver{Driver: &modernc.Driver{}},
		"the plain driver": &modernc.Driver{},
	} {
		same, err := sqlite.Open(drv, path, nil)
		if err != nil {
			t.Fatalf("Open through %s: %v", what, err)
		}
		if err := same.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := sqlite.Open(&ncruces.SQLite{}, path, nil)
	if err != nil {
		t.Fatalf("Open through another library, after the first is closed: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
}
