package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// fillDB creates a database with jobs in many states, keys, settings and schedules.
func fillDB(t *testing.T, path string, jobs int) {
	t.Helper()
	ctx := t.Context()
	b, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var batch []backend.NewJob
	for i := range jobs {
		j := backend.NewJob{Name: fmt.Sprint("job", i%3), MaxAttempts: 5, Payload: bytes.Repeat([]byte{byte(i), 0, 0xff}, i%90), Metadata: []byte("m")}
		switch i % 7 {
		case 0:
			j.Unique = backend.Unique{Key: fmt.Sprint("u", i), For: time.Duration(i%2) * time.Hour}
		case 1:
			j.Serial = fmt.Sprint("s", i%5)
		case 2:
			j.Delay = time.Hour
		}
		batch = append(batch, j)
	}
	_, err = b.Push(ctx, batch)
	check(err)
	w := backend.Worker{ID: 3, Lease: time.Minute}
	claimed, err := b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{"job0", "job1"}, Limit: jobs / 3})
	check(err)
	for i, j := range claimed {
		switch i % 4 {
		case 0:
			_, err = b.Complete(ctx, []backend.Completion{{Lease: j.Lease, Result: []byte("r")}})
		case 1:
			_, err = b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndRetry, Delay: time.Hour, Error: "refused", Stack: "x.go:1"}})
		case 2:
			_, err = b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndFailed, Error: "refused"}})
		}
		check(err)
	}
	_, err = b.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{Names: []string{"job2"}}, Limit: 50})
	check(err)
	_, err = b.Set(ctx, 0, []backend.Settings{{Name: "job1", MaxRunning: 2}})
	check(err)
	check(b.Define(ctx, []backend.Schedule{{Name: "nightly", Definition: "d", Next: time.Now().Add(time.Hour)}}))
	_, err = b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: w, Leave: true}) // releases running jobs
	check(err)
	check(b.Close())
}

// dump returns the contents of a database, as text.
func dump(t *testing.T, path string) string {
	t.Helper()
	b, err := modernc.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := plainjobs.New(b, nil)
	defer q.Close()
	var text bytes.Buffer
	if _, err := q.Export(t.Context(), &text, plainjobs.Filter{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")
	return strings.Join(lines[1:len(lines)-2], "\n") // without the lines that contain times
}

// A move that was killed at any moment can be repeated until it completes.
func TestMoveKilled(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "old.db")
	fillDB(t, from, 1500)
	want := ""
	for round := range 2 {
		to := fmt.Sprintf("new%d.db", round)
		killed := 0
		for after := 20 * time.Millisecond; ; after += rand.N(after) { // grows, so that it is long enough on a slow machine
			ctx, cancel := context.WithTimeout(t.Context(), after)
			c := exec.CommandContext(ctx, os.Args[0], "move", "old.db", to) // SIGKILL
			c.Dir = dir
			c.Env = append(os.Environ(), beProgram+"=1")
			out, err := c.CombinedOutput()
			late := ctx.Err() != nil
			cancel()
			if err == nil {
				break
			}
			if !late {
				t.Fatalf("move ended with %v: %s", err, out)
			}
			killed++
		}
		if want == "" {
			want = dump(t, from)
		}
		if got := dump(t, filepath.Join(dir, to)); got != want {
			t.Fatalf("after %d kills the target has\n%.3000s\nwant\n%.3000s", killed, got, want)
		}
		t.Logf("killed %d times", killed)
	}
	if got := plain(t, dir, "--db", "new0.db", "stats"); !strings.Contains(got.out, "paused") {
		t.Errorf("stats of the new queue printed %q, %q", got.out, got.err)
	}
}

// The error of a move says what is wrong.
func TestMoveFails(t *testing.T) {
	dir := t.TempDir()
	newDB(t, filepath.Join(dir, "old.db"))
	newDB(t, filepath.Join(dir, "other.db"))
	for _, test := range []struct {
		from, to, want string
		status         int
	}{
		{"missing.db", "new.db", "FROM: there is no database missing.db", 1},
		{"old.db", "other.db", "the target is not empty", 1},
		{"old.db", "oracle://host/db", "TO: oracle://…: unknown kind of database", 2},
		{"old.db", "postgres://u:secret@host/db", "all users of this machine can read", 2},
		{"old.db", "postgres://u@127.0.0.1:1/db", "TO: ", 1},
	} {
		got := plain(t, dir, "move", test.from, test.to)
		if got.status != test.status || !strings.Contains(got.err, test.want) || strings.Contains(got.err, "secret") {
			t.Errorf("move %s %s ended with %d: %s", test.from, test.to, got.status, got.err)
		}
	}
	if got := plain(t, dir, "--db", "old.db", "stats"); strings.Contains(got.out, "paused") {
		t.Errorf("a refused move has paused the queue: %s", got.out)
	}
}
