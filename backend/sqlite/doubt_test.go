package sqlite_test

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	modernc "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A commit that succeeded but returned an error is not tried again: each push of its
// group returns an error, and is stored once.
func TestCommitInDoubt(t *testing.T) {
	lost := errors.New("the answer is lost")
	asked := make(chan struct{})
	var first, second sync.Once
	var broken atomic.Bool
	drv := &faultdriver.Driver{Driver: &modernc.Driver{}, Before: func(_, query string) error {
		if query == "BEGIN IMMEDIATE" && broken.Load() {
			first.Do(func() { <-asked })
		}
		return nil
	}}
	drv.After = func(_, query string) (err error) {
		if query == "COMMIT" && broken.Load() {
			second.Do(func() { err = lost })
		}
		return err
	}
	b, err := sqlite.Open(drv, filepath.Join(t.TempDir(), "jobs.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	broken.Store(true)
	const pushers = 8
	errs := make(chan error, pushers)
	var entering, wg sync.WaitGroup
	entering.Add(pushers)
	for range pushers {
		wg.Go(func() { entering.Done(); errs <- push(b, "a") })
	}
	entering.Wait()
	time.AfterFunc(100*time.Millisecond, func() { close(asked) })
	wg.Wait()
	failed := 0
	for range pushers {
		if err := <-errs; errors.Is(err, lost) {
			failed++
		} else if err != nil {
			t.Error(err)
		}
	}
	if failed == 0 {
		t.Error("no push failed whose commit did")
	}
	if n := total(t, b); n != pushers {
		t.Errorf("%d jobs are stored of %d pushes, %d of which failed", n, pushers, failed)
	}
}
