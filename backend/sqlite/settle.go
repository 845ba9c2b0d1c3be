package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

const updateExpires = `UPDATE plainjobs_jobs SET expires_at = ?, flags = flags | ? WHERE id = ?`

const updateFailed = `
	UPDATE plainjobs_jobs SET state = ?, ending = ?, failures = ?, suspect = ?, crashes = crashes * ?,
		run_at = CASE ? WHEN 0 THEN run_at ELSE ? END, finished_at = CASE ? WHEN 0 THEN finished_at ELSE ? END,
		worker = -4611686018427387904
	WHERE id = ?`

// Fail implements [backend.Backend].
func (b *Backend) Fail(ctx context.Context, failures []backend.Failure) (lost []backend.Lease, err error) {
	if err := backend.CheckFailures(failures); err != nil {
		return nil, fmt.Errorf("sqlite: fail: %w", err)
	}
	if len(failures) == 0 {
		return nil, nil
	}
	// A job in a terminal state must not run again after a power cut. A retry or a
	// snooze may be lost.
	ends := slices.ContainsFunc(failures, func(f backend.Failure) bool { return f.Ending.State(f.Delay).Terminal() })
	err = b.write(ctx, &request{op: "fail", firm: ends, run: func(t *tx) error {
		lost = lost[:0]
		now := b.now()
		if _, err := t.settings(); err != nil { // limited names wake waiters
			return err
		}
		for _, f := range failures {
			r, err := t.row(f.ID)
			switch {
			case err != nil:
				return err
			case r.token != f.Token || r.token == noToken:
				lost = append(lost, f.Lease)
			case r.state == backend.Running:
				if err := b.fail(t, f, r, now); err != nil {
					return err
				}
			case r.ending != f.Ending:
				lost = append(lost, f.Lease)
			}
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// fail ends one run. It stores f.Ending, whatever state the job enters, so that a
// repeated call is recognised.
func (b *Backend) fail(t *tx, f backend.Failure, r row, now int64) error {
	t.onCommit(func() { t.w.leases.settled(f.Token-f.ID, 1) })
	if err := t.ran(f.Lease, f.Took, now); err != nil {
		return err
	}
	state, why := f.Ending.State(f.Delay), ""
	if r.flags&flagCancelling != 0 {
		state = backend.Cancelled
		if f.Error == "" {
			why = backend.CancelledError
		}
	} else if !state.Terminal() {
		other, err := b.reacquireUnique(t, r.jobKeys, now)
		if err != nil {
			return err
		}
		if other != 0 {
			state, why = backend.Cancelled, superseded(other)
		}
	}
	set, err := t.settings()
	if err != nil {
		return err
	}
	if del, err := b.deletes(t, set, r.jobKeys, state, now); err != nil || del {
		return cmp.Or(err, t.remove([]row{r}, now))
	}
	attempt, failures := r.failures+1, r.failures
	if f.Ending.Spends() && r.flags&flagCancelling == 0 {
		failures++
	}
	// A run that settles clears the suspicion; one that is handed back
	// has proved nothing.
	suspect, crashes, moved, finished := int64(0), 0, 1, 0
	if f.Ending == backend.EndRelease && !state.Terminal() {
		suspect, crashes, moved = r.suspect, 1, 0
	}
	if state.Terminal() {
		finished = 1
	}
	t.move(r.name, backend.Running, state, 1)
	_, err = t.exec(updateFailed, int64(state), int64(f.Ending), failures, suspect, crashes,
		moved, now+f.Delay.Microseconds(), finished, now, f.ID)
	if err != nil {
		return err
	}
	if f.Expires > 0 && !state.Terminal() {
		if _, err := t.exec(updateExpires, now+f.Expires.Microseconds(), int64(flagExpires), f.ID); err != nil {
			return err
		}
	}
	if f.Error != "" {
		if err := t.recordError(f.ID, attempt, f.Error, f.Stack, now); err != nil {
			return err
		}
	}
	if why != "" {
		if err := t.recordError(f.ID, failures+1, why, "", now); err != nil {
			return err
		}
	}
	if state.Terminal() {
		return t.ended(r.jobKeys, state, now)
	}
	return nil
}
