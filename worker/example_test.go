package worker_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

var greet = plainjobs.Declare[string]("example/greet")

// A web server starts the worker before it listens, and stops it after its last request.
func ExampleWorker_Start() {
	ctx := context.Background()
	queue := plainjobs.New(memory.New(nil), nil)
	defer queue.Close()
	greeted := make(chan struct{})
	plainjobs.Handle(queue, greet, func(_ context.Context, name string) error {
		fmt.Println("hello,", name)
		close(greeted)
		return nil
	})

	jobs := worker.New(queue, &worker.Options{Jobs: []plainjobs.AnyJob{greet}})
	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := queue.Perform(ctx, greet.With("Ada")); err != nil {
		log.Fatal(err)
	}
	<-greeted // instead of serving
	grace, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := jobs.Stop(grace); err != nil {
		log.Fatal(err)
	}
	// Output: hello, Ada
}
