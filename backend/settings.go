package backend

import (
	"context"
	"time"
)

// Settings are what a store enforces by job name. Zero Settings are the defaults: they bound nothing.
type Settings struct {
	Name string
	// MaxRunning bounds the running jobs of the name in all processes, with suspects and the jobs of
	// dead workers that are not rescued yet; zero means no bound. If it is below what runs, no job
	// starts until fewer run.
	MaxRunning int
	// Rate bounds the claims of the name in any span of Per, whatever became of the claims; zero
	// means no bound. A store may be stricter by a hundredth of Per. If the clock is set back, claims
	// that were counted in what is now the future count as claimed now, so for at most Per.
	Rate    int
	Per     time.Duration
	History History // overrides the store's in each field that is not zero
	// MaxCrashes is the number of crashes that fail a job; see [Backend.Reap]. Zero means
	// [DefaultMaxCrashes], a negative number no bound.
	MaxCrashes int
}

// Limited reports whether s bounds the running jobs.
func (s Settings) Limited() bool { return s.MaxRunning > 0 || s.Rate > 0 }

// An Override is what people set for a name at run time. Each field that is not zero applies instead
// of what workers define.
type Override struct {
	// Settings are the fields that apply. A negative MaxRunning or Rate lifts the bound.
	Settings
	// Concurrency bounds the runs of the name at once in each worker; a negative number lifts the
	// bound. The store keeps it for [HeartbeatResult].
	Concurrency int
	// Weights are how many jobs in a row the keys of [NewJob].Fair have in each turn, from 1 to 1000,
	// for at most 1000 keys. A key without a weight has 1. A change sets those of the keys that it
	// gives, for the turns that their jobs take from then on; jobs that are Pending keep theirs.
	Weights map[string]int
	By      string    // who changed it last
	At      time.Time // when, by the store's clock; after an import, by that of the source
}

// Zero reports whether o overrides nothing.
func (o Override) Zero() bool {
	o.Name = ""
	return o.Settings == Settings{} && o.Concurrency == 0 && len(o.Weights) == 0
}

// A SettingsStore is a Backend that keeps settings by job name, and its environment.
//
// The settings of a name are what the workers with a row define for it, together the strictest; see
// lifecycle.Strictest. So a value holds while a worker that defines it lives. A worker takes part
// from its first Set on, with zero Settings for each of its [Worker].Jobs that it does not define.
// When a row is deleted, the settings of the names that its worker knew are computed again in that
// transaction, also if the worker defined nothing for them. A name of which no worker with a row knows keeps its settings. What people override
// applies instead, until they reset it.
type SettingsStore interface {
	// Set replaces what a worker defines, and returns the settings that apply to given names where
	// they differ from the given ones. Without a row of the worker it returns ErrWorkerGone. The
	// worker zero stands for none: the settings apply to those of the names of which no worker with a
	// row knows. Set forgets no claim that a rate counts.
	Set(ctx context.Context, worker int64, settings []Settings) (instead []Settings, err error)
	// Override changes what people set for o.Name, as durably as a push: the fields of o that are not
	// zero, By and At. With reset, all other fields are zero afterwards. A zero o.At is the store's time.
	Override(ctx context.Context, o Override, reset bool) error
	// Pause stops claims of a name, or of all names if name is empty, until it is called with paused
	// false. Pauses of all names and of one name are independent. Running jobs go on. Pause must
	// refuse what check.Name refuses, except the empty name.
	Pause(ctx context.Context, name string, paused bool) error
	// Names returns the names that are paused, have settings other than zero, are overridden, or have
	// jobs, in order.
	Names(ctx context.Context) ([]NameInfo, error)
	// Environment returns the environment that the store belongs to, for example "production", or an
	// empty string for none. Workers do not start in another one, such as a copy of the store.
	Environment(ctx context.Context) (string, error)
	// SetEnvironment changes the environment to to, as durably as a push, and returns true, if it is
	// from at that moment. Otherwise it changes nothing and returns false. It must refuse what
	// check.Key refuses.
	SetEnvironment(ctx context.Context, from, to string) (bool, error)
}

// A NameInfo is what a store knows of a job name. The empty name stands for all names, and is listed
// only while all are paused.
type NameInfo struct {
	Settings          // those that apply
	Defined  Settings // those of the workers, without Override
	Differ   bool     // workers define different settings; Defined are the strictest
	Override Override
	Paused   bool
	Running  int64
	Free     time.Time // when the rate allows the next claim; zero if it does now
}
