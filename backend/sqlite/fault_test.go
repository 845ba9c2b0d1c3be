package sqlite_test

import (
	"context"
	"errors"
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

// A script records the calls of a driver and injects faults.
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

// set replaces the fault and clears the recorded calls.
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
			t.Fatalf("timed out: %s", what)
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

// delayOf returns a valid delay for an ending.
func delayOf(e backend.Ending) time.Duration {
	if e == backend.EndRetry || e == backend.EndSnooze {
		return time.Hour
	}
	return 0
}

// An imported job that is due in thousands of years wakes no call.
func TestWaitForDistantJob(t *testing.T) {
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
		t.Errorf("Wait ran %d statements", n)
	}
}

// Whichever call of the driver fails, once or always, a method does all or nothing,
// returns an error of package backend, and the store works afterwards.
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
				t.Fatal("the method makes too many calls")
			}
		}
	}
}

// The kernel reports a failed fsync once and may drop the pages. So no push may be
// acknowledged before a checkpoint has written everything again.
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
		t.Errorf("Claim = %v, want nil: it needs no fsync", err)
	}
	s.set(nil)
	if err := push(b, "a"); err != nil {
		t.Fatal(err)
	}
	if calls := s.seen("PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO plainjobs_job"); len(calls) < 2 || !strings.HasPrefix(calls[0], "PRAGMA") {
		t.Errorf("after a failed fsync the calls are %q, want a checkpoint before the push", calls)
	}
}

// A failed write, for example on a full disk, leaves nothing in doubt. No push waits for
// a checkpoint, which readers could block.
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
