package check

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Export returns an error unless req is valid.
func Export(req backend.ExportRequest) error {
	switch {
	case req.After < 0:
		return fmt.Errorf("%w: export after ID %d", backend.ErrInvalid, req.After)
	case req.Jobs < 0 || req.Jobs > maxPage:
		return fmt.Errorf("%w: export of %d jobs is not within 0 and %d", backend.ErrInvalid, req.Jobs, maxPage)
	case req.Signals < 0 || req.Signals > maxPage:
		return fmt.Errorf("%w: export of %d signals is not within 0 and %d", backend.ErrInvalid, req.Signals, maxPage)
	}
	return nil
}

// Import returns an error unless b is valid, whatever the store.
func Import(b backend.Batch) error {
	if b.LastID < 0 || b.LastID > MaxID {
		return fmt.Errorf("%w: the last ID is %d, not within 0 and %d", backend.ErrInvalid, b.LastID, int64(MaxID))
	}
	if n := max(len(b.Jobs), len(b.Schedules), len(b.Stored), len(b.Gates), len(b.Signals)); n > MaxBatch {
		return fmt.Errorf("%w: a batch of %d, at most %d", backend.ErrInvalid, n, MaxBatch)
	}
	if err := gates(b.Gates); err != nil {
		return err
	}
	last := int64(0)
	for i := range b.Jobs {
		r := &b.Jobs[i]
		if r.ID <= last || r.ID > MaxID {
			return fmt.Errorf("%w: job %d comes after job %d; IDs ascend and are within 1 and %d", backend.ErrInvalid, r.ID, last, int64(MaxID))
		}
		last = r.ID
		if text := fault(r); text != "" {
			return fmt.Errorf("%w: job %d: %s", backend.ErrInvalid, r.ID, text)
		}
	}
	for _, s := range b.Signals {
		if err := Signal(s.SignalKey); err != nil {
			return err
		}
		if s.At.IsZero() {
			return fmt.Errorf("%w: signal %s has no time", backend.ErrInvalid, s.Name)
		}
	}
	for i := range b.Stored {
		if err := StoredSchedule(b.Stored[i].Name, &b.Stored[i]); err != nil {
			return err
		}
	}
	return Define(b.Schedules)
}

// fault returns what is wrong with r, or nothing.
func fault(r *backend.Record) string {
	switch {
	case checkName(r.Name) != "":
		return fmt.Sprintf("name %q %s", r.Name, checkName(r.Name))
	case !slices.Contains(backend.States(), r.State):
		return fmt.Sprintf("unknown %v", r.State)
	case r.Dropped && (!r.State.Terminal() || len(r.Payload) > 0):
		return fmt.Sprintf("its payload of %d bytes was dropped, but it is %v", len(r.Payload), r.State)
	case r.MaxAttempts < 1:
		return fmt.Sprintf("max attempts is %d, must be at least 1", r.MaxAttempts)
	case r.Failures < 0 || r.Failures > math.MaxInt32 || r.Crashes < 0 || r.Crashes > math.MaxInt32:
		return fmt.Sprintf("%d failures and %d crashes", r.Failures, r.Crashes)
	case Key(r.UniqueKey) != nil:
		return fmt.Sprintf("unique key: %v", Key(r.UniqueKey))
	case Key(r.SerialKey) != nil:
		return fmt.Sprintf("serial key: %v", Key(r.SerialKey))
	case Key(r.FairKey) != nil:
		return fmt.Sprintf("fair key: %v", Key(r.FairKey))
	case checkGating(r.Gating, 0) != "":
		return checkGating(r.Gating, 0)
	case r.Delay < 0 || r.Delay > maxDelay || r.Expires < 0 || r.Expires > maxDelay:
		return fmt.Sprintf("its delay %v or expiry in %v is not within 0 and 100 years", r.Delay, r.Expires)
	case r.State == backend.Blocked && r.SerialKey == "" && (r.Gating == nil || r.Gating.Gate == 0):
		return "it is blocked and has neither a serial key nor a gate"
	case r.Scope > backend.UntilStarted || r.UniqueKey == "" && (r.Scope != 0 || !r.KeyUntil.IsZero()):
		return "the scope of its unique key is unknown, or it has none"
	case r.State.Terminal() == r.FinishedAt.IsZero():
		return fmt.Sprintf("it is %v and finished at %v", r.State, r.FinishedAt)
	case r.Cancelling && r.State != backend.Running:
		return "it is to be cancelled and does not run"
	case len(r.Metadata) > maxMetadata:
		return fmt.Sprintf("metadata of %d bytes, at most %d", len(r.Metadata), maxMetadata)
	case len(r.Errors) > maxErrors:
		return fmt.Sprintf("%d errors, at most %d", len(r.Errors), maxErrors)
	}
	for _, t := range []time.Time{r.CreatedAt, r.RunAt, r.FinishedAt, r.ExpiresAt, r.KeyUntil} {
		if !t.IsZero() && (t.Year() < 1970 || t.Year() > 9999) {
			return fmt.Sprintf("the time %v is not within 1970 and 9999", t)
		}
	}
	if r.CreatedAt.IsZero() || r.RunAt.IsZero() {
		return "it has no time at which it was pushed, or is to run"
	}
	return faultOfParts(r)
}

// faultOfParts is fault of the errors, the steps and the signal of r.
func faultOfParts(r *backend.Record) string {
	for _, e := range r.Errors {
		if e.At.IsZero() || e.Attempt < 1 {
			return "an error has no time or no attempt"
		}
	}
	steps := map[string]bool{}
	for _, s := range r.Steps {
		if Step(s) != nil || s.At.IsZero() || steps[s.Name] {
			return fmt.Sprintf("its step %.80q has an invalid name or no time, or is there twice", s.Name)
		}
		steps[s.Name] = true
	}
	if r.Waits != (backend.SignalKey{}) && (r.State != backend.Scheduled || Signal(r.Waits) != nil) {
		return "it waits for a signal and is not scheduled, or the signal is invalid"
	}
	return ""
}

// maxErrors is how many errors of a job are kept.
const maxErrors = 10
