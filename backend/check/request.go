package check

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
)

// Settings returns an error unless the settings are valid, whatever the store.
func Settings(settings []backend.Settings) error {
	for _, s := range settings {
		switch {
		case checkName(s.Name) != "":
			return fmt.Errorf("%w: name %q %s", backend.ErrInvalid, s.Name, checkName(s.Name))
		case s.MaxRunning < 0:
			return fmt.Errorf("%w: %s: MaxRunning %d is negative", backend.ErrInvalid, s.Name, s.MaxRunning)
		case s.MaxCrashes < -math.MaxInt32 || s.MaxCrashes > math.MaxInt32:
			return fmt.Errorf("%w: %s: %d crashes are not within 32 bits", backend.ErrInvalid, s.Name, s.MaxCrashes)
		case s.Rate < 0 || s.Per < 0 || s.Per > maxPer || (s.Rate == 0) != (s.Per == 0):
			return fmt.Errorf("%w: %s: rate %d per %v: both must be positive, and the time at most 366 days", backend.ErrInvalid, s.Name, s.Rate, s.Per)
		}
		if err := History(s.History); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if s.History.Total != 0 {
			return fmt.Errorf("%w: %s: History.Total is of a store's options: use Bytes for a name", backend.ErrInvalid, s.Name)
		}
	}
	return nil
}

// The bounds of the weights of a name.
const (
	maxWeights = 1000
	maxWeight  = 1000
)

// Override returns an error unless the override is valid, whatever the store.
func Override(o backend.Override) error {
	if err := Key(o.By); err != nil {
		return fmt.Errorf("%s: who overrides: %w", o.Name, err)
	}
	if o.Concurrency < -math.MaxInt32 || o.Concurrency > math.MaxInt32 {
		return fmt.Errorf("%w: %s: a concurrency of %d is not within 32 bits", backend.ErrInvalid, o.Name, o.Concurrency)
	}
	if len(o.Weights) > maxWeights {
		return fmt.Errorf("%w: %s: %d weights, at most %d", backend.ErrInvalid, o.Name, len(o.Weights), maxWeights)
	}
	for key, weight := range o.Weights {
		if err := Key(key); err != nil || key == "" {
			return fmt.Errorf("%w: %s: a weight's key: %w", backend.ErrInvalid, o.Name, cmp.Or(err, errors.New("it is empty")))
		}
		if weight < 1 || weight > maxWeight {
			return fmt.Errorf("%w: %s: a weight of %d for the key %q is not within 1 and %d", backend.ErrInvalid, o.Name, weight, key, maxWeight)
		}
	}
	s := o.Settings
	if s.MaxRunning < 0 {
		s.MaxRunning = 0
	}
	if s.Rate < 0 && s.Per == 0 {
		s.Rate = 0
	}
	return Settings([]backend.Settings{s})
}

// History returns an error if a retention is longer than 100 years.
func History(h backend.History) error {
	if h.Done > maxDelay || h.Failed > maxDelay {
		return fmt.Errorf("%w: history of %v/%v is longer than 100 years", backend.ErrInvalid, h.Done, h.Failed)
	}
	return nil
}

// Define returns an error unless the schedules may be defined or imported.
func Define(schedules []backend.Schedule) error {
	for _, s := range schedules {
		switch {
		case checkName(s.Name) != "":
			return fmt.Errorf("%w: schedule %q %s", backend.ErrInvalid, s.Name, checkName(s.Name))
		case len(s.Definition) > maxMetadata || !utf8.ValidString(s.Definition) || strings.ContainsRune(s.Definition, 0):
			return fmt.Errorf("%w: schedule %s: its definition is not UTF-8 without NUL of at most %d bytes", backend.ErrInvalid, s.Name, maxMetadata)
		case s.Next.IsZero():
			return fmt.Errorf("%w: schedule %s has no next tick", backend.ErrInvalid, s.Name)
		}
	}
	return nil
}

// Tick returns an error unless the tick is followed by a later one and its jobs are valid.
func Tick(t backend.Tick) error {
	if !t.Next.After(t.Due) {
		return fmt.Errorf("%w: schedule %s: the tick after %v is %v", backend.ErrInvalid, t.Name, t.Due, t.Next)
	}
	return NewJobs(t.Jobs)
}

