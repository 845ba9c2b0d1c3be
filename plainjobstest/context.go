package plainjobstest

import (
	"cmp"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Context returns the context of a run, for the test of a handler that is called as a
// function. [plainjobs.FromContext] returns the fields of info that a run has, see
// [plainjobs.Info]. Without a value, the ID and Attempt are 1, MaxAttempts is the job's
// or the default, and CreatedAt and RunAt are now.
//
// plainjobs.Perform uses a queue of [Inline], or one that [plainjobs.NewContext] puts in
// the context. plainjobs.Complete does nothing.
func Context(tb testing.TB, info plainjobs.Info) context.Context {
	tb.Helper()
	_, q := Inline(tb)
	job := &backend.Job{
		Lease: backend.Lease{ID: cmp.Or(info.ID, 1), Token: 1}, Name: info.Name, Payload: info.Payload, Priority: info.Priority,
		Attempt: cmp.Or(info.Attempt, 1), MaxAttempts: info.MaxAttempts, Suspect: info.Suspect,
		CreatedAt: info.CreatedAt, RunAt: info.RunAt, UniqueKey: info.UniqueKey, SerialKey: info.SerialKey,
	}
	if job.MaxAttempts == 0 {
		job.MaxAttempts = plainjobs.DefaultMaxAttempts
		if d := engine.Lookup(job.Name); d != nil {
			job.MaxAttempts = d.MaxAttempts
		}
	}
	if now := time.Now().UTC(); job.CreatedAt.IsZero() {
		job.CreatedAt = now
	}
	if job.RunAt.IsZero() {
		job.RunAt = job.CreatedAt
	}
	if len(info.Metadata) > 0 {
		job.Metadata, _ = json.Marshal(info.Metadata) // strings always encode
	}
	return engine.WithInfo(tb.Context(), (*engine.Handle)(q).Queue(), job)
}
