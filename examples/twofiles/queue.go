package main

import (
	"context"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// openQueue opens the queue in a file of its own, so that jobs do not wait for
// the application's writes, nor it for theirs.
func openQueue(context.Context) (*plainjobs.Queue, error) {
	store, err := modernc.Open("jobs.db", nil)
	if err != nil {
		return nil, err
	}
	return plainjobs.New(store, nil), nil
}
