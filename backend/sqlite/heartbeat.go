package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/internal/jsonrow"
)

const (
	updateSeen   = `UPDATE plainjobs_worker SET renewed_at = ?, lease = ? WHERE id = ?`
	insertWorker = `
		INSERT INTO plainjobs_worker (id, host, pid, started_at, renewed_at, lease, jobs, schedules, lock_file, process, version) VALUES (?,?,?,?,?,?,?,?,?,?,?)`
	updateStuck = `UPDATE plainjobs_worker SET stuck = ? WHERE id = ?`

	selectHeld = `SELECT j.id, j.seed + j.id, j.flags` + heldBy

	// The claims that lease nothing any more, because transactions of the application
	// settled their jobs.
	deleteIdleClaims = `
		DELETE FROM plainjobs_claim WHERE worker = (?+0) AND NOT EXISTS (
			SELECT 1 FROM plainjobs_job j WHERE j.id BETWEEN plainjobs_claim.first AND plainjobs_claim.last AND +j.state = 3 AND +j.seed = plainjobs_claim.seed)`
	deleteClaimsOf = `DELETE FROM plainjobs_claim WHERE worker = (?+0)`
)

// A renewal is when a worker's row was renewed, and for how long.
type renewal struct{ at, lease int64 }

// maxRenewals bounds the workers of which a writer knows the last renewal.
const maxRenewals = 100

// claimBy is renew for a claim. A row that was renewed within a hundredth of its lease
// is only read: claims are frequent, and a row with thousands of names is long.
func (b *Backend) claimBy(t *tx, req *backend.ClaimRequest, lockFile string, now int64) error {
	w := req.Worker
	if last := t.w.renewals[w.ID]; last.lease == w.Lease.Microseconds() && last.at <= now && now-last.at <= last.lease/100 {
		exists := false
		err := t.each(selectWorker, []any{w.ID}, func(*sql.Rows) (bool, error) {
			exists = true
			return false, nil
		})
		if err != nil || exists {
			return err
		}
	}
	return b.renew(t, w, req.Register, lockFile, now)
}

// renew renews a worker's row, or creates it if register is set.
func (b *Backend) renew(t *tx, w backend.Worker, register bool, lockFile string, now int64) error {
	n, err := t.execN(updateSeen, now, w.Lease.Microseconds(), w.ID)
	t.onCommit(func() {
		if t.w.renewals == nil || len(t.w.renewals) >= maxRenewals {
			t.w.renewals = map[int64]renewal{}
		}
		t.w.renewals[w.ID] = renewal{now, w.Lease.Microseconds()}
	})
	switch {
	case err != nil || n == 1:
		return err
	case !register:
		return rejected{backend.ErrWorkerGone}
	}
	if err := b.note(t); err != nil {
		return err
	}
	_, err = t.exec(insertWorker, w.ID, backend.CleanError(w.Host), w.PID, now, now, w.Lease.Microseconds(),
		namesJSON(w.Jobs), namesJSON(w.Schedules), lockFile, backend.CleanError(w.Process), backend.CleanError(w.Version))
	return err
}

func byJob(a, b backend.Lease) int { return cmp.Compare(a.ID, b.ID) }

// namesJSON returns names as a JSON array.
func namesJSON(names []string) string {
	if len(names) == 0 {
		return "[]"
	}
	text, err := json.Marshal(names)
	if err != nil {
		panic(err) // strings encode
	}
	return string(text)
}

