// Hello is the smallest program with jobs:
//
//	go run ./examples/hello perform hello '{"name":"Ada"}', and then work
package main

import (
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/cli"
	"github.com/plainjobs/plainjobs/dashboard"
)

type person struct{ Name string }

var _ = plainjobs.Define("hello", func(_ context.Context, p person) error {
	fmt.Printf("hello, %s\n", p.Name)
	return nil
})

func main() {
	cli.Main(cli.App{Open: func(context.Context) (*plainjobs.Queue, error) {
		store, err := modernc.Open("hello.db", nil)
		if err != nil {
			return nil, err
		}
		return plainjobs.New(store, nil), nil
	}, Dashboard: dashboard.Handler})
}
