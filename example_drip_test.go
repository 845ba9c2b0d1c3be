package plainjobs_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// Drip sends letters to a new customer over ten days. A letter that was sent is not sent
// again, and no worker waits between two of them. A later build may add letters: the jobs
// that are under way find theirs by name.
var Drip = plainjobs.Define("drip", func(ctx context.Context, customer string) error {
	for _, letter := range []struct {
		name string
		then time.Duration
	}{
		{"welcome", 3 * 24 * time.Hour}, {"first steps", 7 * 24 * time.Hour}, {"offer", 0},
	} {
		_, err := plainjobs.Step(ctx, letter.name, func(context.Context) (bool, error) {
			fmt.Printf("%s: %s\n", customer, letter.name)
			return true, nil
		})
		if err != nil {
			return err
		}
		if letter.then == 0 {
			return nil
		}
		if err := plainjobs.Sleep(ctx, "after "+letter.name, letter.then); err != nil {
			return err
		}
	}
	return nil
})

// A drip campaign is a job with steps and sleeps. The clock of this example goes forward by
// a day at a time.
func ExampleSleep() {
	var days atomic.Int64
	start := time.Now()
	store := memory.New(&memory.Options{Clock: func() time.Time { return start.AddDate(0, 0, int(days.Load())) }})
	queue := plainjobs.New(store, nil)
	id, err := queue.Perform(context.Background(), Drip.With("Ada"))
	if err != nil {
		log.Fatal(err)
	}
	for range 12 {
		ctx, stop := context.WithCancel(context.Background())
		go func() { // a day's work ends when nothing is due
			defer stop()
			for {
				_, err := store.Reap(ctx, backend.ReapRequest{})
				info, _ := store.Get(ctx, id)
				if err != nil || info.State == plainjobs.Scheduled || info.State == plainjobs.Done {
					return
				}
			}
		}()
		if err := worker.New(queue, &worker.Options{Jobs: []plainjobs.AnyJob{Drip}, Logger: discard}).Run(ctx); err != nil {
			log.Fatal(err)
		}
		days.Add(1)
	}
	// Output:
	// Ada: welcome
	// Ada: first steps
	// Ada: offer
}
