package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/plainjobs/plainjobs"
)

// An order is what a customer buys.
type order struct {
	ID    int
	Item  string
	Cents int
}

// approvalAbove is the amount in cents above which a person approves an order.
const approvalAbove = 100_000

// approval is sent by "order approve" and "order refuse". Its key is the order's.
var approval = plainjobs.DefineSignal[decision]("approval")

type decision struct {
	Approved bool
	By       string
}

func (o order) key() string { return fmt.Sprintf("order %d", o.ID) }

var (
	// reserve takes the item from the stock and returns its shelf.
	reserve = plainjobs.DefineResult("reserve", func(_ context.Context, o order) (string, error) {
		if o.Item == "" {
			return "", plainjobs.Cancel(errors.New("there is no such item"))
		}
		return "shelf of the " + o.Item, nil
	})
	// approve waits for a decision. It holds no worker meanwhile.
	approve = plainjobs.Define("approve", func(ctx context.Context, o order) error {
		d, err := approval.Wait(ctx, o.key(), 72*time.Hour)
		switch {
		case errors.Is(err, plainjobs.ErrSignalTimeout):
			return plainjobs.Cancel(errors.New("it was not approved in three days"))
		case err != nil:
			return err
		case !d.Approved:
			return plainjobs.Cancel(fmt.Errorf("%s refused it", d.By))
		}
		return nil
	})
	// charge charges the card and returns the number of the receipt. The provider would take
	// the order's key as the key of the payment, so that a second run charges nothing.
	charge = plainjobs.DefineResult("charge", func(_ context.Context, o order) (int, error) {
		return 1000 + o.ID, nil
	})
	// ship sends the item from its shelf, with the receipt.
	ship = plainjobs.Define("ship", func(ctx context.Context, o order) error {
		shelf, err := reserve.Need(ctx)
		if err != nil {
			return err
		}
		receipt, err := charge.Need(ctx)
		if err != nil {
			return err
		}
		log.Printf("order %d leaves the %s with receipt %d", o.ID, shelf, receipt)
		return nil
	})
	// mail tells the customer what became of the order. It runs in any case.
	mail = plainjobs.Define("mail", func(ctx context.Context, o order) error {
		flow, ok := plainjobs.GroupOf(ctx)
		if !ok {
			return errors.New("mail runs in a flow")
		}
		info, err := flow.Info(ctx)
		if err != nil {
			return err
		}
		if info.Failed+info.Cancelled > 0 {
			log.Printf("mail: order %d could not be sent", o.ID)
		} else {
			log.Printf("mail: order %d is on its way", o.ID)
		}
		return nil
	})
)

// place stores the jobs of an order.
func place(ctx context.Context, queue *plainjobs.Queue, o order) (*plainjobs.Group, error) {
	var f plainjobs.Flow
	stock := f.Add(reserve.With(o))
	var first []plainjobs.Node // before the card is charged
	if o.Cents > approvalAbove {
		first = append(first, f.Add(approve.With(o), plainjobs.DependsOn(stock)))
	}
	card := f.Add(charge.With(o), plainjobs.DependsOn(first...))
	parcel := f.Add(ship.With(o), plainjobs.DependsOn(stock, card))
	f.Add(mail.With(o), plainjobs.DependsOnEnd(parcel))
	return queue.PerformFlow(ctx, &f, plainjobs.Label(o.key()))
}