// StoredSchedule returns an error unless s may be stored under a name.
func StoredSchedule(name string, s *backend.StoredSchedule) error {
	as := backend.Schedule{Name: s.Name, Definition: s.Definition, Next: s.Next}
	if err := Define([]backend.Schedule{as}); err != nil {
		return err
	}
	switch {
	case s.Name != name:
		return fmt.Errorf("%w: schedule %s: its name is %s", backend.ErrInvalid, name, s.Name)
	case s.Look.IsZero():
		return fmt.Errorf("%w: schedule %s has no time at which to look at it", backend.ErrInvalid, name)
	case s.Job.Gating != nil || !s.Job.RunAt.IsZero() || !s.Job.ExpiresAt.IsZero():
		return fmt.Errorf("%w: schedule %s: its job has a gate or a time of its own", backend.ErrInvalid, name)
	case len(s.Runs) > backend.KeepRuns:
		return fmt.Errorf("%w: schedule %s: %d runs, at most %d", backend.ErrInvalid, name, len(s.Runs), backend.KeepRuns)
	}
	if err := NewJobs([]backend.NewJob{s.Job}); err != nil {
		return fmt.Errorf("schedule %s: %w", name, err)
	}
	return nil
}

// StoredRequest returns the limit of req, or an error.
func StoredRequest(req backend.StoredRequest) (int, error) {
	switch {
	case req.Limit < 0 || req.Limit > maxPage:
		return 0, fmt.Errorf("%w: a page of %d schedules is not within 0 and %d", backend.ErrInvalid, req.Limit, maxPage)
	case req.Due && (req.Prefix != "" || req.Problems):
		return 0, fmt.Errorf("%w: due schedules are not searched by prefix or problem", backend.ErrInvalid)
	case Key(req.Prefix) != nil || Key(req.After) != nil:
		return 0, fmt.Errorf("%w: a prefix or name of schedules is not UTF-8 without NUL of at most 255 bytes", backend.ErrInvalid)
	case req.Limit == 0:
		return 100, nil
	}
	return req.Limit, nil
}

// TickStored returns an error unless the ticks are valid and of different schedules.
func TickStored(ticks []backend.Tick) error {
	if len(ticks) > MaxBatch {
		return fmt.Errorf("%w: %d ticks, at most %d at once", backend.ErrInvalid, len(ticks), MaxBatch)
	}
	seen := make(map[string]bool, len(ticks))
	for _, t := range ticks {
		switch {
		case seen[t.Name]:
			return fmt.Errorf("%w: two ticks of schedule %s at once", backend.ErrInvalid, t.Name)
		case !utf8.ValidString(t.Problem) || strings.ContainsRune(t.Problem, 0):
			return fmt.Errorf("%w: schedule %s: its problem is not UTF-8 without NUL", backend.ErrInvalid, t.Name)
		}
		seen[t.Name] = true
		if !t.Defer.IsZero() {
			continue
		}
		if err := Tick(t); err != nil {
			return err
		}
	}
	return nil
}

func checkFilter(f backend.Filter) error {
	switch {
	case len(f.IDs) > maxPage:
		return fmt.Errorf("%w: %d IDs, at most %d at once", backend.ErrInvalid, len(f.IDs), maxPage)
	case len(f.Names) > maxPage:
		return fmt.Errorf("%w: %d names, at most %d", backend.ErrInvalid, len(f.Names), maxPage)
	case slices.ContainsFunc(f.States, unknown):
		return fmt.Errorf("%w: unknown state among %v", backend.ErrInvalid, f.States)
	case !validPairs(f.Metadata):
		return fmt.Errorf("%w: metadata to filter by is not UTF-8 without NUL", backend.ErrInvalid)
	case f.Gate < 0 || f.Behind < 0:
		return fmt.Errorf("%w: a gate has the ID %d", backend.ErrInvalid, min(f.Gate, f.Behind))
	case !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until):
		return fmt.Errorf("%w: Since %v is not before Until %v", backend.ErrInvalid, f.Since, f.Until)
	}
	return nil
}

func unknown(s backend.State) bool { return !slices.Contains(backend.States(), s) }

func validPairs(pairs map[string]string) bool {
	for key, value := range pairs {
		if !utf8.ValidString(key+value) || strings.ContainsRune(key+value, 0) {
			return false
		}
	}
	return true
}

// Operate returns an error unless req is valid.
func Operate(req backend.OperateRequest) error {
	switch {
	case req.Op < backend.OpRetry || req.Op > backend.OpRewrite:
		return fmt.Errorf("%w: unknown operation %d", backend.ErrInvalid, req.Op)
	case req.Limit < 0 || req.Limit > maxPage:
		return fmt.Errorf("%w: operate limit %d is not within 1 and %d", backend.ErrInvalid, req.Limit, maxPage)
	case req.Before < 0:
		return fmt.Errorf("%w: operate before ID %d", backend.ErrInvalid, req.Before)
	case req.Priority != nil && req.Op != backend.OpRetry && req.Op != backend.OpPrioritize:
		return fmt.Errorf("%w: operation %d takes no priority; only OpRetry and OpPrioritize do", backend.ErrInvalid, req.Op)
	case req.Priority == nil && req.Op == backend.OpPrioritize:
		return fmt.Errorf("%w: OpPrioritize needs a priority", backend.ErrInvalid)
	case (req.Op == backend.OpRewrite) != (len(req.Rewrites) > 0):
		return fmt.Errorf("%w: %d rewrites for operation %d: OpRewrite has some, and no other operation does", backend.ErrInvalid, len(req.Rewrites), req.Op)
	case req.Op == backend.OpRewrite:
		return rewrites(req.Rewrites)
	case req.FromStep != "" && req.Op != backend.OpRetry:
		return fmt.Errorf("%w: operation %d takes no step; only a retry does", backend.ErrInvalid, req.Op)
	}
	return checkFilter(req.Filter)
}

