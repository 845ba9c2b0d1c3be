package plainjobs

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// FairBy makes the jobs of a name take turns by a key of their payload, for example the
// customer: of each key one job runs, then of each key the next one, however many jobs
// each key has waiting. [Priority] comes first, then the turn. Within a key, jobs run in
// the order in which they became ready to run.
//
// A job takes its turn when it becomes [Pending]: when it is performed, and again when its
// delay, retry or snooze is over, when [Serial] or a group lets it run, and when an operator
// retries it. Its turn is then its Info.RunAt: that of the first job that waits, or later if
// its key has jobs waiting. A job that is released, or rescued from a dead worker, keeps its
// turn.
//
// [Queue.Override] with [FairWeight] gives a key more jobs in each turn.
//
// A key is at most 255 bytes of UTF-8 without NUL. A job with an empty key takes no turns:
// it stands where it would without FairBy, behind all that waits. T is the type of the
// job's payload. If the function panics, Perform returns an error.
func FairBy[T any](key func(data T) string) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if key == nil {
			return errors.New("FairBy(nil): pass a function that returns the key")
		}
		d.Fair = func(data any) string {
			v, _ := data.(T) // nil if T is an interface
			return key(v)
		}
		return d.Takes(reflect.TypeFor[T](), "FairBy")
	})
}

// FairWeight gives a key of [FairBy] n jobs in each turn, from 1 to 1000, instead of one. It
// is an option of [Queue.Override] only. It applies to jobs that become ready to run from
// then on; those that are [Pending] keep their turns. A name has weights for at most 1000
// keys.
func FairWeight(key string, n int) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if !d.Overrides {
			return errors.New("FairWeight is an option of Queue.Override: call that to give a key a weight")
		}
		if n < 1 {
			return fmt.Errorf("FairWeight(%q, %d): a weight is at least 1", key, n)
		}
		d.Weights = map[string]int{key: n}
		return checkKey("FairWeight", key)
	})
}
