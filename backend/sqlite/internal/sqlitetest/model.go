package sqlitetest

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/torture/model"
)

// testModel compares the store with the model of the contract. It uses two handles on
// one file and transactions of an application.
func (d driver) testModel(t *testing.T) {
	model.Check(t, 600, func(o model.Options) (s model.Store, err error) {
		dir := t.TempDir() // and goes with the program, as there may be many
		path := filepath.Join(dir, "jobs.db")
		var open []*sqlite.Backend
		s.Close = func() error {
			var errs []error
			for _, b := range open {
				errs = append(errs, b.Close())
			}
			if s.DB != nil {
				errs = append(errs, s.DB.Close())
			}
			return errors.Join(append(errs, os.RemoveAll(dir))...)
		}
		for range 2 {
			b, err := d.open(path, &sqlite.Options{Clock: o.Clock, History: o.History, Durability: backend.ProcessCrash})
			if err != nil {
				return s, err
			}
			open = append(open, b)
			s.Handles = append(s.Handles, b)
		}
		s.DB, err = sql.Open(d.name, dsn(path))
		return s, err
	})
}
