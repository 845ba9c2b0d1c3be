// Package torture tests plainjobs under faults: it kills and stops processes,
// takes the lock away, damages files, and counts what was lost.
//
// A test is a supervisor. It starts children (package child), which use the
// library as programs do, on one of the SQLite drivers or on all of them with
// one file, and makes them fail. Acknowledgements and runs are recorded outside
// the database under test: acknowledgements by the supervisor, on disk before
// they count; runs by each child in its own file, with one write(2) for each
// event, which survives kill -9. Only children open the database.
//
// The command is cmd/torture; go test runs each test in a short form.
package torture

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// A Config says how a test runs.
type Config struct {
	// Driver is one of [Stores].
	Driver string
	// Rounds is how often the test repeats its fault, in units of [Test.Unit].
	// Zero is the number of the test's form.
	Rounds int
	// Minutes ends the test before its rounds are done. Zero is no bound.
	Minutes float64
	// Seed of the random choices. What processes do depends on the machine,
	// too.
	Seed uint64
	// Short selects the form that go test runs.
	Short bool
	// Dir has the databases and ledgers, which are kept if the test finds
	// something.
	Dir string
	// Out receives progress.
	Out io.Writer
	// Programs are the children.
	Programs *Programs
}

// A Test is one kind of fault.
type Test struct {
	ID    string
	About string
	// Unit is the unit of Rounds.
	Unit string
	// Counts are the figures of a result that say how often the test ran.
	Counts []string
	// Short and Full are the rounds of the two forms.
	Short, Full int
	// Mixed is set if the test also runs with all drivers on one file.
	Mixed bool
	// Memory is set if the test also runs without a file.
	Memory bool
	// Only is the only one of [Stores] that the test runs on, if there is one.
	Only string
	// Unix is set if the test needs signals that only Unix has.
	Unix bool
	// Linux is set if the test reads resources that only Linux reports.
	Linux bool

	run func(*rig)
}

// Tests returns all tests in the order in which they are listed.
func Tests() []*Test {
	return slices.Clone(tests)
}

var tests = []*Test{
	killTest, rescueTest, soakTest, pushkillTest, gatesTest, flowsTest, uniqTest, cronTest, pointTest, busyTest, poisonTest, stallTest, handlerTest, stopTest,
	clockTest, ckptTest, snapTest, corruptTest, cancelTest, ioerrTest, fullTest, powerTest, linksTest, replaceTest, linTest, modelTest, simTest, mutTest,
}

// RunsOn reports whether the test runs on one of [Stores].
func (t *Test) RunsOn(store string) bool {
	switch {
	case t.Only != "":
		return store == t.Only
	case store == Source:
		return false
	}
	switch store {
	case Mixed:
		return t.Mixed
	case Memory:
		return t.Memory
	}
	return true
}

// Lookup returns the test with an ID, or nil.
func Lookup(id string) *Test {
	for _, t := range tests {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// A Skip is the error of a test that cannot run here.
type Skip struct{ Reason string }

// Error returns the reason.
func (s *Skip) Error() string { return s.Reason }

// Run runs the test. An error means that the test could not be judged. Its
// findings are in the result.
func (t *Test) Run(ctx context.Context, c Config) (Result, error) {
	switch {
	case t.Unix && !haveSignals:
		return Result{}, &Skip{t.ID + " needs signals that this system does not have"}
	case t.Linux && !haveResources:
		return Result{}, &Skip{t.ID + " needs resource figures that only Linux reports"}
	case !t.RunsOn(c.Driver):
		return Result{}, &Skip{t.ID + " does not run on " + c.Driver}
	}
	if c.Rounds == 0 {
		c.Rounds = t.Full
		if c.Short {
			c.Rounds = t.Short
		}
	}
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, t.failed(c, err)
	}
	defer r.close()
	err = try(func() {
		t.run(r)
		check(ctx.Err())
	})
	r.result.Test, r.result.Driver, r.result.Seed = t.ID, c.Driver, c.Seed
	r.result.add("sec", int(time.Since(r.began).Seconds()))
	return r.result, t.failed(c, err)
}

func (t *Test) failed(c Config, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("torture: %s on %s, seed %d: %w", t.ID, c.Driver, c.Seed, err)
}
