// Package torture does to plainjobs what happens to programs: it kills them,
// stops them, takes the lock away, damages the file, and counts what was lost.
//
// A test is a supervisor that starts children (package child), which use the
// library as programs do, on one of the SQLite drivers or all of them on one
// file, and does its worst to them by process id. What was acknowledged and
// what ran is kept outside of the database under test: acknowledgements by the
// supervisor, on disk before they count, and runs by each child in a file of
// its own, a write(2) for each event, which survives kill -9. The database is
// only ever opened by children.
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

// A Config is how a test is to run.
type Config struct {
	// Driver is one of [Stores].
	Driver string
	// Rounds is how often the test does what it does; its unit is the
	// test's, see [Test.Unit]. Zero is the test's own number.
	Rounds int
	// Minutes end the test before its rounds are done; zero is no bound.
	Minutes float64
	// Seed of all that is random. What the processes make of it depends on
	// the machine too.
	Seed uint64
	// Short selects the form that go test runs.
	Short bool
	// Dir is where databases and ledgers go; they are kept if the test
	// finds something.
	Dir string
	// Out is told of progress.
	Out io.Writer
	// Programs are the children.
	Programs *Programs
}

// A Test is one way to do harm.
type Test struct {
	ID    string
	About string
	// Unit is what Rounds count.
	Unit string
	// Counts are the figures of a result that say how much was done.
	Counts []string
	// Short and Full are the rounds of the two forms.
	Short, Full int
	// Mixed is set if all drivers together on one file make sense.
	Mixed bool
	// Memory is set if it also makes sense without a file.
	Memory bool
	// Only is the one of [Stores] that it makes sense on, if there is only
	// one.
	Only string
	// Unix is set if it needs signals that only Unix has.
	Unix bool
	// Linux is set if it reads what only Linux says of processes.
	Linux bool

	run func(*rig)
}

// Tests returns all tests in the order in which they are listed.
func Tests() []*Test {
	return slices.Clone(tests)
}

var tests = []*Test{
	killTest, rescueTest, soakTest, pushkillTest, uniqTest, cronTest, pointTest, busyTest, poisonTest, stallTest, handlerTest, stopTest,
	clockTest, ckptTest, snapTest, corruptTest, cancelTest, ioerrTest, fullTest, powerTest, linksTest, replaceTest, linTest, modelTest, simTest, mutTest,
}

// RunsOn reports whether the test makes sense on one of [Stores].
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

// A Skip is the error of a test that cannot run here, and says why.
type Skip struct{ Reason string }

// Error returns the reason.
func (s *Skip) Error() string { return s.Reason }

// Run runs the test. An error means that it could not be judged; what it found
// is in the result.
func (t *Test) Run(ctx context.Context, c Config) (Result, error) {
	switch {
	case t.Unix && !haveSignals:
		return Result{}, &Skip{t.ID + " needs signals that this system does not have"}
	case t.Linux && !haveResources:
		return Result{}, &Skip{t.ID + " needs what only Linux says of processes"}
	case !t.RunsOn(c.Driver):
		return Result{}, &Skip{t.ID + " makes no sense on " + c.Driver}
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
