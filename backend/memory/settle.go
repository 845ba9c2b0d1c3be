package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

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
		j := b.jobs.get(c.ID)
		switch {
		case j == nil || j.token != c.Token:
			lost = append(lost, c.Lease)
		case j.state == backend.Running:
			j.settled()
			j.ran(c.Took, now)
			if c.Result != nil {
				j.extra().result = bytes.Clone(c.Result)
			}
			b.move(j, backend.Done, now)
		case j.state != backend.Done:
			lost = append(lost, c.Lease)
		}
	}
	return lost, nil
}

// settled clears what earlier crashes left: a job that settles is no suspect.
func (j *job) settled() { j.suspect, j.crashes = false, 0 }

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
	for i := range failures {
		f := &failures[i]
		j := b.jobs.get(f.ID)
		switch {
		case j == nil || j.token != f.Token:
			lost = append(lost, f.Lease)
		case j.state == backend.Running:
			b.fail(j, f, now)
		case j.ending != f.Ending:
			lost = append(lost, f.Lease)
		}
	}
	return lost, nil
}

func (b *Backend) fail(j *job, f *backend.Failure, now int64) {
	j.ending = f.Ending
	j.ran(f.Took, now)
	ending, text := f.Ending, f.Error
	if j.cancelling {
		ending, text = backend.EndCancelled, cmp.Or(text, backend.CancelledError)
	}
	if text != "" {
		j.record(text, f.Stack, now)
	}
	if ending.Spends() {
		j.failures++
	}
	if ending != backend.EndRelease {
		j.settled()
		j.runAt = now + f.Delay.Microseconds()
	}
	b.move(j, ending.State(f.Delay), now)
	if f.Expires > 0 && waits(j.state) {
		b.expire(j, f.Expires, now)
	}
}

// StoreProgress implements [backend.Heartbeater].
func (b *Backend) StoreProgress(ctx context.Context, progress []backend.Progress) error {
	if err := b.enter(ctx, "progress"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	for _, p := range progress {
		if j := b.jobs.get(p.ID); j != nil && j.token == p.Token && j.state == backend.Running {
			m := j.extra()
			m.done, m.total = p.Done, p.Total
		}
	}
	return nil
}
