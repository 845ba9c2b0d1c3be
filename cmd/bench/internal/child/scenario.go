package child

import "context"

// A Scenario is something to measure.
type Scenario struct {
	Name string
	// About is one line for the usage text.
	About string
	// Jobs is how many a run has by default; it may depend on the workers.
	Jobs func(workers int) int
	// Workers are the numbers of handlers at once, or of pushing goroutines,
	// that are measured by default; empty if there is one only.
	Workers []int
	// Processes are the numbers of processes that are measured by default;
	// empty if theirs makes no difference.
	Processes []int
	// Most bounds the jobs of a reference, which need not be as many as its
	// scenario has; zero is no bound.
	Most int
	// On is which kinds of stores it is for; zero is all.
	On Kind
	// Limits are the references that its speed is a share of, at most one for
	// a kind of store.
	Limits []*Scenario
	// Latency says from where to where; empty if there is none.
	Latency string
	// Rateless is set if the number of jobs a second says nothing.
	Rateless bool
	// Once is set if a run has enough samples that one will do.
	Once bool

	// Profiles is set if what is timed goes on in the child alone.
	Profiles bool

	run func(context.Context, Driver, Order) ([]Result, error)
}

// Is reports whether the scenario is for a kind of store.
func (s *Scenario) Is(on Kind) bool { return s.On == 0 || s.On&on != 0 }

// Limit returns the reference on a kind of store, or nil.
func (s *Scenario) Limit(on Kind) *Scenario {
	for _, l := range s.Limits {
		if l.Is(on) {
			return l
		}
	}
	return nil
}

// Scenarios lists them all, in the order of tables.
func Scenarios() []*Scenario {
	return []*Scenario{
		drain, single, push, pushmany, tx, application, live, idle, fail, backlog, aged, memoryUse, processes, scaleout,
		limit, limitApart, limitPush, limitMany, limitCopy, limitTx,
	}
}

// Lookup returns the scenario with a name, or nil.
func Lookup(name string) *Scenario {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// jobs is a number of jobs that does not depend on the workers.
func jobs(n int) func(int) int { return func(int) int { return n } }
