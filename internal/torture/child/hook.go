package child

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A hook acts between two calls to a driver, see [faultdriver.Driver].
type hook interface {
	before(call, query string) error
	after(call, query string) error
}

// openWithHook opens a store through the child's driver, with a hook.
func (d Driver) openWithHook(h hook, path string, opts *sqlite.Options) (*sqlite.Backend, error) {
	drv, err := d.withHook(h)
	if err != nil {
		return nil, err
	}
	return sqlite.Open(drv, path, opts)
}

func (d Driver) withHook(h hook) (*faultdriver.Driver, error) {
	db, err := sql.Open(d.SQL, ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return &faultdriver.Driver{Driver: db.Driver(), Before: h.before, After: h.after}, nil
}
