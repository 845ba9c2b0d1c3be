package worker_test

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// A faulty store is the memory store with faults that a test switches on.
type faulty struct {
	*memory.Backend
	mute      atomic.Bool // Heartbeat gets no answer
	locked    atomic.Bool // all writes fail, and reads succeed
	stuck     atomic.Bool // Heartbeat returns an error after 45 s, whatever its deadline
	frozen    atomic.Bool // the process stops in Heartbeat once, for longer than its lease
	down      atomic.Bool // claims, heartbeats, ticks and lists of workers fail
	unset     atomic.Bool // Set fails
	unsettled atomic.Bool // Complete and Fail fail
	silent    atomic.Bool // Complete gets no answer once
	pruning   atomic.Bool // Reap always has more to prune, and each call takes a while
}

func (b *faulty) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	if b.down.Load() {
		return nil, backend.ErrUnavailable
	}
	if b.locked.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return b.Backend.Claim(ctx, req)
}

func (b *faulty) Schedules(ctx context.Context) (backend.Schedules, error) {
	if b.down.Load() {
		return backend.Schedules{}, backend.ErrUnavailable
	}
	return b.Backend.Schedules(ctx)
}

func (b *faulty) Set(ctx context.Context, worker int64, settings []backend.Settings) ([]backend.Settings, error) {
	if b.unset.Load() {
		return nil, backend.ErrUnavailable
	}
	return b.Backend.Set(ctx, worker, settings)
}

func (b *faulty) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if b.down.Load() {
		return backend.HeartbeatResult{}, backend.ErrUnavailable
	}
	if b.mute.Load() || b.locked.Load() {
		<-ctx.Done()
		return backend.HeartbeatResult{}, ctx.Err()
	}
	if b.stuck.Load() || b.frozen.CompareAndSwap(true, false) {
		time.Sleep(45 * time.Second)
		return backend.HeartbeatResult{}, ctx.Err()
	}
	return b.Backend.Heartbeat(ctx, req)
}

func (b *faulty) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	if b.down.Load() {
		return nil, backend.ErrUnavailable
	}
	if b.mute.Load() || b.stuck.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return b.Backend.Workers(ctx)
}

func (b *faulty) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	if b.unsettled.Load() {
		return nil, backend.ErrUnavailable
	}
	if b.silent.CompareAndSwap(true, false) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return b.Backend.Complete(ctx, done)
}

func (b *faulty) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	if b.unsettled.Load() {
		return nil, backend.ErrUnavailable
	}
	return b.Backend.Fail(ctx, failures)
}

func (b *faulty) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	if b.down.Load() {
		return backend.ReapResult{}, backend.ErrUnavailable
	}
	r, err := b.Backend.Reap(ctx, req)
	if b.pruning.Load() {
		time.Sleep(100 * time.Millisecond) // what pruning costs
		r.More = true
	}
	return r, err
}
