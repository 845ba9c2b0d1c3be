package plainjobs_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

func TestWhy(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	perform := func(task plainjobs.Task) int64 {
		t.Helper()
		id, err := q.Perform(ctx, task)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	why := func(id int64, want string) {
		t.Helper()
		if got, err := q.Why(ctx, id); err != nil || !strings.Contains(got, want) {
			t.Errorf("Why = %q, %v, want %q", got, err, want)
		}
	}
	plain := perform(lifeJob.With(""))
	why(plain, "No worker is alive: start one.")
	if _, err := b.SetEnvironment(ctx, "", "production"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PLAINJOBS_ENV", "")
	why(plain, "No worker of the environment production, which the database belongs to, is alive. Workers with another value of PLAINJOBS_ENV are paused")
	t.Setenv("PLAINJOBS_ENV", "production")
	why(plain, "No worker is alive: start one with PLAINJOBS_ENV=production")
	worker := backend.Worker{ID: 7, Host: "here", PID: 8, Lease: time.Hour, Jobs: []string{"something"}}
	claim := func(names ...string) []backend.Job {
		jobs, err := b.Claim(ctx, backend.ClaimRequest{Worker: worker, Register: true, Names: names, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		return jobs
	}
	claim()
	why(plain, "The only live worker does not know the name life/plain")
	if _, err := b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: worker, Leave: true}); err != nil {
		t.Fatal(err)
	}
	worker.ID, worker.Jobs = 9, []string{"life/plain"}
	claim()
	why(plain, "It waits for a slot of the only live worker that knows its name")
	for what, name := range map[string]string{"named life/plain are paused": "life/plain", "whole queue is paused": ""} {
		if err := q.Pause(ctx, name); err != nil {
			t.Fatal(err)
		}
		why(plain, what)
		if err := q.Resume(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	why(perform(lifeJob.With("", plainjobs.In(time.Hour))), "It is scheduled for")
	// A due job that is still Scheduled is held by something else.
	due := perform(lifeJob.With("", plainjobs.In(time.Microsecond)))
	for get(t, b, due).RunAt.After(time.Now()) {
		runtime.Gosched()
	}
	why(due, "It waits for a slot of the only live worker that knows its name")
	claim("life/plain")
	why(plain, "It runs, in attempt 1, on here (pid 8)")
	if _, err := b.Set(ctx, 0, []backend.Settings{{Name: "life/plain", MaxRunning: 1}}); err != nil {
		t.Fatal(err)
	}
	head := perform(lifeJob.With("", plainjobs.Serial("s")))
	why(head, "1 jobs named life/plain are running, the limit.")
	if err := q.Override(ctx, "life/plain", "ann", plainjobs.MaxRunning(1)); err != nil {
		t.Fatal(err)
	}
	why(head, "are running, the limit that ann has set on ")
	if err := q.Override(ctx, "life/plain", "bob"); err != nil {
		t.Fatal(err)
	}
	why(perform(lifeJob.With("", plainjobs.Serial("s"))), fmt.Sprintf("held by job #%d", head))
	if _, err := q.Cancel(ctx, plainjobs.Filter{IDs: []int64{plain, head}}); err != nil {
		t.Fatal(err)
	}
	why(plain, "was cancelled, and its handler has not returned")
	why(head, "It is cancelled since")
	if _, err := q.Why(ctx, 1<<40); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("Why of no job = %v", err)
	}
}
