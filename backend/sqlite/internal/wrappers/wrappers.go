// Package wrappers tests stores on drivers that wrap another one, to trace it
// for instance. It is a module of its own, so that programs do not inherit what
// it needs.
package wrappers

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"path/filepath"
	"strings"
	"testing"
	"time"

	datadog "github.com/DataDog/dd-trace-go/contrib/database/sql/v2"
	xsam "github.com/XSAM/otelsql"
	"github.com/luna-duclos/instrumentedsql"
	"github.com/ngrok/sqlmw"
	"github.com/qustavo/sqlhooks/v2"
	uptrace "github.com/uptrace/opentelemetry-go-extra/otelsql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// hooks are what sqlhooks calls.
type hooks struct{}

func (hooks) Before(ctx context.Context, _ string, _ ...any) (context.Context, error) {
	return ctx, nil
}

func (hooks) After(ctx context.Context, _ string, _ ...any) (context.Context, error) {
	return ctx, nil
}

// A wrapper opens a database through a driver that wraps the registered one.
type wrapper struct {
	name string
	open func(name string, raw driver.Driver, dsn string) (*sql.DB, error)
}

// registered opens a database through a driver that is registered under a name
// of its own.
func registered(prefix string, wrap func(driver.Driver) driver.Driver) wrapper {
	return wrapper{prefix, func(name string, raw driver.Driver, dsn string) (*sql.DB, error) {
		own := prefix + "-" + name
		if !strings.Contains(strings.Join(sql.Drivers(), " ")+" ", own+" ") {
			sql.Register(own, wrap(raw))
		}
		return sql.Open(own, dsn)
	}}
}

var all = []wrapper{
	{"xsam", func(name string, _ driver.Driver, dsn string) (*sql.DB, error) { return xsam.Open(name, dsn) }},
	registered("xsam-wrap", func(raw driver.Driver) driver.Driver { return xsam.WrapDriver(raw) }),
	{"uptrace", func(name string, _ driver.Driver, dsn string) (*sql.DB, error) { return uptrace.Open(name, dsn) }},
	registered("instrumentedsql", func(raw driver.Driver) driver.Driver { return instrumentedsql.WrapDriver(raw) }),
	registered("sqlmw", func(raw driver.Driver) driver.Driver { return sqlmw.Driver(raw, sqlmw.NullInterceptor{}) }),
	registered("sqlhooks", func(raw driver.Driver) driver.Driver { return sqlhooks.Wrap(raw, hooks{}) }),
	{"datadog", func(name string, raw driver.Driver, dsn string) (*sql.DB, error) {
		datadog.Register(name, raw)
		return datadog.Open(name, dsn)
	}},
	registered("twice", func(raw driver.Driver) driver.Driver { return raw }),
	registered("both", func(raw driver.Driver) driver.Driver {
		return sqlmw.Driver(xsam.WrapDriver(raw), sqlmw.NullInterceptor{})
	}),
}

// Run tests the wrappers of a driver, which database/sql knows by name. Open is
// the Open of its package, and settings what its DSN has for a transaction that
// takes the lock at once and waits for it.
func Run(t *testing.T, name, settings string, open func(string, *sqlite.Options) (*sqlite.Backend, error)) {
	plain, err := sql.Open(name, ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	raw := plain.Driver()
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			db, err := w.open(name, raw, "file:"+path+"?"+settings)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			b, err := sqlite.New(db, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if d := b.Describe(); !d.Shared || d.Durability != backend.PowerLoss {
				t.Errorf("Describe returned %+v", d)
			}
			life(t, db, b)
			advice(t, b)

			// A plain handle of the same library, in the same process.
			same, err := open(path, nil)
			if err != nil {
				t.Fatalf("Open without the wrapper: %v", err)
			}
			defer same.Close()
			life(t, db, same)
		})
	}
}

// life takes a job that is pushed in a transaction through its life.
func life(t *testing.T, db *sql.DB, b *sqlite.Backend) {
	t.Helper()
	ctx := t.Context()
	jobs := []backend.NewJob{{Name: "a", Payload: []byte("{}"), MaxAttempts: 3}}
	if _, err := b.Push(ctx, jobs); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := b.PushTx(ctx, tx, jobs); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	worker := backend.Worker{ID: 1, Lease: 30 * time.Second}
	claimed, err := b.Claim(ctx, backend.ClaimRequest{Worker: worker, Register: true, Names: []string{"a"}, Limit: 10})
	if err != nil || len(claimed) != 2 {
		t.Fatalf("Claim = %d jobs, %v; want 2", len(claimed), err)
	}
	lost, err := b.Complete(ctx, []backend.Completion{{Lease: claimed[0].Lease}, {Lease: claimed[1].Lease}})
	if err != nil || len(lost) != 0 {
		t.Errorf("Complete = %v, %v", lost, err)
	}
	// The errors of the library come through the wrapper.
	if _, err := b.Get(ctx, -1); err == nil {
		t.Error("there is a job -1")
	}
}

// advice looks whether the examination finds the application's connections well
// set.
func advice(t *testing.T, b *sqlite.Backend) {
	t.Helper()
	found, err := b.Examine(t.Context(), backend.ExamineRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if strings.HasPrefix(f.Name, "application's") && f.Problem != "" {
			t.Errorf("%s: %s: %s; %s", f.Name, f.Value, f.Problem, f.Fix)
		}
	}
}
