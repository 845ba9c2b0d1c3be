//go:build cgo && !ncruces

package dashboard

import (
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs/backend/sqlite/mattn"
)

func init() {
	millionStores = append(millionStores, namedStore{"mattn", func(b *testing.B) (millionStore, error) {
		return mattn.Open(filepath.Join(b.TempDir(), "jobs.db"), nil)
	}})
}
