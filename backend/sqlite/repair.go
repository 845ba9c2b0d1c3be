package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// repair corrects differences that still exist. It reads each job again, which may have
// changed.
func (b *Backend) repair(ctx context.Context, d drift) error {
	if len(d.counts) > 0 {
		err := b.writer.do(ctx, &request{op: "repair counts", run: func(t *tx) error { return t.repairCounts(d) }})
		if err != nil {
			return err
		}
	}
	var steps []func(*tx, int64) error
	for _, k := range d.heads {
		steps = append(steps, func(t *tx, now int64) error { return t.repairHead(k, now) })
	}
	for _, id := range d.strays {
		steps = append(steps, func(t *tx, _ int64) error { return t.repairStray(id) })
	}
	for _, s := range d.spans {
		steps = append(steps, func(t *tx, _ int64) error { return t.repairSpan(s) })
	}
	for _, id := range d.unready {
		steps = append(steps, func(t *tx, _ int64) error { return t.repairUnready(id) })
	}
	for _, k := range d.blocked {
		steps = append(steps, func(t *tx, now int64) error { return t.repairBlocked(k, now) })
	}
	for _, k := range d.keys {
		steps = append(steps, func(t *tx, now int64) error { return t.repairKey(k, now) })
	}
	for _, id := range d.keyless {
		steps = append(steps, func(t *tx, now int64) error { return t.repairKeyless(id, now) })
	}
	for _, id := range d.marks {
		steps = append(steps, func(t *tx, _ int64) error { _, err := t.exec(updateMarks, id); return err })
	}
	for _, id := range d.stranded {
		steps = append(steps, func(t *tx, now int64) error { return b.repairStranded(t, id, now) })
	}
	for _, id := range d.gates {
		steps = append(steps, func(t *tx, _ int64) error { return b.repairGate(t, id) })
	}
	for _, id := range d.orphans {
		steps = append(steps, func(t *tx, _ int64) error { return t.deleteOrphans(id) })
	}
	for part := range slices.Chunk(steps, 100) { // other requests run in between
		err := b.writer.do(ctx, &request{op: "repair", run: func(t *tx) error {
			return t.nested(func() error {
				now := b.now()
				if _, err := t.settings(); err != nil {
					return err
				}
				for _, step := range part {
					if err := step(t, now); err != nil {
						return err
					}
				}
				t.wakes = true
				return nil
			})
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// repairCounts corrects counts, unless another process has repaired them since.
func (t *tx) repairCounts(d drift) error {
	repairs := int64(0)
	err := t.each(selectRepairs, nil, func(r *sql.Rows) (bool, error) { return false, r.Scan(&repairs) })
	if err != nil || repairs != d.repairs {
		return err
	}
	for k, delta := range d.counts {
		t.count(k.name, k.state, delta)
	}
	t.wakes = true
	_, err = t.exec(upsertMeta, "repairs", fmt.Sprint(repairs+1))
	return err
}

// repairHead unblocks the next job of a serial key whose head is gone.
func (t *tx) repairHead(k jobKeys, now int64) error {
	head, err := t.head(k.name, k.serial)
	if err != nil || head != k.id {
		return err
	}
	r, err := t.row(head)
	if err != nil || r.id != 0 && r.name == k.name && r.serial == k.serial && !r.State.Terminal() && r.State != backend.Blocked {
		return err
	}
	return t.advance(k, now)
}

// repairStray makes a job the head of its serial key if there is none. Otherwise it
// blocks the job if it waits.
func (t *tx) repairStray(id int64) error {
	r, err := t.row(id)
	if err != nil || r.id == 0 || r.serial == "" || r.State.Terminal() || r.State == backend.Blocked {
		return err
	}
	r.flags |= flagSerial
	blocked, err := t.queueUp(r.jobKeys)
	if err != nil || !blocked || !r.State.Waits() {
		return err
	}
	if r.State == backend.Pending {
		if err := t.cutReady(&r); err != nil {
			return err
		}
	}
	t.move(r.name, r.State, backend.Blocked, 1)
	_, err = t.exec(updateUnblocked, int64(backend.Blocked), id)
	return err
}

const (
	selectSpanOfJob = `SELECT coalesce(` + spanOf + `, j.id + 1) FROM plainjobs_job j WHERE j.id = ?`
	selectJobsIn    = `SELECT ` + rowColumns + ` FROM plainjobs_job j WHERE j.id BETWEEN ? AND ?`
)

// repairUnready adds a pending job that is in no span to one.
func (t *tx) repairUnready(id int64) error {
	r, err := t.row(id)
	if err != nil || r.State != backend.Pending {
		return err
	}
	if err := t.flushReady(); err != nil {
		return err
	}
	var first int64
	err = t.each(selectSpanOfJob, []any{id}, func(r *sql.Rows) (bool, error) { return false, r.Scan(&first) })
	if err == nil && first > id {
		t.addReady(r.name, r.Suspect, r.Priority, r.RunAt, id)
	}
	return err
}

// repairSpan replaces a span with spans of the pending jobs in it.
func (t *tx) repairSpan(s readySpan) error {
	if err := t.flushReady(); err != nil {
		return err
	}
	n, err := t.execN(deleteSpan, s.name, s.suspect, s.rank, s.runAt, s.last)
	if err != nil || n == 0 {
		return err
	}
	all, err := t.rows(selectJobsIn, s.first, s.last)
	for i := range all {
		if err == nil && all[i].State == backend.Pending {
			err = t.repairUnready(all[i].id)
		}
	}
	return err
}

// repairBlocked unblocks the first job of a serial key without a head.
func (t *tx) repairBlocked(k jobKeys, now int64) error {
	head, err := t.head(k.name, k.serial)
	if err != nil || head != 0 {
		return err
	}
	if _, err := t.exec(insertHead, k.name, k.serial, 0); err != nil {
		return err
	}
	k.id = 0
	return t.advance(k, now)
}

const deleteLostKey = `DELETE FROM plainjobs_unique_key WHERE name = ? AND key = ? AND job = ?`

// repairKey releases a unique key whose job does not have it.
func (t *tx) repairKey(k jobKeys, now int64) error {
	r, err := t.row(k.id)
	switch {
	case err != nil:
		return err
	case r.id == 0 || r.name != k.name || r.unique != k.unique || r.State == backend.Cancelled:
		_, err = t.exec(deleteLostKey, k.name, k.unique, k.id)
		return err
	case r.State.Terminal() || r.State == backend.Running && r.flags&flagUntilStarted != 0:
		r.flags |= flagUnique
		return t.releaseUnique(r.jobKeys, now)
	}
	return nil
}

// repairKeyless acquires the unique key of a waiting job, if it is free.
func (t *tx) repairKeyless(id, now int64) error {
	r, err := t.row(id)
	if err != nil || r.id == 0 || r.unique == "" || !r.State.Waits() || r.Sleeps() && r.flags&flagUntilStarted != 0 {
		return err
	}
	_, err = t.acquireUnique(r.jobKeys, 0, now)
	return err
}

const updateMarks = `
	UPDATE plainjobs_job SET flags = flags & ~4192
		| 32 * EXISTS (SELECT 1 FROM plainjobs_job_result r WHERE r.job = plainjobs_job.id)
		| 64 * EXISTS (SELECT 1 FROM plainjobs_job_progress p WHERE p.job = plainjobs_job.id)
		| 4096 * EXISTS (SELECT 1 FROM plainjobs_job_step s WHERE s.job = plainjobs_job.id)
	WHERE id = ?`

// deleteOrphans deletes what is stored for a deleted job.
func (t *tx) deleteOrphans(id int64) error {
	r, err := t.row(id)
	if err != nil || r.id != 0 {
		return err
	}
	for _, query := range []string{deleteResult, deleteProgress, deleteSteps, deleteWait, deleteFair, deleteMemberRows, deleteWaiterRow, `DELETE FROM plainjobs_job_error WHERE job = ?`} {
		if _, err := t.exec(query, id); err != nil {
			return err
		}
	}
	return nil
}