func rewrites(all []backend.Rewrite) error {
	if len(all) > maxPage {
		return fmt.Errorf("%w: %d rewrites, at most %d at once", backend.ErrInvalid, len(all), maxPage)
	}
	for _, w := range all {
		switch {
		case w.Job < 1:
			return fmt.Errorf("%w: rewrite of job %d", backend.ErrInvalid, w.Job)
		case w.Part < backend.PartPayload || w.Part > backend.PartStep:
			return fmt.Errorf("%w: rewrite of the unknown part %d of job %d", backend.ErrInvalid, w.Part, w.Job)
		case (w.Part == backend.PartStep) != (w.Step != ""):
			return fmt.Errorf("%w: rewrite of job %d, part %d: only a part that is a step has the name %q", backend.ErrInvalid, w.Job, w.Part, w.Step)
		}
	}
	return nil
}

// RecordAction returns an error unless the texts of a are UTF-8 without NUL of at most
// 255 bytes for By and What and 4,096 bytes for On and End.
func RecordAction(a backend.Action) error {
	if a.ID < 0 || a.Jobs < 0 {
		return fmt.Errorf("%w: action: ID %d or number of jobs %d is negative", backend.ErrInvalid, a.ID, a.Jobs)
	}
	for _, text := range []struct {
		name, text string
		most       int
	}{{"By", a.By, maxKey}, {"What", a.What, maxKey}, {"On", a.On, maxAction}, {"End", a.End, maxAction}} {
		if len(text.text) > text.most || !utf8.ValidString(text.text) || strings.ContainsRune(text.text, 0) {
			return fmt.Errorf("%w: action: %s is not UTF-8 without NUL of at most %d bytes", backend.ErrInvalid, text.name, text.most)
		}
	}
	return nil
}

// maxAction is the number of bytes of the longest text of an action.
const maxAction = 4096

// Actions returns an error unless limit is within 1 and [backend.KeepActions], and before
// is not negative.
func Actions(before int64, limit int) error {
	if before < 0 || limit < 1 || limit > backend.KeepActions {
		return fmt.Errorf("%w: actions: limit %d is not within 1 and %d, or ID %d is negative", backend.ErrInvalid, limit, backend.KeepActions, before)
	}
	return nil
}

// Claim returns an error unless req is valid: among others, its lease is within 1 ms and
// 24 hours, and Prefetch is at most Limit.
func Claim(req backend.ClaimRequest) error {
	switch {
	case req.Worker.ID <= 0:
		return fmt.Errorf("%w: worker ID %d is not positive", backend.ErrInvalid, req.Worker.ID)
	case req.Worker.Lease < time.Millisecond || req.Worker.Lease > maxLease:
		return fmt.Errorf("%w: lease %v is not within 1ms and 24h", backend.ErrInvalid, req.Worker.Lease)
	case req.Limit < 0:
		return fmt.Errorf("%w: limit %d is negative", backend.ErrInvalid, req.Limit)
	case req.Prefetch < 0 || req.Prefetch > req.Limit:
		return fmt.Errorf("%w: prefetch %d is not within 0 and the limit %d", backend.ErrInvalid, req.Prefetch, req.Limit)
	case req.MaxBytes < 0:
		return fmt.Errorf("%w: byte bound %d is negative", backend.ErrInvalid, req.MaxBytes)
	}
	return claimNames(req.Names)
}

// A worker claims of the same names again and again, perhaps of thousands. So the
// names that were valid last are not checked again.
var lastNames atomic.Pointer[[]string]

// fewNames are checked each time.
const fewNames = 16

func claimNames(names []string) error {
	if last := lastNames.Load(); last != nil && len(names) > fewNames && slices.Equal(*last, names) {
		return nil
	}
	for _, name := range names {
		if fault := checkName(name); fault != "" {
			return fmt.Errorf("%w: name %q %s", backend.ErrInvalid, name, fault)
		}
	}
	if len(names) > fewNames {
		names = slices.Clone(names)
		lastNames.Store(&names)
	}
	return nil
}

