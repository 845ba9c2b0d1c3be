package postgrestest

import (
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// testDSN opens stores with a URL and with keywords, over TCP and a Unix socket, as a role
// whose password needs escaping in both. No error contains any part of the password.
func (d Driver) testDSN(t *testing.T) {
	c := pgcluster.Own(t)
	s := d.schema(t)
	name := s.name + "_escaped"
	const first, second = "sec ret@/", `ter':?#%&+=\`
	s.exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, strings.ReplaceAll(first+second, "'", "''")))
	t.Cleanup(func() { s.exec(t, fmt.Sprintf("DROP OWNED BY %s; DROP ROLE %s", name, name)) })
	s.exec(t, fmt.Sprintf("GRANT CREATE ON DATABASE postgres TO %s", name))
	port := fmt.Sprint(c.Port)
	for _, password := range []string{first + second, first + "wrong" + second} {
		user := url.UserPassword(name, password).String()
		words := pgcluster.With("host=127.0.0.1 port="+port+" dbname=postgres sslmode=disable user="+name, "password", password)
		socket := pgcluster.With("port="+port+" dbname=postgres sslmode=disable user="+name, "host", c.Dir())
		all := []string{
			"postgres://" + user + "@127.0.0.1:" + port + "/postgres?sslmode=disable", words,
			pgcluster.With("postgresql://"+name+"@127.0.0.1:"+port+"/postgres?sslmode=disable", "password", password),
			"postgres://" + name + "@/postgres?sslmode=disable&port=" + port + "&host=" + url.QueryEscape(c.Dir()), socket, // without a password
		}
		if d.Name == "pgx" { // which finds a server among several hosts
			closed := closedPort(t)
			all = append(all, "postgres://"+user+"@[::1]:"+closed+",127.0.0.1:"+port+"/postgres?sslmode=disable",
				pgcluster.With(pgcluster.With(words, "host", "::1,127.0.0.1"), "port", closed+","+port))
		}
		for _, dsn := range all {
			right := password == first+second || dsn == socket || strings.Contains(dsn, "@/postgres")
			d.opens(t, s, dsn, right, first, second, url.QueryEscape(first))
		}
	}
}

// closedPort returns a port of this host on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// opens opens a store with a parameter added to a DSN. Errors and logs contain no secret.
func (d Driver) opens(t *testing.T, s *schema, dsn string, right bool, secrets ...string) {
	t.Helper()
	var log strings.Builder
	opts := &postgres.Options{Schema: s.name + "_own", Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	dsn = pgcluster.With(dsn, "options", "-c lock_timeout=12345")
	b, err := d.Open(dsn, opts)
	if err == nil {
		push(t, b, "a", 1)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if setting := d.setting(t, dsn, "lock_timeout"); setting != "12345ms" {
			t.Errorf("with %q lock_timeout is %s", dsn, setting)
		}
	}
	if right != (err == nil) {
		t.Errorf("Open(%q) = %v", dsn, err)
	}
	for _, secret := range secrets {
		if text := fmt.Sprintf("%v %s", err, log.String()); strings.Contains(text, secret) {
			t.Errorf("Open(%q) shows the password: %s", dsn, text)
		}
	}
}

// setting returns a setting of a session.
func (d Driver) setting(t *testing.T, dsn, name string) (value string) {
	t.Helper()
	db, err := sql.Open(d.Name, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}
