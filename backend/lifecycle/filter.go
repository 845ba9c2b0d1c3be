package lifecycle

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// Matches reports whether f selects a job, whose Errors and Metadata must be complete. A running job counts as
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
		(len(f.Names) == 0 || slices.Contains(f.Names, job.Name)) &&
		(len(f.States) == 0 || slices.Contains(f.States, job.State)) &&
		(f.Key == "" || f.Key == job.UniqueKey || f.Key == job.SerialKey || f.Key == job.FairKey) &&
		(!f.HasKey || job.UniqueKey != "" && (!job.State.Terminal() || !job.KeyUntil.IsZero())) &&
		(f.Gate == 0 || job.Gating != nil && slices.Contains(job.Gating.Gates, f.Gate)) &&
		(f.Behind == 0 || job.Gating != nil && job.Gating.Gate == f.Behind) &&
		strings.Contains(lastError, f.Error) &&
		(f.Since.IsZero() || !at.Before(f.Since)) &&
		(f.Until.IsZero() || at.Before(f.Until)) &&
		hasPairs(job.Metadata, f.Metadata)
}

// hasPairs reports whether metadata is a JSON object with the pairs.
func hasPairs(metadata []byte, pairs map[string]string) bool {
	if len(pairs) == 0 {
		return true
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(metadata, &object) != nil {
		return false
	}
	for key, want := range pairs {
		var value any
		if json.Unmarshal(object[key], &value) != nil || value != any(want) {
			return false
		}
	}
	return true
}
