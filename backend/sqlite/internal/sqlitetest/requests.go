package sqlitetest

import (
	"database/sql"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/plainjobs/plainjobs"
)

var mailJob = plainjobs.Declare[string]("mail")

// testRequests handles 60 requests at once with the DSN that the documents give for the
// driver. Each reads, writes and performs a task in one transaction, and none fails.
func (d driver) testRequests(t *testing.T) {
	dsn := strings.Replace(d.documentedDSN(t), "app.db", filepath.ToSlash(filepath.Join(t.TempDir(), "app.db")), 1)
	db := d.openDB(t, dsn, 0)
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE contacts (email TEXT)"); err != nil {
		t.Fatal(err)
	}
	b := mustNew(t, db)
	q := plainjobs.New(b, nil)
	request := func() error {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var contacts int
		if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM contacts").Scan(&contacts); err != nil {
			return err
		}
		if _, err := tx.ExecContext(t.Context(), "INSERT INTO contacts VALUES ('ada@example.com')"); err != nil {
			return err
		}
		if _, err := q.WithTx(tx).Perform(t.Context(), mailJob.With("ada@example.com")); err != nil {
			return err
		}
		return tx.Commit()
	}
	const requests = 60
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			<-begin
			if err := request(); err != nil {
				t.Errorf("a request failed: %v", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	var contacts int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM contacts").Scan(&contacts); err != nil {
		t.Fatal(err)
	}
	if jobs := count(t, b); contacts != requests || jobs != requests {
		t.Errorf("there are %d contacts and %d jobs, want %d of each", contacts, jobs, requests)
	}
}

// documentedDSN returns the driver's DSN in docs/background-jobs.md, which the README
// has too.
func (d driver) documentedDSN(t *testing.T) string {
	t.Helper()
	text := func(parts ...string) string {
		data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", ".."}, parts...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	db, err := sql.Open(d.name, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	pkg := reflect.TypeOf(db.Driver()).Elem().PkgPath()
	for line := range strings.Lines(text("docs", "background-jobs.md")) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "/") || !strings.Contains(pkg, strings.TrimSpace(cells[1])) {
			continue
		}
		dsn := strings.Trim(cells[3], " `")
		if strings.Trim(cells[2], " `") != d.name || !strings.Contains(text("README.md"), `"`+dsn+`"`) {
			t.Errorf("the row %q does not fit the driver %q or the README", line, d.name)
		}
		return dsn
	}
	t.Fatalf("docs/background-jobs.md has no DSN for %s", pkg)
	return ""
}
