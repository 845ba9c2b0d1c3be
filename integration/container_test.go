package integration

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// versions are those that the library supports; see minServer in
// backend/postgres/migrate.go.
var versions = []string{"14", "15", "16", "17", "18"}

// startTime is how long a server may take until it answers, not counting the download of
// its image.
const startTime = 2 * time.Minute

// TestContainers runs the tests of both drivers on each version.
func TestContainers(t *testing.T) {
	pool, err := dockertest.NewPool("")
	if err == nil {
		err = pool.Client.Ping()
	}
	if err != nil {
		t.Skipf("no Docker engine answers: %v", err)
	}
	pool.MaxWait = startTime
	for _, version := range versions {
		t.Run(version, func(t *testing.T) { test(t, start(t, pool, version), "") })
	}
}

// start starts a server, stops it at the end of the test, and returns its URL.
func start(t *testing.T, pool *dockertest.Pool, version string) (dsn string) {
	t.Helper()
	const password = "integration"
	server, err := pool.RunWithOptions(&dockertest.RunOptions{
		Repository: "postgres", Tag: version, Env: []string{"POSTGRES_PASSWORD=" + password},
		// Several test processes have connections at a time.
		Cmd: []string{"-c", "max_connections=200", "-c", "fsync=off"},
	}, func(c *docker.HostConfig) {
		c.AutoRemove = true
		c.RestartPolicy = docker.NeverRestart()
	})
	if err != nil {
		t.Fatalf("postgres:%s: %v", version, err)
	}
	t.Cleanup(func() {
		if err := pool.Purge(server); err != nil {
			t.Error(err)
		}
	})
	if err := server.Expire(uint((time.Hour).Seconds())); err != nil { // should this process be killed
		t.Fatal(err)
	}
	dsn = (&url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", password), Host: server.GetHostPort("5432/tcp"),
		Path: "/postgres", RawQuery: "sslmode=disable",
	}).String()
	err = pool.Retry(func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return fmt.Errorf("postgres:%s: %w", version, err)
		}
		return conn.Close(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}
