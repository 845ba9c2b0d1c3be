package sqlitetest

import (
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/internal/viewtest"
)

func (d driver) testView(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := mustOpen(t, d.open, path, nil)
	viewtest.Run(t, b, viewtest.View{DB: pool(t, d.name, path), Dialect: "sqlite", Name: "plainjobs_view"})
}
