package worker_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// behind runs a job of two seconds with another one claimed behind it, which is soon
// released. Quick jobs before them make the worker prefetch. It returns the data of the
// jobs that ran, without the quick ones.
func behind(t *testing.T, q *plainjobs.Queue, task plainjobs.Task, meanwhile func()) []string {
	var ran []string
	jobs := bind(q, jobA, func(_ context.Context, data string) error {
		switch data {
		case "quick":
			time.Sleep(time.Microsecond)
			return nil
		case "slow":
			time.Sleep(2 * time.Second)
		}
		ran = append(ran, data)
		return nil
	})
	var tasks []plainjobs.Task
	for range 50 {
		tasks = append(tasks, jobA.With("quick"))
	}
	perform(t, q, append(tasks, jobA.With("slow"), task)...)
	stop := start(t, q, worker.Options{Concurrency: 1, Jobs: jobs})
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
	meanwhile()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	mustStop(t, stop)
	return ran
}

// A released job still expires.
func TestHandedBackExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		ran := behind(t, q, jobA.With("late", plainjobs.Before(time.Now().Add(time.Second))), func() {
			if n := count(t, b, backend.Running); n != 2 {
				t.Fatalf("%d jobs are claimed, want the slow one and the one behind it", n)
			}
		})
		if !slices.Equal(ran, []string{"slow"}) {
			t.Errorf("%v ran, and the last was to be started within a second", ran)
		}
		if n := count(t, b, backend.Cancelled); n != 1 {
			t.Errorf("%d jobs are cancelled, want the late one", n)
		}
	})
}

// The job that is pushed last under a key runs, even if the one before it was claimed
// and is released.
func TestHandedBackIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		key := plainjobs.Unique("k", plainjobs.Replace())
		var second int64
		ran := behind(t, q, jobA.With("old", key), func() {
			second = perform(t, q, jobA.With("new", key))[0]
		})
		if !slices.Equal(ran, []string{"slow", "new"}) {
			t.Errorf("%v ran, want the newest under the key", ran)
		}
		if s := state(t, b, second); s != backend.Done {
			t.Errorf("the newest is %v", s)
		}
	})
}
