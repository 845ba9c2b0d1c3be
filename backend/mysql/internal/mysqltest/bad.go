package mysqltest

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/conformance"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

// password is the password of the users that tests create.
const password = "pass-f00-word"

// own is a server of one test, which may change it.
type own struct {
	*mycluster.Cluster
	db *sql.DB
}

func ownServer(t *testing.T, options ...string) *own {
	t.Helper()
	c := mycluster.Fresh(t, options...)
	db, err := sql.Open("mysql", c.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &own{c, db}
}

func (o *own) exec(t *testing.T, query string) {
	t.Helper()
	if _, err := o.db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// dsn returns a DSN for TCP.
func (o *own) dsn(user, password, database string) string {
	config := driver.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr, config.DBName = user, password, "tcp", o.Address(), database
	return config.FormatDSN()
}

// refuses fails unless opening fails with want and the texts, and without a password.
func refuses(t *testing.T, dsn string, want error, texts ...string) {
	t.Helper()
	b, err := mysql.Open(dsn, nil)
	if err == nil {
		_ = b.Close()
		t.Errorf("Open succeeded, want %v with %q", want, texts)
		return
	}
	wantError(t, "Open", err, want, texts...)
}

// wantError fails unless the error matches want and has the texts, and no password.
func wantError(t *testing.T, what string, err, want error, texts ...string) {
	t.Helper()
	if want != nil && !errors.Is(err, want) || err == nil {
		t.Errorf("%s = %v, want %v", what, err, want)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s = %v, want %q in it", what, err, text)
		}
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the password is in the error: %v", err)
	}
}

// testBad opens and uses stores where something is wrong. Each error says what to do.
func testBad(t *testing.T) {
	o := ownServer(t, "--innodb-rollback-on-timeout")
	o.exec(t, "CREATE USER few@'%' IDENTIFIED BY '"+password+"'")
	o.exec(t, "GRANT SELECT ON "+mycluster.Database+".* TO few@'%'")
	refuses(t, o.dsn("few", "x"+password, mycluster.Database), nil, "refused the user or its password")
	refuses(t, o.dsn("root", "", "no_such"), nil, "CREATE DATABASE")
	refuses(t, o.dsn("few", password, mycluster.Database), nil, "GRANT SELECT, INSERT", "`"+mycluster.Database+"`.*", "'few'@'%'")
	refuses(t, o.dsn("few", password, "mysql"), nil, "GRANT")
	refuses(t, "mysql://few:"+password+"@"+o.Address()+"/", backend.ErrInvalid, "names no database")
	refuses(t, "few:"+password+"@tcp("+o.Address()+")", backend.ErrInvalid, "user:password@tcp(host:3306)/database")
	refuses(t, "mysql://few:"+password+"@host:port/x", backend.ErrInvalid, "%40")
	refuses(t, "few:"+password+"@tcp("+o.Address()+")/x?loc=nowhere", backend.ErrInvalid, "DSN is invalid")
	refuses(t, "few:"+password+"@tcp(127.0.0.1:1)/x", backend.ErrUnavailable, "refused")

	b, err := mysql.Open("mysql://root@"+o.Address()+"/"+mycluster.Database, nil)
	b = opened(t, b, err)
	if _, err := b.Push(t.Context(), []backend.NewJob{newJob("a")}); err != nil {
		t.Fatal(err)
	}
	refuses(t, o.dsn("few", password, mycluster.Database)+"?maxAllowedPacket=1", nil) // whatever it says, it does not succeed
	t.Run("Charsets", func(t *testing.T) { charsets(t, o) })
	t.Run("Connections", func(t *testing.T) { connections(t, o) })
	t.Run("RolledBack", func(t *testing.T) { rolledBack(t, o) })
	limits(t, o, b)
	readOnly(t, o, b)
}

// limits pushes what is too large, lets idle connections end, and opens too many.
func limits(t *testing.T, o *own, b *mysql.Backend) {
	t.Helper()
	most := b.Describe().MaxPayload
	job := newJob("large")
	job.Payload = make([]byte, most)
	for i := range job.Payload {
		job.Payload[i] = '\'' // which is escaped in a text
	}
	if _, err := b.Push(t.Context(), []backend.NewJob{job}); err != nil {
		t.Errorf("Push of %d bytes: %v", most, err)
	}
	o.exec(t, "SET GLOBAL max_allowed_packet = 1048576")
	o.exec(t, "SET GLOBAL wait_timeout = 1")
	var before, left int
	if err := o.db.QueryRowContext(t.Context(), "SELECT MAX(id) FROM information_schema.processlist").Scan(&before); err != nil {
		t.Fatal(err)
	}
	small, err := mysql.Open(o.dsn("root", "", mycluster.Database), nil)
	small = opened(t, small, err)
	_, err = small.Push(t.Context(), []backend.NewJob{job})
	wantError(t, "Push of a large payload", err, backend.ErrInvalid, "store the data elsewhere")
	longKeys(t, small)
	w := backend.Worker{ID: 9, Lease: time.Minute}
	claimed, err := small.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 1})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("Claim = %v, %v", claimed, err)
	}
	_, err = small.Complete(t.Context(), []backend.Completion{{Lease: claimed[0].Lease, Result: make([]byte, 2<<20)}})
	wantError(t, "Complete with a large result", err, nil, "max_allowed_packet")
	if _, err := small.Push(t.Context(), []backend.NewJob{newJob("a")}); err != nil {
		t.Errorf("Push afterwards: %v", err)
	}
	until(t, func() bool { // the server ends the idle connections
		err := o.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE id > ?", before).Scan(&left)
		return err == nil && left == 0
	})
	if _, err := small.Push(t.Context(), []backend.NewJob{newJob("a")}); err != nil {
		t.Errorf("Push after wait_timeout: %v", err)
	}
	o.exec(t, "SET GLOBAL max_allowed_packet = 16777216")
	o.exec(t, "SET GLOBAL wait_timeout = 28800")
	o.exec(t, "CREATE USER one@'%' IDENTIFIED BY '"+password+"' WITH MAX_USER_CONNECTIONS 1")
	o.exec(t, "GRANT ALL ON "+mycluster.Database+".* TO one@'%'")
	held, err := mysql.Open(o.dsn("one", password, mycluster.Database), nil)
	_ = opened(t, held, err)
	refuses(t, o.dsn("one", password, mycluster.Database), backend.ErrUnavailable, "max_user_connections")
}

