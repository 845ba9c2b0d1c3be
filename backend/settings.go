package backend

import (
	"context"
	"time"
)

// Settings are what a store enforces by job name. Zero Settings are the defaults: setting them
// removes all bounds of the name.
type Settings struct {
	Name string
	// MaxRunning bounds the running jobs of the name in all processes, with suspects and the jobs of
	// dead workers that are not rescued yet; zero means no bound.
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

// A SettingsStore is a Backend that keeps settings by job name, and its environment.
type SettingsStore interface {
	// Set replaces the settings of the given names. Workers call it when they start, so the settings
	// of the most recently started worker apply. It forgets no claim that a rate counts.
	Set(ctx context.Context, settings []Settings) error
	// Pause stops claims of a name, or of all names if name is empty, until it is called with paused
	// false. Pauses of all names and of one name are independent. Running jobs go on. Pause must
	// refuse what check.Name refuses, except the empty name.
	Pause(ctx context.Context, name string, paused bool) error
	// Names returns the names that are paused, have settings other than zero, or have jobs, in order.
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
	Settings
	Paused  bool
	Running int64
	Free    time.Time // when the rate allows the next claim; zero if it does now
}
