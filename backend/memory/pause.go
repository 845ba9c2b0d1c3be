package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// PauseGates implements [backend.GateStore].
func (b *Backend) PauseGates(ctx context.Context, ids []int64, paused bool) error {
	if err := b.enter(ctx, "pause gates"); err != nil {
		return err
	}
	defer b.leave()
	for _, id := range ids {
		if b.gates[id] == nil {
			return fmt.Errorf("memory: pause gates: %w", gateError(id, nil))
		}
	}
	for _, id := range ids {
		b.gates[id].Paused = paused
	}
	if paused {
		return nil
	}
	now := b.now()
	for _, id := range ids {
		for _, j := range byID(b.gates[id].members) {
			if j.State == backend.Blocked && j.more.held && !b.pausedFor(j) {
				b.move(j, j.Ready(now), now)
			}
		}
	}
	return nil
}

// pausedFor reports whether a gate in which j counts is paused.
func (b *Backend) pausedFor(j *job) bool {
	return j.more != nil && j.more.gating != nil && slices.ContainsFunc(j.more.gating.Gates, func(id int64) bool { return b.gates[id].Paused })
}

// hold blocks j, whose gate is paused. It leaves its serial key to the next job.
func (b *Backend) hold(j *job, now int64) {
	j.more.held = true
	b.move(j, j.Hold(), now)
	if j.more.serial != "" {
		b.leaveSerial(j, now)
	}
}
