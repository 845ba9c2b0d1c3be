package child

import "context"

// A Scenario is something to measure.
type Scenario struct {
	Name string
	// About is one line for the usage text.
	About string
	// Workers is set if the number of workers makes a difference; otherwise
	// a round has one run, with one worker.
	Workers bool
	// SQL is set if it needs a driver of database/sql.
	SQL bool

	run func(context.Context, Driver, Order) (Result, error)
}

// Scenarios lists them all, in the order of tables.
func Scenarios() []*Scenario { return []*Scenario{drain, single} }

// Lookup returns the scenario with a name, or nil.
func Lookup(name string) *Scenario {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s
		}
	}
	return nil
}
