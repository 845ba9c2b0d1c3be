package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Push implements [backend.Backend].
func (b *Backend) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := check.Push(b.Describe(), jobs); err != nil {
		return nil, fmt.Errorf("mysql: push: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	if len(jobs) <= maxPushes && sizeOf(jobs) <= maxPushBytes && arePlain(jobs) {
		return b.share(ctx, jobs)
	}
	leave, err := b.enter()
	if err != nil {
		return nil, b.failed(ctx, "push", err)
	}
	defer leave()
	var pushed []backend.Pushed
	err = b.transactNew(ctx, len(jobs), func(t *tx) (err error) {
		pushed, err = t.push(jobs)
		return err
	}, func(ctx context.Context, q querier) (bool, error) { return b.hasNew(ctx, q, pushed) })
	b.compactCounts(ctx)
	if err != nil {
		return nil, b.failed(ctx, "push", err)
	}
	return pushed, nil
}

// selectNew waits for a transaction that has inserted the job and has not ended: the server may
// not yet know that its connection was lost.
const selectNew = `SELECT id FROM plainjobs_job WHERE id = ? LOCK IN SHARE MODE`

// hasNew reports whether the first new job of a push is stored.
func (b *Backend) hasNew(ctx context.Context, q querier, pushed []backend.Pushed) (found bool, err error) {
	for _, p := range pushed {
		if !p.Duplicate {
			return found, b.scan(ctx, q, selectNew, []any{p.ID}, func(r *sql.Rows) error {
				found = true
				return r.Scan(new(int64))
			})
		}
	}
	return false, nil
}

// share stores jobs in one transaction with other pushes.
func (b *Backend) share(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	p := &pushing{jobs: jobs}
	leave, err := b.enter()
	if err == nil {
		defer leave()
		err = b.pushes.Do(ctx, p)
		b.compactCounts(ctx)
	}
	if err != nil {
		return nil, b.failed(ctx, "push", err)
	}
	return p.pushed, nil
}

// Bounds of the pushes that share a transaction.
const (
	maxPushes    = 2000
	maxPushBytes = 4 << 20
)

// A pushing is a push that may share a transaction with others.
type pushing struct {
	jobs   []backend.NewJob
	pushed []backend.Pushed
}

// flushPushes stores the jobs of several pushes in one transaction.
func (b *Backend) flushPushes(ctx context.Context, group []*pushing) error {
	jobs := group[0].jobs
	if len(group) > 1 {
		jobs = nil
		for _, p := range group {
			jobs = append(jobs, p.jobs...)
		}
	}
	var first int64
	err := b.transactNew(ctx, len(jobs), func(t *tx) (err error) {
		first, err = t.insertPlain(jobs)
		return err
	}, func(ctx context.Context, q querier) (bool, error) {
		return b.hasNew(ctx, q, []backend.Pushed{{ID: first}})
	})
	if err != nil {
		return err
	}
	for _, p := range group {
		p.pushed = make([]backend.Pushed, len(p.jobs))
		for i := range p.pushed {
			p.pushed[i].ID = first
			first++
		}
	}
	return nil
}

// isPlain reports whether a job needs no more than its row and its place.
func isPlain(j *backend.NewJob) bool {
	return j.Unique.Key == "" && j.Serial == "" && j.Fair == "" && j.MaxPending == 0 && j.Gating == nil && !lifecycle.Timed(j)
}

func arePlain(jobs []backend.NewJob) bool {
	for i := range jobs {
		if !isPlain(&jobs[i]) {
			return false
		}
	}
	return true
}

func sizeOf(jobs []backend.NewJob) (n int) {
	for i := range jobs {
		n += len(jobs[i].Payload) + len(jobs[i].Metadata)
	}
	return n
}

// PushTx implements [backend.TxPusher]. A concurrent push of a unique key that this transaction
// holds waits until the transaction ends.
func (b *Backend) PushTx(ctx context.Context, caller *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := check.Push(b.Describe(), jobs); err != nil {
		return nil, fmt.Errorf("mysql: push in transaction: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	var pushed []backend.Pushed
	err := b.within(ctx, caller, "push in transaction", func(t *tx) (err error) {
		pushed, err = t.push(jobs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pushed, nil
}