// readOnly uses a store, and opens one, on a read-only server. A user that may write anyway is
// not refused.
func readOnly(t *testing.T, o *own, b *mysql.Backend) {
	t.Helper()
	o.exec(t, "CREATE USER app@'%' IDENTIFIED BY '"+password+"'")
	o.exec(t, "GRANT ALL ON "+mycluster.Database+".* TO app@'%'")
	app, err := mysql.Open(o.dsn("app", password, mycluster.Database), nil)
	app = opened(t, app, err)
	o.exec(t, "SET GLOBAL read_only = 1")
	_, err = app.Push(t.Context(), []backend.NewJob{newJob("a")})
	wantError(t, "Push on a read-only server", err, backend.ErrUnavailable, "connect to the primary")
	refuses(t, o.dsn("app", password, mycluster.Database), backend.ErrUnavailable, "connect to the primary")
	if _, err := b.Push(t.Context(), []backend.NewJob{newJob("a")}); err != nil {
		t.Errorf("Push of a user who may write: %v", err)
	}
	o.exec(t, "SET GLOBAL read_only = 0")
	if _, err := app.Push(t.Context(), []backend.NewJob{newJob("a")}); err != nil {
		t.Errorf("Push afterwards: %v", err)
	}
}

// testOddServer runs the suite on a server whose defaults are all different.
func testOddServer(t *testing.T) {
	o := ownServer(t, "--default-storage-engine=MyISAM", "--character-set-server=latin1", "--collation-server=latin1_swedish_ci",
		"--sql-mode=ANSI,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,ONLY_FULL_GROUP_BY,STRICT_ALL_TABLES,NO_ZERO_DATE", "--transaction-isolation=SERIALIZABLE",
		"--innodb-autoinc-lock-mode=2", "--auto-increment-increment=3", "--wait-timeout=2", "--max-allowed-packet=32M", "--log-bin=bin", "--binlog-format=MIXED", "--lower-case-table-names=1")
	n := 0
	odd := pool{fresh: func(testing.TB) *store {
		n++
		return &store{dsn: o.DSN(), db: o.db, prefix: fmt.Sprintf("odd%d_", n)}
	}}
	conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
		s := odd.get(tb)
		s.history = opts.History
		return s.suite()
	})
}

