package pgx_test

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
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// If these are set, the test's process moves a queue from one place to the other.
const (
	moveFrom = "PLAINJOBS_TEST_MOVE_FROM"
	moveTo   = "PLAINJOBS_TEST_MOVE_TO"
)

func init() {
	if os.Getenv(moveFrom) == "" {
		return
	}
	from, err := openQueue(os.Getenv(moveFrom))
	if err == nil {
		var to *plainjobs.Queue
		if to, err = openQueue(os.Getenv(moveTo)); err == nil {
			_, err = from.MoveTo(context.Background(), to, nil)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// openQueue opens a queue in a file, or in "schema dsn".
func openQueue(place string) (*plainjobs.Queue, error) {
	var b backend.Backend
	var err error
	if schema, dsn, ok := strings.Cut(place, " "); ok {
		b, err = pgx.Open(dsn, &postgres.Options{Schema: schema})
	} else {
		b, err = modernc.Open(place, nil)
	}
	if err != nil {
		return nil, err
	}
	return plainjobs.New(b, nil), nil
}

// moveKilled moves a queue by processes that are killed at random moments.
func moveKilled(t *testing.T, from, to string) {
	t.Helper()
	killed := 0
	for after := 30 * time.Millisecond; ; after += after/2 + rand.N(after) { // grows, so that a slow machine finishes too
		ctx, cancel := context.WithTimeout(t.Context(), after)
		c := exec.CommandContext(ctx, os.Args[0])
		c.Env = append(os.Environ(), moveFrom+"="+from, moveTo+"="+to)
		out, err := c.CombinedOutput()
		late := ctx.Err() != nil
		cancel()
		if err == nil {
			t.Logf("killed %d times", killed)
			return
		}
		if !late {
			t.Fatalf("the move failed with %v: %s", err, out)
		}
		killed++
	}
}

// content returns everything stored, as text, and the counts that the store keeps.
func content(t *testing.T, place string) string {
	t.Helper()
	q, err := openQueue(place)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var text bytes.Buffer
	if _, err := q.Export(t.Context(), &text, plainjobs.Filter{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")
	counts, err := q.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(strings.Join(lines[1:len(lines)-2], "\n"), "\n", counts) // without times
}

var afterMove = plainjobs.Declare[string]("after-the-move")

// A queue that is moved from a file to a server and back is unchanged, although the
// moving processes are killed.
func TestMoveKilled(t *testing.T) {
	ctx := t.Context()
	dsn, schema := postgrestest.Schema(t, "pgx")
	dir := t.TempDir()
	file, server, back := filepath.Join(dir, "old.db"), schema+" "+dsn, filepath.Join(dir, "back.db")
	b, err := modernc.Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var jobs []backend.NewJob
	for i := range 1500 {
		j := backend.NewJob{Name: fmt.Sprint("job", i%3), MaxAttempts: 5, Payload: bytes.Repeat([]byte{byte(i), 0, 0xff}, i%90), Priority: int16(i % 5)}
		switch i % 7 {
		case 0:
			j.Unique = backend.Unique{Key: fmt.Sprint("ü", i), For: time.Duration(i%2) * time.Hour, Scope: backend.Scope(i % 2)}
		case 1:
			j.Serial = fmt.Sprint("s", i%5)
		case 2:
			j.Delay, j.Expires = time.Hour, 2*time.Hour
		case 3:
			j.Metadata = []byte{0, 0xff}
		}
		jobs = append(jobs, j)
	}
	_, err = b.Push(ctx, jobs)
	check(err)
	w := backend.Worker{ID: 3, Lease: time.Minute}
	claimed, err := b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{"job0", "job1"}, Limit: 500})
	check(err)
	for i, j := range claimed {
		switch i % 4 {
		case 0:
			_, err = b.Complete(ctx, []backend.Completion{{Lease: j.Lease, Result: []byte{0xff, 0}[:i%3]}})
		case 1:
			_, err = b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndRetry, Delay: time.Hour, Error: `re"fused\` + "\n", Stack: "x.go:1"}})
		case 2:
			_, err = b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndFailed, Error: "refused"}})
		}
		check(err)
	}
	_, err = b.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{Names: []string{"job2"}}, Limit: 50})
	check(err)
	_, err = b.Set(ctx, 0, []backend.Settings{{Name: "job1", MaxRunning: 2, Rate: 7, Per: time.Minute, History: backend.History{Rows: 9000}}})
	check(err)
	check(b.Pause(ctx, "job2", true))
	now := time.Now().Truncate(time.Microsecond).UTC()
	_, err = b.Import(ctx, backend.Batch{Schedules: []backend.Schedule{{Name: "nightly", Definition: "d|ü", Next: now.Add(time.Hour), Last: now, Paused: true}}})
	check(err)
	// A running job is rescued, because its worker is dead. It arrives as a suspect.
	_, err = b.Reap(ctx, backend.ReapRequest{Dead: []int64{w.ID}})
	check(err)
	check(b.Close())

	moveKilled(t, file, server)
	want := content(t, file)
	if got := content(t, server); got != want {
		t.Fatalf("on the server the queue is\n%.4000s\nwant\n%.4000s", got, want)
	}
	moveKilled(t, server, back)
	if got := content(t, back); got != want {
		t.Fatalf("back in a file the queue is\n%.4000s\nwant\n%.4000s", got, want)
	}
	// No ID is issued twice.
	q, err := openQueue(server)
	check(err)
	defer q.Close()
	id, err := q.Perform(ctx, afterMove.With("x"))
	if err != nil || id <= 1500 {
		t.Errorf("the next ID is %d, %v", id, err)
	}
}
