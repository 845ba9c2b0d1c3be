package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

const (
	// peerPoll is how often a peer's lock is tried where the system does not
	// notify of its end.
	peerPoll = 50 * time.Millisecond
	// peerRefresh is how often the list of peers is read.
	peerRefresh = 500 * time.Millisecond
)

// liveness returns the identity of this process's liveness lock, which it acquires
// on the first call. It is empty if there is no lock: then a dead worker's jobs run
// again when its lease has expired, and not within a moment.
func (b *Backend) liveness() string {
	identity, err := b.livenessLock.Acquire()
	if err != nil {
		b.opts.Logger.Info("plainjobs: if this process dies, its jobs wait until its lease has ended", "reason", err)
	}
	return identity
}

// A lockOwner is a worker whose process has a liveness lock.
type lockOwner struct {
	id       int64
	identity string
}

// A peer is a worker of another process whose end this process detects.
type peer struct {
	lockOwner
	*host.Peer
}

func (n *peer) close() {
	if n != nil {
		n.Close()
	}
}

// nextPeer returns the first worker of ring whose end can be detected, or nil. It
// closes current unless that is the result.
func (b *Backend) nextPeer(ring []lockOwner, current *peer) *peer {
	for _, owner := range ring {
		if current != nil && owner == current.lockOwner && !current.Released() {
			return current
		}
		if p := b.livenessLock.Open(owner.identity); p != nil {
			current.close()
			return &peer{owner, p}
		}
	}
	current.close()
	return nil
}

const selectPeers = `SELECT id, lock_file FROM plainjobs_worker ORDER BY id`

// WatchDead implements [backend.DeathDetector]. It watches the worker with the next
// higher ID, or the lowest ID after the highest, among those whose end can be
// detected.
func (b *Backend) WatchDead(ctx context.Context, self int64) ([]int64, error) {
	var n *peer
	defer func() { n.close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	refreshed := time.Time{}
	for {
		if time.Since(refreshed) >= peerRefresh {
			ring, err := b.peersAfter(ctx, self)
			if err != nil && !busy(err) {
				return nil, failed(ctx, "watch dead", err)
			}
			if refreshed = time.Now(); err == nil {
				n = b.nextPeer(ring, n)
			}
		}
		if n != nil && n.Ended() {
			return b.sameProcess(ctx, n.lockOwner)
		}
		wait, closed := peerRefresh, (<-chan struct{})(nil)
		if n != nil {
			if closed = n.Closed(); closed == nil {
				wait = peerPoll
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil, failed(ctx, "watch dead", ctx.Err())
		case <-closed:
		case <-timer.C:
		}
	}
}

const selectSameProcess = `SELECT id FROM plainjobs_worker WHERE lock_file = ?`

// sameProcess returns a dead worker and the other workers of its process, which
// have the same identity.
func (b *Backend) sameProcess(ctx context.Context, dead lockOwner) (all []int64, err error) {
	leave, err := b.enter()
	if err != nil {
		return nil, failed(ctx, "watch dead", err)
	}
	defer leave()
	err = b.read(ctx, func(q queryer) error {
		all = []int64{dead.id}
		return scan(ctx, q, b.sql(selectSameProcess), []any{dead.identity}, func(r *sql.Rows) error {
			var other int64
			err := r.Scan(&other)
			if other != dead.id {
				all = append(all, other)
			}
			return err
		})
	})
	return all, failed(ctx, "watch dead", err)
}

// peersAfter returns the workers of other processes that have a liveness lock, in
// the order in which self prefers them: from the next higher ID up, then from the
// lowest.
func (b *Backend) peersAfter(ctx context.Context, self int64) (ring []lockOwner, err error) {
	leave, err := b.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	own := b.liveness()
	var lower []lockOwner
	err = b.read(ctx, func(q queryer) error {
		ring, lower = nil, nil
		return scan(ctx, q, b.sql(selectPeers), nil, func(r *sql.Rows) error {
			var other lockOwner
			if err := r.Scan(&other.id, &other.identity); err != nil {
				return err
			}
			switch {
			case other.identity == "" || other.identity == own:
			case other.id > self:
				ring = append(ring, other)
			default:
				lower = append(lower, other)
			}
			return nil
		})
	})
	return append(ring, lower...), err
}
