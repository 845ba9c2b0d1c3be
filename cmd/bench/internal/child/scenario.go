package child

import "context"

// A Scenario is something to measure.
type Scenario struct {
	Name string
	// About is one line for the usage text.
	About string
	// Jobs returns the default number of jobs in a run, which may depend on the
	// workers.
	Jobs func(workers int) int
	// Workers are the default numbers of handlers at once, or of pushing
	// goroutines. Empty if there is only one.
	Workers []int
	// Processes are the default numbers of processes. Empty if the scenario has
	// one.
	Processes []int
	// Most bounds the jobs of a reference, which may have fewer than its
	// scenario. Zero is no bound.
	Most int
	// On is the kinds of stores that the scenario is for. Zero is all.
	On Kind
	// Limits are the references to which its speed is compared, at most one for
	// a kind of store.
	Limits []*Scenario
	// Latency says what the latency measures. Empty if there is none.
	Latency string
	// Rateless is set if the number of jobs a second means nothing.
	Rateless bool
	// Once is set if one run has enough samples.
	Once bool

	// Profiles is set if the timed part runs in the child alone.
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

// Scenarios lists all scenarios, in the order of tables.
func Scenarios() []*Scenario {
	return []*Scenario{
		drain, group, flow, fair, schedules, single, push, pushmany, tx, application, live, idle, fail, names, limited, backlog, aged, memoryUse, processes, scaleout,
		limit, limitPostgres, limitApart, limitPush, limitMany, limitCopy, limitTx,
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

// jobs returns a number of jobs that does not depend on the workers.
func jobs(n int) func(int) int { return func(int) int { return n } }
