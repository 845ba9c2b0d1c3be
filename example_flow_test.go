package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// A Parcel is what is sold.
type Parcel struct{ Item string }

var (
	// Reserve takes an item from the stock and returns its shelf.
	Reserve = plainjobs.DefineResult("reserve-item", func(_ context.Context, p Parcel) (string, error) {
		return "shelf of " + p.Item, nil
	})
	// Debit charges the card and returns the number of the receipt.
	Debit = plainjobs.DefineResult("debit-card", func(_ context.Context, p Parcel) (int, error) {
		if p.Item == "yacht" {
			return 0, plainjobs.Cancel(errors.New("the card is refused"))
		}
		return 417, nil
	})
	// Dispatch sends the parcel. It depends on Reserve and Debit.
	Dispatch = plainjobs.Define("dispatch-parcel", func(ctx context.Context, _ Parcel) error {
		shelf, err := Reserve.Need(ctx)
		if err != nil {
			return err
		}
		receipt, err := Debit.Need(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("from the %s, receipt %d\n", shelf, receipt)
		return nil
	})
	// Answer tells the customer, whether the card was charged or not.
	Answer = plainjobs.Define("answer-customer", func(ctx context.Context, p Parcel) error {
		_, err := Debit.Need(ctx)
		if failed := (*plainjobs.JobError)(nil); errors.As(err, &failed) {
			fmt.Printf("no %s: %s\n", p.Item, failed.Last)
			return nil
		}
		return err
	})
)

// Two jobs run at the same time, and a third gets their results.
func ExampleQueue_PerformFlow() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	parcel := Parcel{"lamp"}
	var f plainjobs.Flow
	reserve := f.Add(Reserve.With(parcel))
	debit := f.Add(Debit.With(parcel))
	f.Add(Dispatch.With(parcel), plainjobs.DependsOn(reserve, debit))
	if _, err := queue.PerformFlow(ctx, &f, plainjobs.Label("order 7")); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Reserve, Debit, Dispatch)
	// Output: from the shelf of lamp, receipt 417
}

// A job that depends on the end of another runs also if that has failed.
func ExampleDependsOnEnd() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	ctx := context.Background()
	parcel := Parcel{"yacht"}
	var f plainjobs.Flow
	debit := f.Add(Debit.With(parcel))
	dispatch := f.Add(Dispatch.With(parcel), plainjobs.DependsOn(debit))
	f.Add(Answer.With(parcel), plainjobs.DependsOnEnd(debit))
	if _, err := queue.PerformFlow(ctx, &f); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Debit, Dispatch, Answer)
	info, err := queue.Get(ctx, dispatch.ID())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.State, "because", info.Errors[0].Error)
	// Output:
	// no yacht: cancelled: the card is refused
	// cancelled because not all jobs that it depends on are done: the only one was cancelled
}

var (
	// CountPage counts the words of a page.
	CountPage = plainjobs.DefineResult("count-page", func(_ context.Context, page string) (int, error) { return len(page), nil })
	// Total adds up what the pages have.
	Total = plainjobs.Define("sum-pages", func(ctx context.Context, _ string) error {
		sum := 0
		for n, err := range CountPage.Needs(ctx) {
			if err != nil {
				return err
			}
			sum += n
		}
		fmt.Println("characters:", sum)
		return nil
	})
	// Pages adds a job for each page to its own flow.
	Pages = plainjobs.Define("split-pages", func(ctx context.Context, _ string) error {
		flow, ok := plainjobs.GroupOf(ctx)
		if !ok {
			return errors.New("perform pages in a flow")
		}
		var f plainjobs.Flow
		for _, page := range []string{"one", "three", "seven"} {
			f.Add(CountPage.With(page))
		}
		return flow.PerformFlow(ctx, &f)
	})
)

// A job gets the results of many others.
func ExampleResultJob_Needs() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	var f plainjobs.Flow
	one, two := f.Add(CountPage.With("a page")), f.Add(CountPage.With("another page"))
	f.Add(Total.With("book"), plainjobs.DependsOn(one, two))
	if _, err := queue.PerformFlow(context.Background(), &f); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, CountPage, Total)
	// Output: characters: 18
}

// A job adds jobs to its flow. What depends on it waits for them, and gets their results.
func ExampleGroup_PerformFlow() {
	store := memory.New(nil)
	queue := plainjobs.New(store, nil)
	var f plainjobs.Flow
	pages := f.Add(Pages.With("book"))
	f.Add(Total.With("book"), plainjobs.DependsOn(pages))
	if _, err := queue.PerformFlow(context.Background(), &f); err != nil {
		log.Fatal(err)
	}
	workUntilDone(queue, store, Pages, CountPage, Total)
	// Output: characters: 13
}
