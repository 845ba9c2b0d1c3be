package main

import (
	"database/sql"
	"path/filepath"
	"testing"
)

// The module examples/migrate tests adopt on tables of each library.
func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(dir, "a b%23.db")))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `
		CREATE TABLE plainjob_jobs (id INTEGER PRIMARY KEY, type TEXT, data TEXT, status INTEGER, next_run_at INTEGER);
		INSERT INTO plainjob_jobs VALUES (1, 'mail', '{"to":"ada"}', 0, 1), (2, 'mail', '{}', 2, 1), (3, 'old name', '{}', 0, 1), (4, 'text', 'x', 0, 1);
		CREATE TABLE plainjob_scheduled_jobs (type TEXT, cron_expression TEXT);
		INSERT INTO plainjob_scheduled_jobs VALUES ('report', '0 6 * * *');`); err != nil {
		t.Fatal(err)
	}
	const file = "a b#.db" // as SQLite decodes the name above
	for _, c := range []struct {
		args   []string
		out    string
		status int
	}{
		{[]string{"migrate"}, "", 0},
		{[]string{"adopt", "river"}, "", 2},
		{[]string{"adopt", "backlite"}, "", 2},
		{[]string{"adopt", "backlite", "--attempts", "3"}, "", 1},
		{[]string{"adopt", "plainjob", "--dry-run"}, `would adopt from plainjob: 1
  1  mail
left in its tables: 3
  1  done
  1  text: the payload is not JSON
  1  the name "old name" is not one that plainjobs accepts: rename it
schedules, which the program must define: 1
  report  0 6 * * *
`, 0},
		{[]string{"adopt", "plainjob", "--rename", "old name=new", "--bytes"}, `adopted from plainjob: 3
  1  mail
  1  new
  1  text
left in its tables: 1
  1  done
schedules, which the program must define: 1
  report  0 6 * * *
`, 0},
		{[]string{"adopt", "plainjob", "--json"}, `{"adopted":{},"left":{"done":1},"schedules":{"report":"0 6 * * *"}}
`, 0},
	} {
		p := plain(t, dir, append([]string{"--db", file}, c.args...)...)
		if p.status != c.status || c.out != "" && p.out != c.out || p.status != 0 && p.err == "" {
			t.Errorf("%v printed %q and %q and ended with %d", c.args, p.out, p.err, p.status)
		}
		t.Log(p.err)
	}
}
