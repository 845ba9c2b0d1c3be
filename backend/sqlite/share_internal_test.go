package sqlite

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// shared opens a store in the database of an application.
func shared(t *testing.T) (*Backend, *sql.DB) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "app.db"))+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec("CREATE TABLE notes (text TEXT)"); err != nil {
		t.Fatal(err)
	}
	b, err := New(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, db
}

// A writer that has held the lock leaves it to an application that uses a connection,
// until the application has committed.
func TestYield(t *testing.T) {
	b, db := shared(t)
	ctx := context.Background()
	push := func() {
		t.Helper()
		if _, err := b.Push(ctx, []backend.NewJob{{Name: "a", MaxAttempts: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	push()
	s := &b.writer.share
	asked := 0
	s.asks = func() bool {
		if asked++; asked == 2 {
			// It has no busy timeout: the lock must be free.
			if _, err := db.Exec("INSERT INTO notes VALUES ('a note')"); err != nil {
				t.Error(err)
			}
		}
		return true
	}
	s.credit, s.freed = 0, time.Now().Add(time.Hour)
	push()
	if asked > 0 {
		t.Error("the writer left the lock without credit")
	}
	s.credit, s.freed = time.Hour, time.Now().Add(time.Hour)
	push()
	if asked != 2 {
		t.Errorf("the writer checked %d times; the application committed after the second", asked)
	}
}

// The credit is bounded by the share and by maxCredit.
func TestShareCredit(t *testing.T) {
	s := share{percent: 25}
	s.gave(time.Now().Add(-30 * time.Millisecond))
	if s.credit < 10*time.Millisecond {
		t.Errorf("after 30 ms it has a credit of %v, want 10 ms", s.credit)
	}
	s.gave(time.Now().Add(-time.Hour))
	if s.credit != maxCredit {
		t.Errorf("after an hour it has a credit of %v, want %v", s.credit, maxCredit)
	}
	if s.took(time.Millisecond); s.credit != maxCredit-time.Millisecond {
		t.Errorf("a pause of 1 ms leaves a credit of %v", s.credit)
	}
	if s.took(time.Hour); s.credit != 0 {
		t.Errorf("a pause of an hour leaves a credit of %v", s.credit)
	}
	none := share{percent: -1}
	if none.gave(time.Now().Add(-time.Hour)); none.credit != 0 {
		t.Errorf("without a share there is a credit of %v", none.credit)
	}
}

// A store that receives a signal waits in the lock queue while its application uses a
// connection.
func TestAppQueue(t *testing.T) {
	b, db := shared(t)
	b.appQueue.wait = time.Minute
	ctx := context.Background()
	other := host.NewLockQueue(b.path)
	defer other.Close()
	atHead := func(wait time.Duration) bool {
		other.NoteContention()
		return other.Wait(ctx, time.Now().Add(wait))
	}
	if !atHead(time.Minute) {
		t.Skip("this system has no lock queue")
	}
	b.onSignal(lockWanted)
	other.Release()
	if !atHead(time.Minute) {
		t.Fatal("the store queues for an application that uses no connection")
	}
	other.Release()

	c, err := db.Conn(ctx) // in use
	if err != nil {
		t.Fatal(err)
	}
	b.onSignal(lockWanted)
	for atHead(time.Microsecond) { // until the store is at the front
		other.Release()
	}
	c.Close()
	if !atHead(time.Minute) {
		t.Error("the store stays in the queue")
	}
}
