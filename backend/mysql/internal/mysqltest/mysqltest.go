// Package mysqltest tests the MariaDB store: the conformance suite and tests specific to
// MariaDB.
package mysqltest

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
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/backend/mysql/internal/skew"
	"github.com/plainjobs/plainjobs/conformance"
	"github.com/plainjobs/plainjobs/internal/lanetest"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

// Main is the TestMain of the store's package.
func Main(m *testing.M) {
	code := m.Run()
	if app.db != nil {
		_ = app.db.Close()
	}
	mycluster.Stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goleak:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Run tests the store.
func Run(t *testing.T) {
	t.Run("Conformance", func(t *testing.T) {
		conformance.Run(t, newStore)
	})
	// A store that opened its connections sends several statements at once.
	t.Run("OwnConnections", func(t *testing.T) {
		conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
			s := recycled(tb)
			s.history = opts.History
			suite := s.suite()
			suite.Open = func(tb testing.TB) backend.Backend { return s.open(tb) }
			return suite
		})
	})
	t.Run("Lanes", func(t *testing.T) { s := recycled(t); lanetest.Run(t, s.open(t)) })
	t.Run("Drift", testDrift)
	t.Run("Bad", testBad)
	t.Run("Tables", testTables)
	t.Run("OldSnapshot", testOldSnapshot)
	t.Run("OneConnection", testOneConnection)
	t.Run("PushAtOnce", testPushAtOnce)
	t.Run("Leave", testLeave)
	t.Run("View", testView)
	t.Run("GroupInTransaction", testGroupInTransaction)
	t.Run("GroupOverdue", testGroupOverdue)
	t.Run("GroupKeyHeld", testGroupKeyHeld)
	t.Run("OpenAtOnce", testOpenAtOnce)
	t.Run("Cuts", testCuts)
	t.Run("CommitCuts", testCommitCuts)
	t.Run("Crashes", testCrashes)
	if long() {
		t.Run("OddServer", testOddServer)
	}
}

// newStore returns an empty store whose clock can be moved.
func newStore(tb testing.TB, opts conformance.Options) conformance.Store {
	tb.Helper()
	s := recycled(tb)
	s.history = opts.History
	return s.suite()
}

// suite returns the store for the conformance suite.
func (s *store) suite() conformance.Store {
	var offset time.Duration
	return conformance.Store{
		Open: func(tb testing.TB) backend.Backend { return s.share(tb) },
		Advance: func(by time.Duration) {
			offset += by
			skew.Set(s.prefix, offset)
		},
		DB: func(testing.TB) *sql.DB { return s.db },
	}
}

// app is the application's database. All tests share it, because connecting takes longer than
// many tests.
var app struct {
	once sync.Once
	db   *sql.DB
	err  error
}

// A store is a set of tables for tests.
type store struct {
	dsn, prefix string
	db          *sql.DB // the application's
	history     backend.History
}

// A pool has stores left by earlier tests, with emptied tables: making tables takes longer than
// most cases.
type pool struct {
	mu    sync.Mutex
	list  []*store
	fresh func(tb testing.TB) *store
}

// shared has the stores on the server of the test binary.
var shared = pool{fresh: fresh}

var last atomic.Int64

// recycled returns a store without jobs, a spare one if there is one.
func recycled(tb testing.TB) *store { tb.Helper(); return shared.get(tb) }

func (p *pool) get(tb testing.TB) *store {
	tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var s *store
	if n := len(p.list); n > 0 {
		s, p.list = p.list[n-1], p.list[:n-1]
	} else {
		s = p.fresh(tb)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			return
		}
		s.reset(tb)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.list = append(p.list, s)
	})
	return s
}

// fresh returns a store without tables.
func fresh(tb testing.TB) *store {
	tb.Helper()
	dsn := mycluster.Connect(tb)
	app.once.Do(func() { app.db, app.err = sql.Open("mysql", dsn+"?interpolateParams=true&maxAllowedPacket=0") })
	if app.err != nil {
		tb.Fatal(app.err)
	}
	app.db.SetMaxIdleConns(16)
	// On a given server, several test binaries may run at once.
	return &store{dsn: dsn, db: app.db, prefix: fmt.Sprintf("t%08x_%d_", rand.Uint32(), last.Add(1))}
}

// reset empties the tables and resets everything but the store's ID.
func (s *store) reset(tb testing.TB) {
	tb.Helper()
	s.history = backend.History{}
	skew.Set(s.prefix, 0)
	for _, name := range s.tables(tb) {
		if name != s.prefix+"meta" {
			s.exec(tb, "DELETE FROM "+name)
		}
	}
	s.exec(tb, "DELETE FROM "+s.prefix+"meta WHERE key_text = 'environment'")
	s.exec(tb, "UPDATE "+s.prefix+"meta SET number = 0 WHERE key_text IN ('next_id', 'last_id', 'action_id')")
}

// tables returns the names of the store's tables.
func (s *store) tables(tb testing.TB) (names []string) {
	tb.Helper()
	rows, err := s.db.QueryContext(context.Background(), `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND table_name LIKE ?`,
		strings.ReplaceAll(s.prefix, "_", `\_`)+"%")
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			tb.Error(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
	return names
}

func (s *store) exec(tb testing.TB, query string, args ...any) {
	tb.Helper()
	if _, err := s.db.ExecContext(context.Background(), query, args...); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

func (s *store) options() *mysql.Options { return &mysql.Options{Prefix: s.prefix, History: s.history} }

// share opens the store on the application's connections, because connecting takes longer than
// most cases. It closes the store at the end of the test.
func (s *store) share(tb testing.TB) *mysql.Backend {
	tb.Helper()
	b, err := mysql.New(s.db, s.options())
	return opened(tb, b, err)
}

// open opens the store with connections of its own.
func (s *store) open(tb testing.TB) *mysql.Backend {
	tb.Helper()
	b, err := mysql.Open(s.dsn, s.options())
	return opened(tb, b, err)
}

// unchecked is share of a store whose derived state may be wrong.
func (s *store) unchecked(tb testing.TB) *mysql.Backend {
	tb.Helper()
	b, err := mysql.New(s.db, s.options())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() })
	return b
}

// opened returns a store, and closes it at the end of the test.
func opened(tb testing.TB, b *mysql.Backend, err error) *mysql.Backend {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		consistent(tb, b)
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// consistent fails unless the store's derived state matches its jobs.
func consistent(tb testing.TB, b *mysql.Backend) {
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
