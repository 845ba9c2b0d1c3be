package sqlitetest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// These statements make the table of jobs accept any value, as a damaged page does, and
// strict again.
const (
	makeLax = `UPDATE sqlite_schema SET sql = replace(replace(sql, ' NOT NULL', ' /*NN*/'), ') STRICT', ') /*ST*/')
		WHERE name = 'plainjobs_job'`
	makeStrict = `UPDATE sqlite_schema SET sql = replace(replace(sql, ' /*NN*/', ' NOT NULL'), ') /*ST*/', ') STRICT')
		WHERE name = 'plainjobs_job'`
)

// testDamaged uses files whose damage SQLite does not detect. The errors must match
// ErrCorrupt.
func (d driver) testDamaged(t *testing.T) {
	reap := func(b backend.Backend) error {
		_, err := b.Reap(context.Background(), backend.ReapRequest{Expired: true})
		return err
	}
	for _, c := range []struct {
		what   string
		damage []string
		use    func(backend.Backend) error // nil: opening is what fails
	}{
		{"without a table", []string{"DELETE FROM sqlite_schema WHERE name LIKE '%plainjobs_meta%'"}, nil},
		{"a column with another name", []string{"UPDATE sqlite_schema SET sql = replace(sql, 'worker INTEGER', 'xorker INTEGER') WHERE name = 'plainjobs_claim'"}, reap},
		{"NULL where no column has one", []string{makeLax, "PRAGMA writable_schema=RESET",
			"UPDATE plainjobs_job SET failures = NULL"}, reap},
		{"a value of another type", []string{makeLax, "PRAGMA writable_schema=RESET",
			"UPDATE plainjobs_job SET ending = x'ff'", "PRAGMA writable_schema=ON", makeStrict}, reap},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jobs.db")
			b := mustOpen(t, d.open, path, nil)
			push(t, b, "a")
			_, err := b.Claim(t.Context(), backend.ClaimRequest{
				Worker: backend.Worker{ID: 1, Lease: time.Millisecond}, Register: true, Names: []string{"a"}, Limit: 1,
			})
			if err = errors.Join(err, b.Close()); err != nil {
				t.Fatal(err)
			}
			db := pool(t, d.name, path)
			db.SetMaxOpenConns(1)
			for _, query := range append([]string{"PRAGMA writable_schema=ON"}, c.damage...) {
				if _, err := db.Exec(query); err != nil {
					t.Fatalf("%s: %v", query, err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if c.use == nil {
				d.refuses(t, path, backend.ErrCorrupt, "plainjobs_meta")
				return
			}
			if err := c.use(mustOpen(t, d.open, path, nil)); !errors.Is(err, backend.ErrCorrupt) {
				t.Errorf("the error is %v, want ErrCorrupt", err)
			}
		})
	}
}
