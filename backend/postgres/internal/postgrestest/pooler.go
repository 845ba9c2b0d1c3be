package postgrestest

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/conformance"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// testPooler runs the conformance suite behind a pooler that lends connections by
// transaction, with the DSN parameters that it needs.
func (d Driver) testPooler(t *testing.T) {
	if underRace {
		t.Skip("the suite without a pooler runs the same code")
	}
	key, value, _ := strings.Cut(d.Pooled, "=")
	dsn := pgcluster.With(pgcluster.Own(t).Pooler(t), key, value)
	db, err := sql.Open(d.Name, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(16)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("Examine", func(t *testing.T) { d.testExamineBehind(t, dsn) })
	conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
		return d.storeIn(tb, db, opts, postgres.Options{NoListen: true})
	})
}

// testExamineBehind examines a store behind a pooler: that is a problem if the store
// relies on notifications, which the pooler does not pass on.
func (d Driver) testExamineBehind(t *testing.T, dsn string) {
	s := d.schema(t)
	for _, silent := range []bool{false, true} {
		b, err := s.Open(dsn, &postgres.Options{Schema: s.name, NoListen: silent})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		f := findings(t, b)["pooler"]
		if !strings.Contains(f.Value, "lends") {
			t.Errorf("behind a pooler the finding is %+v", f)
		}
		if listens := d.Listen != nil && !silent; listens {
			wantProblem(t, f, "NoListen")
		} else if f.Problem != "" {
			t.Errorf("without LISTEN the pooler finding is %+v, want no problem", f)
		}
	}
}
