package plainjobs

import (
	"log/slog"
	"time"
)

// An Info is what is known of a job, its payload apart.
type Info struct {
	ID   int64
	Name string
	// Attempt is 1 for the first run and one more after each failure. A run
	// that is repeated because a worker died has the same number again.
	Attempt     int
	MaxAttempts int
	Priority    int16
	// CreatedAt is when the job was pushed, RunAt when it was to run, by the
	// store's clock, in UTC.
	CreatedAt, RunAt time.Time
}

// LogValue implements [slog.LogValuer].
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", i.Name), slog.Int64("id", i.ID), slog.Int("attempt", i.Attempt))
}
