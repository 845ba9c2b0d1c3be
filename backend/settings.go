package backend

import (
	"cmp"
	"context"
	"time"
)

// Settings are what a store keeps and heeds by job name.
type Settings struct {
	Name string
	// MaxRunning is how many jobs of the name may be running at once, in all
	// processes, suspects and those of workers that are not reaped yet
	// included; zero is no bound.
	MaxRunning int
	// Rate is how many jobs of the name may be claimed in any span of Per,
	// whatever became of the claims; zero is no bound. A store may be up to
	// a hundredth of Per stricter.
	Rate int
	Per  time.Duration
	// History goes before the store's in each field that is not zero.
	History History
	// MaxCrashes is how many crashes (see [Backend.Reap]) fail a job of the name.
	// Zero is [DefaultMaxCrashes], and a negative number is no bound.
	MaxCrashes int
}

// Limited reports whether s bounds how many jobs run.
func (s Settings) Limited() bool { return s.MaxRunning > 0 || s.Rate > 0 }

// Condemns reports whether a job of the name fails that has crashed so often.
func (s Settings) Condemns(crashes int) bool {
	most := cmp.Or(s.MaxCrashes, DefaultMaxCrashes)
	return most > 0 && crashes >= most
}

// A SettingsStore is a Backend that keeps settings by job name, and the
// environment that it belongs to.
type SettingsStore interface {
	// Set stores settings in the place of what was stored for their names.
	// Workers do so when they start, so that those of the latest hold. It
	// forgets no claim that a rate counts. A batch in which [CheckSettings]
	// finds a fault must be refused.
	Set(ctx context.Context, settings []Settings) error
	// Pause stops claims of a name, or of all names if it is empty, until it
	// is called with paused false. A pause of all and one of a name are
	// apart. Neither touches running jobs. What is no name must be refused.
	Pause(ctx context.Context, name string, paused bool) error
	// Names returns what is known of each name that is paused or has
	// settings or jobs, ordered by name.
	Names(ctx context.Context) ([]NameInfo, error)
	// Environment returns the environment that the store belongs to, for
	// example "production", or an empty string if it belongs to none. So a copy
	// of the store is not worked on elsewhere by mistake.
	Environment(ctx context.Context) (string, error)
	// SetEnvironment makes the store belong to the environment to, or to none
	// if that is empty, and returns true, if the store belongs to from at that
	// moment; otherwise it changes nothing and returns false. It is as durable
	// as a push. It must refuse what [CheckKey] refuses.
	SetEnvironment(ctx context.Context, from, to string) (bool, error)
}

// A NameInfo is what a store knows of a job name, or with an empty name of the
// whole queue, which is listed only while it is paused.
type NameInfo struct {
	Settings
	Paused  bool
	Running int64
	// Free is when the rate allows the next claim, or zero if it does now.
	Free time.Time
}
