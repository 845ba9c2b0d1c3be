package integration

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"testing"

	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pgcluster.Stop()
	os.Exit(code)
}

// TestRunning runs the tests of both drivers on the server that PLAINJOBS_TEST_POSTGRES
// names. Without it, the test starts a server and gives its URL to those tests that add
// parameters to it.
func TestRunning(t *testing.T) {
	if dsn := os.Getenv(pgcluster.Variable); dsn != "" {
		test(t, dsn, "")
		return
	}
	server := pgcluster.Own(t)
	test(t, server.TCP(pgcluster.Superuser, pgcluster.Password, "postgres"),
		"Test/(Examine|ForeignTransactions|GivenUp|IdleTimeout|Large|NoDeadline|ReadOnly|Timeouts)$")
}

// test runs the tests of both drivers that match a pattern on a server.
func test(t *testing.T, dsn, pattern string) {
	t.Helper()
	for _, dir := range []string{"../backend/postgres/pgx", "../backend/postgres/pqtest"} {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=20m", "-run", cmp.Or(pattern, "."), ".")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), pgcluster.Variable+"="+dsn, "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", dir, err, bytes.TrimSpace(out))
		}
	}
}