// Heartbeat implements [backend.Heartbeater].
func (b *Backend) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	if err := check.Heartbeat(req); err != nil {
		return backend.HeartbeatResult{}, fmt.Errorf("sqlite: heartbeat: %w", err)
	}
	leave, err := b.enter()
	if err != nil {
		return backend.HeartbeatResult{}, failed(ctx, "heartbeat", err)
	}
	defer leave()
	var result backend.HeartbeatResult
	// It goes first: leases must not expire because of queued work.
	err = b.writer.do(ctx, &request{op: "heartbeat", first: true, run: func(t *tx) error {
		now := b.now()
		result = backend.HeartbeatResult{Now: instant(now)}
		if err := b.renew(t, req.Worker, false, "", now); err != nil {
			return err
		}
		if req.Stuck != nil {
			if _, err := t.exec(updateStuck, jsonrow.StuckText(req.Stuck), req.Worker.ID); err != nil {
				return err
			}
		}
		for _, r := range req.Started {
			if err := t.ran(r.Lease, r.For, now); err != nil {
				return err
			}
		}
		if err := t.addActivity(req.Worker.ID, req.Activity, result.Now); err != nil {
			return err
		}
		err := t.each(selectHeld, []any{req.Worker.ID}, func(r *sql.Rows) (bool, error) {
			var l backend.Lease
			var flags flag
			err := r.Scan(&l.ID, &l.Token, &flags)
			result.Leases = append(result.Leases, l)
			if flags&flagCancelling != 0 {
				result.Cancel = append(result.Cancel, l)
			}
			return true, err
		})
		if err != nil {
			return err
		}
		slices.SortFunc(result.Leases, byJob)
		slices.SortFunc(result.Cancel, byJob)
		if !req.Leave {
			if _, err = t.exec(deleteIdleClaims, req.Worker.ID); err == nil {
				result.Concurrency, err = t.concurrency()
			}
			return err
		}
		for _, l := range result.Leases {
			r, err := t.row(l.ID)
			if err != nil {
				return err
			}
			t.settle(l)
			next, e := r.Release(now)
			if err := b.requeue(t, r, next, e, now); err != nil {
				return err
			}
		}
		if _, err := t.exec(deleteClaimsOf, req.Worker.ID); err != nil {
			return err
		}
		return b.removeWorker(t, req.Worker.ID)
	}})
	if err != nil {
		return backend.HeartbeatResult{}, failed(ctx, "heartbeat", err)
	}
	return result, nil
}

// concurrency returns what overrides say of the concurrency of names.
func (t *tx) concurrency() (of map[string]int, err error) {
	all, err := t.settings()
	if err != nil {
		return nil, err
	}
	for id, s := range all {
		n := s.concurrency()
		if n == 0 {
			continue
		}
		name, err := t.name(id)
		if err != nil {
			return nil, err
		}
		if of == nil {
			of = map[string]int{}
		}
		of[name] = n
	}
	return of, nil
}

const (
	updateProgressing = `UPDATE plainjobs_job SET flags = flags | ? WHERE id = ? AND seed + id = ? AND +state = 3`
	upsertProgress    = `
		INSERT INTO plainjobs_job_progress (job, done, total) VALUES (?, ?, ?)
		ON CONFLICT (job) DO UPDATE SET done = excluded.done, total = excluded.total`
)

// StoreProgress implements [backend.Heartbeater].
func (b *Backend) StoreProgress(ctx context.Context, progress []backend.Progress) error {
	if len(progress) == 0 {
		return nil
	}
	return b.write(ctx, &request{op: "progress", run: func(t *tx) error {
		for _, p := range progress {
			n, err := t.execN(updateProgressing, int64(flagProgress), p.ID, p.Token)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			if p.Log != "" {
				err = b.storeLog(t, p)
			} else {
				_, err = t.exec(upsertProgress, p.ID, p.Done, p.Total)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}})
}

const updateTold = `UPDATE plainjobs_job SET started_at = ?, started_seed = seed WHERE id = ? AND seed + id = ? AND +state = 3`

// ran stores when a run started, if its lease is held. A zero took stores nothing.
func (t *tx) ran(l backend.Lease, took time.Duration, now int64) error {
	if took <= 0 {
		return nil
	}
	t.args = [3]any{now - took.Microseconds(), l.ID, l.Token}
	_, err := t.exec(updateTold, t.args[:]...)
	return err
}
