package sqlite_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	ncruces "github.com/ncruces/go-sqlite3/driver"
	modernc "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A panic of the driver does not block the writer. The jobs of a claim that panics
// become suspects.
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
	for what, times := range map[string]int{"INSERT INTO plainjobs_job": 1, "BEGIN": 1, "COMMIT": 1} {
		s.set(panicsAt(what, times))
		if _, err := b.Push(t.Context(), []backend.NewJob{newJob("once")}); what == "INSERT INTO plainjobs_job" && err != nil {
			t.Errorf("Push after the driver panicked once at %s: %v", what, err)
		}
		s.set(nil)
		if _, err := b.Push(t.Context(), []backend.NewJob{newJob("once")}); err != nil {
			t.Errorf("Push, after the driver has panicked at %s: %v", what, err)
		}
	}
	s.set(panicsAt("INSERT INTO plainjobs_job", 1000))
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
	s.set(panicsAt("INSERT INTO plainjobs_claim", 1000))
	if jobs, err := claim(); err == nil {
		t.Fatalf("Claim = %d jobs, want the panic", len(jobs))
	}
	s.set(nil)
	for _, p := range pushed {
		if info, err := b.Get(t.Context(), p.ID); err != nil || !info.Suspect {
			t.Errorf("job %d is not a suspect: %+v, %v", p.ID, info, err)
		}
	}
	jobs, err := claim()
	if err != nil || len(jobs) != 1 {
		t.Fatalf("Claim of suspects = %d jobs, %v; want 1", len(jobs), err)
	}
	if _, err := b.Complete(t.Context(), []backend.Completion{{Lease: jobs[0].Lease}}); err != nil {
		t.Fatal(err)
	}
	s.set(panicsAt("INSERT INTO plainjobs_claim", 1000))
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
