package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// Verify checks a code that should not be kept.
var Verify = plainjobs.Define("verify", func(ctx context.Context, code string) error {
	if code == "" {
		return plainjobs.Cancel(errors.New("no code"))
	}
	return nil
}, plainjobs.Keep(plainjobs.History{DropDone: true}))

// The history of a job stays without its payload.
func ExampleKeep() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	ids, err := queue.PerformMany(ctx, Verify.With("1234"), Verify.With(""))
	if err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Verify)
	for _, id := range ids {
		job, err := queue.Get(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v dropped=%v payload=%s\n", job.State, job.Dropped, job.Payload)
	}
	_, err = queue.Retry(ctx, plainjobs.Filter{IDs: ids[:1]})
	fmt.Println(errors.Is(err, plainjobs.ErrDropped))
	// Output:
	// done dropped=true payload=
	// cancelled dropped=false payload=""
	// true
}

// A retry says which jobs it leaves alone.
func TestRetryDropped(t *testing.T) {
	store := memory.New(nil)
	q := plainjobs.New(store, nil)
	ctx := t.Context()
	plainjobs.Handle(q, dropJob, func(_ context.Context, s string) error {
		if s == "bad" {
			return plainjobs.Cancel(errors.New("bad"))
		}
		return nil
	})
	ids, err := q.PerformMany(ctx, dropJob.With("bad"), dropJob.With("good"))
	if err != nil {
		t.Fatal(err)
	}
	workUntilDone(q, store, dropJob)
	n, err := q.Retry(ctx, plainjobs.Filter{All: true})
	if n != 0 || !errors.Is(err, plainjobs.ErrDropped) || !strings.Contains(err.Error(), fmt.Sprint(ids[0])) || !strings.Contains(err.Error(), fmt.Sprint(ids[1])) {
		t.Errorf("Retry = %d, %v; want an error that names %v", n, err, ids[:2])
	}
}

var dropJob = plainjobs.Declare[string]("drop", plainjobs.Keep(plainjobs.History{DropDone: true, DropFailed: true}))
