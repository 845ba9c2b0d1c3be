package postgrestest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/torture/model"
)

// testModel compares the store with the model of the contract.
func (d Driver) testModel(t *testing.T) {
	db := d.schema(t) // for its pool
	model.Check(t, 100, func(o model.Options) (s model.Store, err error) {
		name := fmt.Sprintf("%s_%d", db.name, lastSchema.Add(1))
		query := func(text string) error {
			_, err := db.db.ExecContext(t.Context(), text)
			return err
		}
		// The server's clock stands still.
		s.Moved = func() error {
			return query(fmt.Sprintf(`CREATE OR REPLACE FUNCTION %s.now_micros() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT %d::bigint $$`,
				name, o.Clock().UnixMicro()))
		}
		var open []*postgres.Backend
		s.Close = func() error {
			var errs []error
			for _, b := range open {
				errs = append(errs, b.Close())
			}
			return errors.Join(append(errs, query("DROP SCHEMA IF EXISTS "+name+" CASCADE"))...)
		}
		for range 2 {
			b, err := d.Open(db.dsn, &postgres.Options{Schema: name, History: o.History})
			if err != nil {
				return s, err
			}
			open = append(open, b)
			s.Handles = append(s.Handles, b)
		}
		s.DB = db.db
		return s, s.Moved()
	})
}
