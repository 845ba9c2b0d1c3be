//go:build ncruces

package dashboard

import (
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/ncruces"
)

func init() {
	millionStores = append(millionStores, namedStore{"ncruces", func(b *testing.B) (millionStore, error) {
		return ncruces.Open(filepath.Join(b.TempDir(), "jobs.db"), nil)
	}})
}
