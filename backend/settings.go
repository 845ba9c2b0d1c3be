package backend

import (
	"context"
	"time"
)

// Settings are what a store enforces by job name. Zero Settings are the defaults: setting them
// removes all bounds of the name.
type Settings struct {
	Name string
	// MaxRunning bounds the running jobs of the name in all processes; zero means no bound. Suspects
	// count, and so do jobs of dead workers until they are rescued.
	MaxRunning int
	// Rate bounds the claims of the name in any span of Per, whatever became of the claims; zero
	// means no bound. A store may be stricter by a hundredth of Per. If the clock is set back, claims
	// that were counted in what is now the future count as claimed now, so for at most Per.
	Rate int
	Per  time.Duration
	// History overrides the store's in each field that is not zero.
	History History
	// MaxCrashes is the number of crashes (see [Backend.Reap]) that fail a job of the name. Zero
	// means [DefaultMaxCrashes], a negative number means no bound.
	MaxCrashes int
}

// Limited reports whether s bounds the running jobs.
func (s Settings) Limited() bool { return s.MaxRunning > 0 || s.Rate > 0 }

// A SettingsStore is a Backend that keeps settings by job name, and the environment that it belongs
// to.
type SettingsStore interface {
	// Set replaces the settings of the given names. Workers call it when they start, so the settings
	// of the most recently started worker apply. It forgets no claim that a rate counts. It must
	// refuse what check.Set refuses.
	Set(ctx context.Context, settings []Settings) error
	// Pause stops claims of a name, or of all names if name is empty, until it is called with paused
	// false. A pause of all names and a pause of one name are independent. Running jobs go on. It
	// must refuse what check.Name refuses, except the empty name.
	Pause(ctx context.Context, name string, paused bool) error
	// Names returns the names that are paused, have settings other than zero, or have jobs, in order.
	Names(ctx context.Context) ([]NameInfo, error)
	// Environment returns the environment that the store belongs to, for example "production", or an
	// empty string. It protects a copy of the store from being worked on by mistake.
	Environment(ctx context.Context) (string, error)
	// SetEnvironment changes the environment to to, as durably as a push, and returns true, if it is
	// from at that moment. Otherwise it changes nothing and returns false. An empty string means no
	// environment. It must refuse what check.Key refuses.
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
