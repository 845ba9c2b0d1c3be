package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Complete implements [backend.Backend].
func (b *Backend) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	if err := b.enter(ctx, "complete"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	for _, c := range done {
		j := b.jobs[c.ID]
		switch {
		case j == nil || j.token != c.Token:
			lost = append(lost, c.Lease)
		case j.State == backend.Running:
			j.settled()
			b.move(j, backend.Done, now)
		case j.State != backend.Done:
			lost = append(lost, c.Lease)
		}
	}
	return lost, nil
}

// settled clears what earlier crashes left: a job that settles is no suspect.
func (j *job) settled() { j.Suspect, j.Crashes = false, 0 }

// Fail implements [backend.Backend].
func (b *Backend) Fail(ctx context.Context, failures []backend.Failure) (lost []backend.Lease, err error) {
	if err := backend.CheckFailures(failures); err != nil {
		return nil, fmt.Errorf("memory: fail: %w", err)
	}
	if err := b.enter(ctx, "fail"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	for _, f := range failures {
		j := b.jobs[f.ID]
		switch {
		case j == nil || j.token != f.Token:
			lost = append(lost, f.Lease)
		case j.State == backend.Running:
			b.fail(j, f, now)
		case j.ending != f.Ending:
			lost = append(lost, f.Lease)
		}
	}
	return lost, nil
}

func (b *Backend) fail(j *job, f backend.Failure, now time.Time) {
	j.ending = f.Ending
	if f.Error != "" {
		j.record(j.Failures+1, f.Error, now)
	}
	if f.Ending.Spends() {
		j.Failures++
	}
	if f.Ending != backend.EndRelease {
		j.settled()
		j.RunAt = now.Add(f.Delay.Truncate(time.Microsecond))
	}
	b.move(j, f.Ending.State(f.Delay), now)
}

// record keeps the last ten errors.
func (j *job) record(attempt int, text string, now time.Time) {
	j.Errors = append(j.Errors, backend.RunError{Attempt: attempt, At: now, Error: backend.CleanError(text)})
	if len(j.Errors) > 10 {
		j.Errors = slices.Delete(j.Errors, 0, len(j.Errors)-10)
	}
}