// Heartbeat returns an error unless the activity of req is valid: each name and minute comes once,
// and no count is negative. The stuck runs must be few and their stacks short.
func Heartbeat(req backend.HeartbeatRequest) error {
	if len(req.Stuck) > backend.MaxStuck {
		return fmt.Errorf("%w: %d stuck runs, at most %d at once", backend.ErrInvalid, len(req.Stuck), backend.MaxStuck)
	}
	for _, s := range req.Stuck {
		switch {
		case checkName(s.Name) != "":
			return fmt.Errorf("%w: stuck run of name %q, which %s", backend.ErrInvalid, s.Name, checkName(s.Name))
		case len(s.Stack) > backend.MaxStack:
			return fmt.Errorf("%w: a stack of %d bytes, at most %d", backend.ErrInvalid, len(s.Stack), backend.MaxStack)
		}
	}
	if len(req.Activity) > maxPage {
		return fmt.Errorf("%w: activity of %d minutes, at most %d at once", backend.ErrInvalid, len(req.Activity), maxPage)
	}
	type minute struct {
		name string
		at   int64
	}
	seen := make(map[minute]bool, len(req.Activity))
	for _, a := range req.Activity {
		m := minute{a.Name, a.At.UnixMicro()}
		switch {
		case seen[m]:
			return fmt.Errorf("%w: two activities of %s at %v", backend.ErrInvalid, a.Name, a.At)
		case checkName(a.Name) != "":
			return fmt.Errorf("%w: activity of name %q, which %s", backend.ErrInvalid, a.Name, checkName(a.Name))
		case !a.At.Equal(a.At.Truncate(time.Minute)):
			return fmt.Errorf("%w: activity of %s at %v, which is not a full minute", backend.ErrInvalid, a.Name, a.At)
		case min(a.Done, a.Retried, a.Failed, a.Cancelled) < 0:
			return fmt.Errorf("%w: activity of %s at %v has a negative count", backend.ErrInvalid, a.Name, a.At)
		case len(a.Waited) > maxMetadata || len(a.Ran) > maxMetadata:
			return fmt.Errorf("%w: activity of %s at %v has a histogram of more than %d bytes", backend.ErrInvalid, a.Name, a.At, maxMetadata)
		}
		seen[m] = true
	}
	return nil
}

// Fail returns an error unless the failures are valid.
func Fail(failures []backend.Failure) error {
	for i, f := range failures {
		switch {
		case f.Ending < backend.EndRetry || f.Ending > backend.EndSleep:
			return fmt.Errorf("%w: failure %d: unknown ending %d", backend.ErrInvalid, i, f.Ending)
		case f.Delay < 0 || f.Delay > maxDelay:
			return fmt.Errorf("%w: failure %d: delay %v is not within 0 and 100 years", backend.ErrInvalid, i, f.Delay)
		case f.Expires < 0 || f.Expires > maxDelay || f.Expires > 0 && f.Ending != backend.EndRelease:
			return fmt.Errorf("%w: failure %d: expiry in %v is not within 0 and 100 years, or the job is not released", backend.ErrInvalid, i, f.Expires)
		case f.Ending != backend.EndSleep && (f.Step.Name != "" || f.Signal != (backend.SignalKey{})):
			return fmt.Errorf("%w: failure %d has a step or a signal, but ending %d; only EndSleep takes them", backend.ErrInvalid, i, f.Ending)
		case f.Step.Name != "" && Step(f.Step) != nil:
			return fmt.Errorf("failure %d: %w", i, Step(f.Step))
		case f.Signal != (backend.SignalKey{}) && Signal(f.Signal) != nil:
			return fmt.Errorf("failure %d: %w", i, Signal(f.Signal))
		}
	}
	return nil
}

// Reap returns an error unless req is valid.
func Reap(req backend.ReapRequest) error {
	switch {
	case req.Limit < 0:
		return fmt.Errorf("%w: reap limit %d is negative", backend.ErrInvalid, req.Limit)
	case req.StableFor < 0:
		return fmt.Errorf("%w: StableFor %v is negative", backend.ErrInvalid, req.StableFor)
	}
	return nil
}

// List returns the maximum number of jobs on the page that req asks for, or an error.
func List(req backend.ListRequest) (int, error) {
	switch {
	case req.Limit < 0 || req.Limit > maxPage:
		return 0, fmt.Errorf("%w: list limit %d is not within 1 and %d", backend.ErrInvalid, req.Limit, maxPage)
	case req.Before < 0:
		return 0, fmt.Errorf("%w: list before ID %d", backend.ErrInvalid, req.Before)
	}
	return cmp.Or(req.Limit, 100), checkFilter(req.Filter)
}
