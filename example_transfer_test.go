package plainjobs_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// All jobs of a queue go to a file, or another place, and from there into
// another queue.
func ExampleQueue_Export() {
	ctx := context.Background()
	queue := plainjobs.New(memory.New(nil), nil)
	if _, err := queue.PerformMany(ctx, Welcome.With(User{Name: "Ada"}), Welcome.With(User{Name: "Bob"})); err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer
	written, err := queue.Export(ctx, &file, plainjobs.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	other := plainjobs.New(memory.New(nil), nil)
	read, err := other.Import(ctx, bytes.NewReader(file.Bytes()))
	if err != nil {
		log.Fatal(err)
	}
	info, err := other.Get(ctx, 2)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(written.Jobs, read.Jobs, read.Sum == written.Sum)
	fmt.Println(info.State, string(info.Payload))
	// Output:
	// 2 2 true
	// pending {"Name":"Bob","Email":""}
}

// An import that was interrupted is repeated.
func ExampleQueue_Import() {
	ctx := context.Background()
	store, err := modernc.Open(tempFile("import.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	queue := plainjobs.New(store, nil)
	defer queue.Close()
	if _, err := queue.Perform(ctx, Welcome.With(User{Name: "Ada"})); err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := queue.Export(ctx, &file, plainjobs.Filter{Names: []string{"welcome"}}); err != nil {
		log.Fatal(err)
	}
	again, err := queue.Import(ctx, &file)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d were there already\n", again.Present, again.Jobs)
	// Output: 1 of 1 were there already
}

// A queue moves into another store: from a file to a server, for instance.
func ExampleQueue_MoveTo() {
	ctx := context.Background()
	old := plainjobs.New(memory.New(nil), nil)
	if _, err := old.Perform(ctx, Welcome.With(User{Name: "Ada"})); err != nil {
		log.Fatal(err)
	}
	store, err := modernc.Open(tempFile("moved.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	queue := plainjobs.New(store, nil)
	defer queue.Close()
	if _, err := old.MoveTo(ctx, queue, func(text string) { fmt.Println(text) }); err != nil {
		log.Fatal(err)
	}
	// Now the program opens the new store, and then:
	if err := queue.Resume(ctx, ""); err != nil {
		log.Fatal(err)
	}
	// Output:
	// paused both queues: their workers wait
	// comparing both queues
	// compared, and the same: 1
}
