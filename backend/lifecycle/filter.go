package lifecycle

import (
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// Matches reports whether f selects a job, whose Errors must be complete. A running job counts as
// having its unique key.
func Matches(f backend.Filter, job *backend.Info) bool {
	at := job.FinishedAt
	if at.IsZero() {
		at = job.CreatedAt
	}
	lastError := ""
	if n := len(job.Errors); n > 0 {
		lastError = job.Errors[n-1].Error
	}
	return (f.IDs == nil || slices.Contains(f.IDs, job.ID)) &&
		(f.Name == "" || f.Name == job.Name) &&
		(f.State == 0 || f.State == job.State) &&
		(f.Key == "" || f.Key == job.UniqueKey || f.Key == job.SerialKey) &&
		(!f.HasKey || job.UniqueKey != "" && (!job.State.Terminal() || !job.KeyUntil.IsZero())) &&
		(f.Gate == 0 || job.Gating != nil && slices.Contains(job.Gating.Gates, f.Gate)) &&
		(f.Behind == 0 || job.Gating != nil && job.Gating.Gate == f.Behind) &&
		strings.Contains(lastError, f.Error) &&
		(f.Since.IsZero() || !at.Before(f.Since)) &&
		(f.Until.IsZero() || at.Before(f.Until))
}
