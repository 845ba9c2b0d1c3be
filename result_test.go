package plainjobs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

// In a test without a worker, Await in a handler returns an error for a waiting job, because
// it would wait forever.
func TestAwaitWithoutWorker(t *testing.T) {
	_, memory := plainjobstest.Memory(t)
	_, inline := plainjobstest.Inline(t)
	for what, q := range map[string]*plainjobs.Queue{"memory": memory, "inline": inline} {
		plainjobs.HandleResult(q, resultJob, func(context.Context, int) (string, error) { return "", nil })
		plainjobs.Handle(q, lifeJob, func(ctx context.Context, _ string) error {
			id, err := q.Perform(ctx, resultJob.With(1, plainjobs.In(time.Millisecond)))
			if err == nil {
				_, err = resultJob.Await(ctx, q, id)
			}
			return plainjobs.Cancel(err)
		})
		_, err := q.Perform(t.Context(), lifeJob.With(""))
		for _, drained := range plainjobstest.Drain(t, q, plainjobstest.Failures()) {
			err = errors.Join(err, drained)
		}
		if err == nil || !strings.Contains(err.Error(), "no worker runs in this test") {
			t.Errorf("%s: a handler that awaits a waiting job ended with %v", what, err)
		}
	}
}

func TestResults(t *testing.T) {
	q, _ := newQueue(t, nil)
	ctx := t.Context()
	plainjobs.HandleResult(q, resultJob, func(_ context.Context, n int) (string, error) {
		if n < 0 {
			return "", plainjobs.Cancel(errors.New("negative"))
		}
		return strings.Repeat("x", n), nil
	})
	ids, err := q.PerformMany(ctx, resultJob.With(3), resultJob.With(-1), resultJob.With(2<<20))
	if err != nil {
		t.Fatal(err)
	}
	plainjobstest.Drain(t, q, plainjobstest.Failures())
	if r, err := resultJob.Await(ctx, q, ids[0]); r != "xxx" || err != nil {
		t.Errorf("Await = %q, %v", r, err)
	}
	var failed *plainjobs.JobError
	if _, err := resultJob.Await(ctx, q, ids[1]); !errors.As(err, &failed) || failed.State != plainjobs.Cancelled || failed.ID != ids[1] {
		t.Errorf("Await of a cancelled job = %v", err)
	}
	// A result that is too large fails the run and is not stored.
	if info, err := q.Get(ctx, ids[2]); err != nil || info.State != plainjobs.Scheduled || info.Result != nil ||
		!strings.Contains(info.Errors[0].Error, "at most 1048576") {
		t.Errorf("the job with a large result is %v with %+v, %v", info.State, info.Errors, err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := resultJob.Await(short, q, ids[2]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await of a waiting job = %v", err)
	}
	if _, err := resultJob.Await(ctx, q, 1<<40); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("Await of no job = %v", err)
	}
}

// Await with a job's new name returns the result of a job that was pushed under its old
// name.
func TestAwaitByAlias(t *testing.T) {
	q, b := newQueue(t, nil)
	ctx := t.Context()
	plainjobs.HandleResult(q, renamedResult, func(_ context.Context, n int) (int, error) { return n + 1, nil })
	pushed, err := b.Push(ctx, []backend.NewJob{
		{Name: "life/result-old", Payload: []byte("6"), MaxAttempts: 1}, {Name: "life/plain", Payload: []byte(`""`), MaxAttempts: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	plainjobs.Handle(q, lifeJob, func(context.Context, string) error { return nil })
	plainjobstest.Drain(t, q)
	if r, err := renamedResult.Await(ctx, q, pushed[0].ID); r != 7 || err != nil {
		t.Errorf("Await = %d, %v, want 7", r, err)
	}
	if _, err := renamedResult.Await(ctx, q, pushed[1].ID); err == nil || !strings.Contains(err.Error(), "is named life/plain, not life/result-new") {
		t.Errorf("Await of another job = %v", err)
	}
}

type chanResult struct{ C chan int }

var unencodable = plainjobs.DefineResult("life/unencodable", func(context.Context, int) (chanResult, error) {
	return chanResult{}, nil
})

func TestResultDoesNotEncode(t *testing.T) {
	ctx, _ := plainjobstest.Inline(t)
	_, err := plainjobs.Perform(ctx, unencodable.With(1))
	if err == nil || !strings.Contains(err.Error(), "result of job life/unencodable #1, a plainjobs_test.chanResult, does not encode") {
		t.Errorf("Perform = %v", err)
	}
}
