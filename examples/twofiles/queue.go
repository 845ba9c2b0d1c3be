package main

import (
	"context"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
)

// openQueue opens the queue in its own file, so that jobs and the application do not
// wait for each other's writes.
func openQueue(context.Context) (*plainjobs.Queue, error) {
	store, err := modernc.Open("jobs.db", nil)
	if err != nil {
		return nil, err
	}
	return plainjobs.New(store, nil), nil
}
