package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/group"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// maxPayload is a quarter of what the server accepts in one message, because some
// drivers send bytes as text.
const maxPayload = 256 << 20

// checkJobs returns an error if the store cannot keep the jobs.
func checkJobs(jobs []backend.NewJob) error {
	if err := check.NewJobs(jobs); err != nil {
		return err
	}
	return check.Payloads(jobs, maxPayload)
}

// Push implements [backend.Backend].
func (b *Backend) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := checkJobs(jobs); err != nil {
		return nil, fmt.Errorf("postgres: push: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	if len(jobs) <= maxPushes && sizeOf(jobs) <= maxPushBytes {
		if arePlain(jobs) {
			return b.share(ctx, &b.pushes, jobs)
		}
		if name, ok := boundOf(jobs); ok {
			return b.share(ctx, b.bounds.queue(b, name), jobs)
		}
	}
	var pushed []backend.Pushed
	err := b.write(ctx, "push", b.durable(), func(t *tx) (err error) {
		pushed, err = t.push(jobs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return pushed, nil
}

// share stores jobs in one transaction with other pushes.
func (b *Backend) share(ctx context.Context, queue *group.Queue[*pushing], jobs []backend.NewJob) ([]backend.Pushed, error) {
	p := &pushing{jobs: jobs, since: time.Now()}
	leave, err := b.enter()
	if err == nil {
		defer leave()
		if err = queue.Do(ctx, p); err == nil && p.refused != nil {
			err = rejected{p.refused}
		}
		b.compactCounts(ctx)
	}
	if err != nil {
		return nil, b.failed(ctx, "push", err)
	}
	return p.pushed, nil
}

// Bounds of the pushes that share a transaction, and of one INSERT.
const (
	maxPushes    = 2000
	maxPushBytes = 4 << 20
)

// A pushing is a push that may share a transaction with others.
type pushing struct {
	jobs    []backend.NewJob
	pushed  []backend.Pushed
	refused *backend.QueueFullError // set instead of pushed
	since   time.Time               // when Push was called
}

// take gives the push its share of the IDs, and returns the rest.
func (p *pushing) take(ids []int64) []int64 {
	p.pushed = make([]backend.Pushed, len(p.jobs))
	for i := range p.pushed {
		p.pushed[i].ID = ids[i]
	}
	return ids[len(p.jobs):]
}

// flushPushes stores the jobs of several pushes with one statement.
func (b *Backend) flushPushes(ctx context.Context, group []*pushing) error {
	jobs := group[0].jobs
	if len(group) > 1 {
		jobs = nil
		for _, p := range group {
			jobs = append(jobs, p.jobs...)
		}
	}
	// A single statement is its own transaction, and takes one round trip.
	var ids []int64
	var t *tx
	err := b.alone(ctx, false, func(q querier) (err error) {
		t = &tx{b: b, ctx: ctx, conn: q}
		ids, err = t.insertPlain(jobs, b.durable())
		return err
	})
	if err != nil {
		return err
	}
	b.committed(t)
	if err := inDoubt(ctx, ctx); err != nil {
		return err
	}
	for _, p := range group {
		ids = p.take(ids)
	}
	return nil
}

// isPlain reports whether a job needs only its row.
func isPlain(j *backend.NewJob) bool {
	return isKeyless(j) && j.MaxPending == 0
}

// isKeyless reports whether a job needs only its row and a check of MaxPending.
func isKeyless(j *backend.NewJob) bool {
	return j.Unique.Key == "" && j.Serial == "" && j.Fair == "" && !lifecycle.Timed(j) && j.Gating == nil
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

// PushTx implements [backend.TxPusher]. A concurrent push of a unique key that this
// transaction holds waits until the transaction ends. In a REPEATABLE READ or
// SERIALIZABLE transaction, a key or a gate that changed since the transaction began is a
// serialization error, and MaxPending counts the jobs that waited at its begin.
func (b *Backend) PushTx(ctx context.Context, caller *sql.Tx, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := checkJobs(jobs); err != nil {
		return nil, fmt.Errorf("postgres: push in transaction: %w", err)
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
