package conformance

import (
	"context"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// reapsFinished makes every job of a dead worker run again, as a reaper does
// that reads first and writes later.
type reapsFinished struct {
	*memory.Backend
	claimed []backend.NewJob
}

func (b *reapsFinished) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	for _, j := range jobs {
		b.claimed = append(b.claimed, backend.NewJob{Name: j.Name, Payload: j.Payload, MaxAttempts: j.MaxAttempts})
	}
	return jobs, err
}

func (b *reapsFinished) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	r, err := b.Backend.Reap(ctx, req)
	if len(r.Workers) > 0 {
		_, err = b.Push(ctx, b.claimed)
	}
	return r, err
}

// forgetsJob leaves the last job of a dead worker's claim running.
type forgetsJob struct{ *memory.Backend }

func (b forgetsJob) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	r, err := b.Backend.Reap(ctx, req)
	if err != nil || len(r.Workers) == 0 {
		return r, err
	}
	other := backend.Worker{ID: 1 << 40, Lease: time.Hour}
	claim := backend.ClaimRequest{Worker: other, Names: []string{"a", "b", "c"}, Limit: 1, Suspects: true, Register: true}
	_, err = b.Claim(ctx, claim)
	return r, err
}

type shortSearch struct{ *memory.Backend }

func (b shortSearch) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	counts, err := b.Count(ctx)
	kept := slices.ContainsFunc(counts, func(c backend.Count) bool { return c.State == backend.Failed && c.Jobs > int64(req.Limit) })
	if err != nil || kept && req.Limit > 0 {
		return backend.ReapResult{}, err
	}
	return b.Backend.Reap(ctx, req)
}

// hidesDue says that no more jobs are due if it found some.
type hidesDue struct{ *memory.Backend }

func (b hidesDue) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	r, err := b.Backend.Reap(ctx, req)
	r.More = r.More && r.Due == 0
	return r, err
}

type forgetsSilence struct{ *memory.Backend }

func (b forgetsSilence) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	req.By = 0
	return b.Backend.Reap(ctx, req)
}

type hastyLook struct{ *memory.Backend }

func (b hastyLook) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if req.By != 0 {
		req.Expired, req.StableFor = true, 0
	}
	return b.Backend.Reap(ctx, req)
}

type anyLook struct {
	*memory.Backend
	looks int64
}

func (b *anyLook) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if req.By != 0 {
		b.looks++
		req.By = b.looks
	}
	return b.Backend.Reap(ctx, req)
}

type alwaysExpired struct{ *memory.Backend }

func (b alwaysExpired) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	req.Expired = true
	return b.Backend.Reap(ctx, req)
}

type manySuspects struct{ *memory.Backend }

func (b manySuspects) Claim(ctx context.Context, req backend.ClaimRequest) (jobs []backend.Job, err error) {
	for limit := req.Limit; ; {
		req.Limit = limit - len(jobs)
		more, err := b.Backend.Claim(ctx, req)
		jobs = append(jobs, more...)
		if err != nil || len(more) == 0 || len(jobs) == limit {
			return jobs, err
		}
	}
}
