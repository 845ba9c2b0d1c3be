// Package postgrestest tests the PostgreSQL store with a driver: the conformance suite
// and tests specific to PostgreSQL.
package postgrestest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/conformance"
	"github.com/plainjobs/plainjobs/internal/lanetest"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// A Driver is the driver under test.
type Driver struct {
	Name string // the name registered with database/sql
	Open func(dsn string, opts *postgres.Options) (*postgres.Backend, error)
	// Listen is for a store in the application's database, or nil.
	Listen func(dsn string) (postgres.ListenFunc, error)
	// Pooled is added to a DSN behind a pooler.
	Pooled string
}

// Main is the TestMain of a driver's package.
func Main(m *testing.M, d Driver) {
	if text := os.Getenv(hostVariable); text != "" {
		if err := d.host(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if text := os.Getenv(killedVariable); text != "" {
		if err := d.killed(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := dropSpare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if app.db != nil {
		_ = app.db.Close() // its server may be gone
	}
	pgcluster.Stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goleak:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Run tests a driver.
func Run(t *testing.T, d Driver) {
	t.Run("Conformance", func(t *testing.T) {
		conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
			return d.store(tb, opts, postgres.Options{})
		})
	})
	t.Run("Pooler", d.testPooler)
	t.Run("Model", d.testModel)
	t.Run("Claims", d.testClaims)
	t.Run("ClaimsLockedKey", d.testClaimsLockedKey)
	t.Run("Gates", d.testGates)
	t.Run("Folds", d.testFolds)
	t.Run("Position", d.testPosition)
	t.Run("PositionOrder", d.testPositionOrder)
	t.Run("CompletePlan", d.testCompletePlan)
	t.Run("Examine", d.testExamine)
	t.Run("Drift", d.testDrift)
	t.Run("ExamineSnapshot", d.testExamineSnapshot)
	t.Run("ExamineLock", d.testExamineLock)
	t.Run("ExamineClosed", d.testExamineClosed)
	t.Run("Connections", d.testConnections)
	t.Run("Serializable", d.testSerializable)
	t.Run("Rescue", d.testRescue)
	t.Run("RescueAll", d.testRescueAll)
	t.Run("WakeUp", d.testWakeUp)
	t.Run("Listens", d.testListens)
	t.Run("GivenUp", d.testGivenUp)
	t.Run("DSN", d.testDSN)
	t.Run("WrongDSN", d.testWrongDSN)
	t.Run("Rights", d.testRights)
	t.Run("RightsOnTables", d.testRightsOnTables)
	t.Run("RightsOnFunctions", d.testRightsOnFunctions)
	t.Run("NewerSchema", d.testNewerSchema)
	t.Run("Schema", d.testSchema)
	t.Run("View", d.testView)
	t.Run("ForeignTables", parallel(d.testForeignTables))
	t.Run("Upgrade", d.testUpgrade)
	t.Run("UpgradeJobs", d.testUpgradeJobs)
	t.Run("UpgradeReaps", d.testUpgradeReaps)
	t.Run("Outdated", d.testOutdated)
	t.Run("ReadOnly", d.testReadOnly)
	t.Run("Timeouts", d.testTimeouts)
	t.Run("Large", d.testLarge)
	t.Run("Lanes", func(t *testing.T) { s := d.schema(t); lanetest.Run(t, s.open(t, &postgres.Options{Schema: s.name})) })
	t.Run("IdleTimeout", d.testIdleTimeout)
	t.Run("NoConnections", d.testNoConnections)
	t.Run("Replica", d.testReplica)
	t.Run("FullDisk", d.testFullDisk)
	t.Run("OpenAtOnce", d.testOpenAtOnce)
	t.Run("OwnDB", d.testOwnDB)
	t.Run("WrongClock", d.testWrongClock)
	t.Run("ForeignTransactions", d.testForeignTransactions)
	t.Run("Dump", d.testDump)
	// These mostly wait for leases and timeouts.
	t.Run("Cuts", parallel(d.testCuts))
	t.Run("PlainCuts", parallel(d.testPlainCuts))
	t.Run("NoDeadline", parallel(d.testNoDeadline))
	t.Run("NoStandby", parallel(d.testNoStandby))
	t.Run("Demoted", parallel(d.testDemoted))
	t.Run("Crashes", parallel(d.testCrashes))
	t.Run("Failover", parallel(d.testFailover))
	t.Run("Kills", parallel(d.testKills))
	t.Run("Hosts", parallel(d.testHosts))
	t.Run("Silence", parallel(d.testSilence))
	t.Run("SilentHost", parallel(d.testSilentHost))
}

// parallel returns a parallel test.
func parallel(test func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		test(t)
	}
}

// store returns an empty store in its own schema, whose clock can be moved.
func (d Driver) store(tb testing.TB, opts conformance.Options, o postgres.Options) conformance.Store {
	tb.Helper()
	return d.storeIn(tb, nil, opts, o)
}

// storeIn is store on the connections of db, or on the application's if db is nil.
func (d Driver) storeIn(tb testing.TB, db *sql.DB, opts conformance.Options, o postgres.Options) conformance.Store {
	tb.Helper()
	s := d.recycled(tb)
	if db == nil {
		db = s.db
	}
	o.Schema, o.History = s.name, opts.History
	var offset time.Duration
	return conformance.Store{
		Open: func(tb testing.TB) backend.Backend { return s.share(tb, db, o) },
		Advance: func(by time.Duration) {
			offset += by
			s.moveClock(tb, offset)
		},
		DB: func(testing.TB) *sql.DB { return db },
	}
}

// Schema returns a DSN and the name of a schema that is dropped at the end of the test.
func Schema(tb testing.TB, driver string) (dsn, name string) {
	tb.Helper()
	s := Driver{Name: driver}.schema(tb)
	return s.dsn, s.name
}

// A schema is a schema for one test, empty or with a store.
type schema struct {
	Driver
	dsn, name string
	db        *sql.DB // the application's
}

// app is the application's database. All tests share it, because connecting takes
// longer than many tests.
var app struct {
	once sync.Once
	db   *sql.DB
	err  error
}

var lastSchema atomic.Int64

const dropSchema = `DROP SCHEMA IF EXISTS {s} CASCADE`

// schema returns a new schema, which is dropped at the end of the test.
func (d Driver) schema(tb testing.TB) *schema {
	tb.Helper()
	s := d.newSchema(tb)
	tb.Cleanup(func() { s.drop(tb) })
	return s
}

func (d Driver) newSchema(tb testing.TB) *schema {
	tb.Helper()
	dsn := pgcluster.Connect(tb)
	app.once.Do(func() { app.db, app.err = sql.Open(d.Name, dsn) })
	if app.err != nil {
		tb.Fatal(app.err)
	}
	app.db.SetMaxIdleConns(16)
	// On a given server, several test binaries may run at once.
	return &schema{d, dsn, fmt.Sprintf("test_%08x_%d", rand.Uint32(), lastSchema.Add(1)), app.db}
}

// in returns a statement with the schema's name in place of {s}.
func (s *schema) in(text string) string { return strings.ReplaceAll(text, "{s}", s.name) }

func (s *schema) drop(tb testing.TB) {
	tb.Helper()
	s.exec(tb, s.in(dropSchema))
}

// moveClock sets how far the store's clock is ahead of the server's.
func (s *schema) moveClock(tb testing.TB, ahead time.Duration) {
	tb.Helper()
	s.exec(tb, fmt.Sprintf(`CREATE OR REPLACE FUNCTION %s.now_micros() RETURNS bigint LANGUAGE sql VOLATILE
		AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + %d $$`, s.name, ahead.Microseconds()))
}

func (s *schema) exec(tb testing.TB, query string) {
	tb.Helper()
	if _, err := s.db.ExecContext(context.Background(), query); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

// share opens a store in the schema on existing connections, because connecting takes
// longer than most cases. It closes the store at the end of the test.
func (s *schema) share(tb testing.TB, db *sql.DB, opts postgres.Options) *postgres.Backend {
	tb.Helper()
	if s.Listen != nil && !opts.NoListen {
		var err error
		if opts.Listen, err = s.Listen(s.dsn); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := postgres.New(db, &opts)
	b = opened(tb, b, err)
	if long() { // takes longer than most cases
		tb.Cleanup(func() { consistent(tb, b) })
	}
	return b
}

// consistent fails unless the store's derived state matches its jobs, for example the
// spans and the pending jobs.
func consistent(tb testing.TB, b *postgres.Backend) {
	tb.Helper()
	all, err := b.Examine(context.Background(), backend.ExamineRequest{Derived: true})
	if errors.Is(err, backend.ErrClosed) {
		return
	}
	if err != nil {
		tb.Error(err)
	}
	for _, f := range all {
		if f.Name == "derived state" && f.Problem != "" {
			tb.Errorf("Examine = %+v, want derived state that is consistent", f)
		}
	}
}

// open opens a store in the schema, and closes it at the end of the test.
func (s *schema) open(tb testing.TB, opts *postgres.Options) *postgres.Backend {
	tb.Helper()
	b, err := s.Open(s.dsn, opts)
	return opened(tb, b, err)
}

// pushing returns a transaction of the application that has pushed jobs, and so holds
// their keys.
func pushing(t *testing.T, db *sql.DB, b backend.Backend, jobs ...backend.NewJob) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = b.(backend.TxPusher).PushTx(t.Context(), tx, jobs)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// opened returns a store, and closes it at the end of the test.
func opened(tb testing.TB, b *postgres.Backend, err error) *postgres.Backend {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}
