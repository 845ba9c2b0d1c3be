package postgrestest

import (
	"fmt"
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/cutproxy"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// openThrough opens a store in the schema through a proxy, and closes it at the end of
// the test.
func (s *schema) openThrough(t *testing.T) (*cutproxy.Proxy, *postgres.Backend) {
	t.Helper()
	p := cutproxy.New(t, fmt.Sprintf("127.0.0.1:%d", pgcluster.Own(t).Port))
	through := &pgcluster.Cluster{Port: p.Port()}
	b, err := s.Open(through.TCP(pgcluster.Superuser, pgcluster.Password, "postgres")+"&application_name="+s.name, &postgres.Options{Schema: s.name, NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return p, b
}
