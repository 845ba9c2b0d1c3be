package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

var moved = plainjobs.Declare[string]("moved")

// The commands work on MariaDB, and move a queue there and back.
func TestMariaDB(t *testing.T) {
	c := mycluster.Fresh(t)
	dir := t.TempDir()
	db := "mysql://root@" + c.Address() + "/" + mycluster.Database
	run := func(args ...string) string {
		t.Helper()
		got := call(t, os.Args[0], dir, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Environ(), "MYSQL_PWD=") }, args...)
		if got.status != 0 {
			t.Fatalf("%q ended with %d: %s%s", args, got.status, got.out, got.err)
		}
		return got.out
	}
	b, err := modernc.Open(dir+"/app.db", nil)
	if err != nil {
		t.Fatal(err)
	}
	q := plainjobs.New(b, nil)
	for _, text := range []string{"a", "b", "ü"} {
		if _, err := q.Perform(t.Context(), moved.With(text, plainjobs.Metadata(map[string]string{"k": text}))); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	before := run("--db", "app.db", "jobs", "--json")
	run("move", "app.db", db)
	if got := run("--db", db, "jobs", "--json"); got != before {
		t.Errorf("on the server the queue has\n%s\nwant\n%s", got, before)
	}
	doctor := call(t, os.Args[0], dir, func(*exec.Cmd) {}, "--db", db, "doctor") // a move leaves the queue paused
	for _, text := range []string{"MariaDB", "innodb_flush_log_at_trx_commit", "consistent"} {
		if !strings.Contains(doctor.out, text) {
			t.Errorf("doctor prints no %s: %s%s", text, doctor.out, doctor.err)
		}
	}
	if out := run("--db", db, "stats"); !strings.Contains(out, "moved") {
		t.Errorf("stats prints\n%s", out)
	}
	run("move", db, "back.db")
	if got := run("--db", "back.db", "jobs", "--json"); got != before {
		t.Errorf("back in a file the queue has\n%s\nwant\n%s", got, before)
	}
	got := call(t, os.Args[0], dir, func(*exec.Cmd) {}, "--db", db, "adopt", "river")
	if got.status == 0 || got.err == "" {
		t.Errorf("adopt ended with %d: %s%s", got.status, got.out, got.err)
	}
}
