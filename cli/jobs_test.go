package cli

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs"
)

// The jobs of these tests. Golden files contain their line numbers.

type letter struct {
	To   string `json:"to"`
	Copy []int  `json:"copy,omitempty"`
}

var (
	welcomeJob = plainjobs.Declare[letter]("welcome", plainjobs.MaxAttempts(3),
		plainjobs.UniqueBy(func(l letter) string { return l.To }))
	invoiceJob = plainjobs.Define("invoice", func(context.Context, letter) error { return nil })
	importJob  = plainjobs.Declare[string]("import", plainjobs.Aliases("import-old"))
	sumJob     = plainjobs.DeclareResult[[]int, int]("sum")
	_          = plainjobs.Cron("nightly", "30 2 * * *", func(context.Context, time.Time) error { return nil }, plainjobs.Zone("Europe/Berlin"))
	_          = plainjobs.Every("often", 15*time.Minute, func(context.Context, time.Time) error { return nil })
)
