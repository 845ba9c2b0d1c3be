package mysqltest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

// keyed returns a job with a unique key.
func keyed(key string) backend.NewJob {
	job := newJob("a")
	job.Unique.Key = key
	return job
}

// testOneConnection uses a pool of one connection, within transactions that have it and outside.
// Drawing IDs must not wait for it.
func testOneConnection(t *testing.T) {
	s := recycled(t)
	db, err := sql.Open("mysql", s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	b, err := mysql.New(db, s.options())
	b = opened(t, b, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const large = 700 // two of them are more than the first block of IDs
	for n := range 4 {
		tx, err := db.BeginTx(ctx, nil)
		if err == nil {
			_, err = b.PushTx(ctx, tx, []backend.NewJob{newJob("a"), keyed(fmt.Sprint("tx", n))})
		}
		if err == nil {
			_, err = b.PushTx(ctx, tx, repeat(newJob("a"), large))
		}
		if err == nil {
			err = tx.Commit()
		}
		if err == nil {
			_, err = b.Push(ctx, []backend.NewJob{newJob("a")})
		}
		if err == nil {
			_, err = b.Push(ctx, []backend.NewJob{keyed(fmt.Sprint(n))})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, b, backend.Pending); n != 4*(4+large) {
		t.Errorf("%d jobs are stored, want %d", n, 4*(4+large))
	}
}

// repeat returns n jobs.
func repeat(job backend.NewJob, n int) (all []backend.NewJob) {
	for range n {
		all = append(all, job)
	}
	return all
}

// testPushAtOnce pushes jobs with keys from more goroutines than the pool has connections, when
// no IDs are in hand.
func testPushAtOnce(t *testing.T) {
	s := fresh(t)
	_ = s.unchecked(t).Close() // creates the tables
	b := s.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for i := range 3 {
				if _, err := b.Push(ctx, repeat(keyed(fmt.Sprint(n, " ", i)), 900)); err != nil {
					t.Errorf("Push: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, b, backend.Pending); n != 48 {
		t.Errorf("%d jobs are stored, want 48", n)
	}
}

// testLeave has a worker leave that holds a claim of several jobs. No row of the claim stays.
func testLeave(t *testing.T) {
	s := recycled(t)
	b := s.open(t)
	if _, err := b.Push(t.Context(), repeat(newJob("a"), 3)); err != nil {
		t.Fatal(err)
	}
	w := backend.Worker{ID: 1, Lease: time.Minute}
	jobs, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 3})
	if err == nil {
		_, err = b.Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: w, Leave: true})
	}
	if err != nil || len(jobs) != 3 {
		t.Fatal(jobs, err)
	}
	var n int
	if err := s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+s.prefix+"claim").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d claims are left (%v), want 0", n, err)
	}
}

// charsets opens stores whose character set makes the driver's quoting unsafe.
func charsets(t *testing.T, o *own) {
	t.Helper()
	for _, charset := range []string{"gbk", "big5", "sjis", "cp932", "gb2312"} {
		dsn := o.dsn("root", "", mycluster.Database) + "?charset=" + charset
		refuses(t, dsn, backend.ErrInvalid, charset, "charset=utf8mb4")
		db, err := sql.Open("mysql", dsn)
		if err != nil {
			t.Fatal(err)
		}
		_, err = mysql.New(db, nil)
		wantError(t, "New with "+charset, err, backend.ErrInvalid, charset, "charset=utf8mb4")
		_ = db.Close()
	}
	latin, err := mysql.Open(o.dsn("root", "", mycluster.Database)+"?charset=latin1", nil)
	_ = opened(t, latin, err)
}

// rolledBack pushes in a transaction that waits for a lock until the server gives up, and rolls
// all of the transaction back. The server has innodb_rollback_on_timeout.
func rolledBack(t *testing.T, o *own) {
	t.Helper()
	db, err := sql.Open("mysql", o.dsn("root", "", mycluster.Database)+"?innodb_lock_wait_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	b, err := mysql.New(db, nil)
	b = opened(t, b, err)
	holds, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = b.PushTx(t.Context(), holds, []backend.NewJob{keyed("held")})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer holds.Rollback()
	waits, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Rollback()
	_, err = b.PushTx(t.Context(), waits, []backend.NewJob{keyed("held")})
	_ = holds.Rollback()
	wantError(t, "PushTx that waits for a lock", err, backend.ErrUnavailable, "end it, and run it again")
}

// longKeys pushes and runs jobs whose keys are more than a packet of the server may hold.
func longKeys(t *testing.T, b *mysql.Backend) {
	t.Helper()
	const many = 3000
	jobs := make([]backend.NewJob, many)
	for i := range jobs {
		jobs[i] = newJob(strings.Repeat("n", 128))
		jobs[i].Unique = backend.Unique{Key: fmt.Sprintf("%0255d", i), Scope: backend.UntilStarted}
		jobs[i].Serial = fmt.Sprintf("%0255d", i)
	}
	if _, err := b.Push(t.Context(), jobs); err != nil {
		t.Errorf("Push of long keys: %v", err)
		return
	}
	w := backend.Worker{ID: 10, Lease: time.Minute}
	claimed, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{jobs[0].Name}, Limit: many})
	if err != nil || len(claimed) != many {
		t.Errorf("Claim = %d jobs, %v, want %d", len(claimed), err, many)
	}
	done := make([]backend.Completion, len(claimed))
	for i := range claimed {
		done[i].Lease = claimed[i].Lease
	}
	if lost, err := b.Complete(t.Context(), done); err != nil || len(lost) > 0 {
		t.Errorf("Complete = %d lost, %v", len(lost), err)
	}
}

// connections opens a store on a server that has no connection left.
func connections(t *testing.T, o *own) {
	t.Helper()
	o.exec(t, "SET GLOBAL max_connections = 12")
	defer o.exec(t, "SET GLOBAL max_connections = 151")
	dsn := o.dsn("few", password, mycluster.Database)
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for err == nil {
		var conn *sql.Conn
		if conn, err = db.Conn(t.Context()); err == nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
	refuses(t, dsn, backend.ErrUnavailable, "max_connections")
}