// testOpenAtOnce opens new tables many times at once, and completes a half-finished migration.
func testOpenAtOnce(t *testing.T) {
	for round := range 3 {
		s := fresh(t)
		if round > 0 { // a program died in the middle of the migration
			b := s.unchecked(t)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			s.exec(t, "DROP TABLE "+s.prefix+"action")
			s.exec(t, "DROP TABLE "+s.prefix+"signal_lock")
			s.exec(t, "UPDATE "+s.prefix+"meta SET number = CASE key_text WHEN 'step' THEN ? ELSE 0 END WHERE key_text IN ('step', 'schema')", 3*(round-1))
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				b, err := mysql.Open(s.dsn, s.options())
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				defer func() { _ = b.Close() }()
				if _, err := b.Push(t.Context(), []backend.NewJob{newJob("a")}); err != nil {
					t.Errorf("Push: %v", err)
				}
				if _, err := b.RecordAction(t.Context(), backend.Action{By: "x"}); err != nil {
					t.Errorf("RecordAction: %v", err)
				}
			})
		}
		wg.Wait()
		if n := count(t, s.open(t), backend.Pending); n != 8 {
			t.Errorf("%d jobs are stored, want 8", n)
		}
	}
}

// testTables refuses tables of another program, of a newer program, and none if it may create
// none.
func testTables(t *testing.T) {
	s := fresh(t)
	_, err := mysql.New(s.db, &mysql.Options{Prefix: s.prefix, NoMigrate: true})
	wantError(t, "New without tables", err, backend.ErrSchemaTooOld, "has no queue")
	s.exec(t, "CREATE TABLE "+s.prefix+"job (x int)")
	_, err = mysql.New(s.db, s.options())
	wantError(t, "New with a table job", err, backend.ErrInvalid, "mysql.Options.Prefix")
	s.exec(t, "DROP TABLE "+s.prefix+"job")
	s.exec(t, "CREATE TABLE "+s.prefix+"meta (x int)")
	_, err = mysql.New(s.db, s.options())
	wantError(t, "New with a table meta", err, backend.ErrInvalid, "mysql.Options.Prefix")
	s.exec(t, "DROP TABLE "+s.prefix+"meta")
	b := s.unchecked(t)
	s.exec(t, "UPDATE "+s.prefix+"meta SET number = 99 WHERE key_text = 'schema'")
	_, err = mysql.New(s.db, s.options())
	wantError(t, "New with newer tables", err, backend.ErrSchemaTooNew, "deploy a newer program")
	s.exec(t, "UPDATE "+s.prefix+"meta SET number = 0 WHERE key_text = 'schema'")
	_, err = mysql.New(s.db, &mysql.Options{Prefix: s.prefix, NoMigrate: true})
	wantError(t, "New with older tables", err, backend.ErrSchemaTooOld)
	s.exec(t, "DROP TABLE "+s.prefix+"ready")
	_, err = b.Push(t.Context(), []backend.NewJob{newJob("a")})
	wantError(t, "Push without a table", err, backend.ErrCorrupt, "reopen the queue")
	for _, prefix := range []string{"A", "9", "x-y", "é", strings.Repeat("x", 33)} {
		_, err := mysql.New(s.db, &mysql.Options{Prefix: prefix})
		wantError(t, "New", err, backend.ErrInvalid, "prefix")
	}
}
