package memory

import (
	"bytes"
	"context"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Complete implements [backend.Backend].
func (b *Backend) Complete(ctx context.Context, done []backend.Completion) (lost []backend.Lease, err error) {
	if err := b.enter(ctx, "complete"); err != nil {
		return nil, err
	}
	defer b.leave()
	now := b.now()
	for i := range done {
		c := &done[i]
		j := b.jobs.get(c.ID)
		switch judge(j, c.Token, 0) {
		case lifecycle.Lost:
			lost = append(lost, c.Lease)
		case lifecycle.Held:
			if c.Result != nil {
				j.extra().result = bytes.Clone(c.Result)
			}
			b.move(j, j.Complete(c, now), now)
		case lifecycle.Repeated:
		}
	}
	return lost, nil
}

// judge is Judge for a job that may be nil.
func judge(j *job, token int64, ending backend.Ending) lifecycle.Verdict {
	if j == nil {
		return lifecycle.Lost
	}
	return j.Judge(token, ending)
}

// Fail implements [backend.Backend].
func (b *Backend) Fail(ctx context.Context, failures []backend.Failure) (lost []backend.Lease, err error) {
	if err := check.Fail(failures); err != nil {
		return nil, fmt.Errorf("memory: fail: %w", err)
	}
	if err := b.enter(ctx, "fail"); err != nil {
		return nil, err
	}
	defer b.leave()
	now := b.now()
	for i := range failures {
		f := &failures[i]
		j := b.jobs.get(f.ID)
		switch judge(j, f.Token, f.Ending) {
		case lifecycle.Lost:
			lost = append(lost, f.Lease)
		case lifecycle.Held:
			if f.Result != nil {
				j.extra().result = bytes.Clone(f.Result)
			}
			next, e := j.Fail(f, now)
			j.record(e)
			b.sleep(j, f, &next, now)
			b.move(j, next, now)
		case lifecycle.Repeated:
		}
	}
	return lost, nil
}

// StoreProgress implements [backend.Heartbeater].
func (b *Backend) StoreProgress(ctx context.Context, progress []backend.Progress) error {
	if err := b.enter(ctx, "progress"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	for _, p := range progress {
		if j := b.jobs.get(p.ID); judge(j, p.Token, 0) == lifecycle.Held {
			m := j.extra()
			if p.Log != "" {
				m.logs = lifecycle.PutLog(m.logs, p.Token, j.Failures+1, p.Log, b.now())
				continue
			}
			m.done, m.total = p.Done, p.Total
		}
	}
	return nil
}
