package sqlite

import (
	"cmp"
	"context"

	"github.com/plainjobs/plainjobs/backend"
)

var updateSuspects = newList(`UPDATE plainjobs_jobs SET suspect = 1 WHERE +state = 3 AND id IN (`, `?`, `)`)

// panickedError is that of a job with which the driver panicked as often as a job
// may take down its worker.
const panickedError = "the SQLite driver panicked each time that the job was claimed"

// suspectAfterPanic makes suspects of the jobs that a claim was about to lease when the driver
// panicked, so that they are claimed one by one and the others run. For a suspect
// that was alone it is as if it had taken its worker down.
func (b *Backend) suspectAfterPanic(ctx context.Context, req backend.ClaimRequest) error {
	return b.writer.do(ctx, &request{op: "accuse", run: func(t *tx) error {
		now := b.now()
		c := claim{b: b, t: t, req: req, now: now, bytes: cmp.Or(req.MaxBytes, backend.DefaultMaxBytes)}
		if err := c.choose(); err != nil {
			return err
		}
		if req.Suspects {
			suspect, err := c.firstSuspect()
			if err != nil {
				return err
			}
			if len(suspect) > 0 {
				return b.recordCrash(t, suspect[0].id, now)
			}
		}
		heads, err := c.merge(req.Limit)
		if err != nil || len(heads) == 0 {
			return err
		}
		ids := make([]int64, 0, maxList)
		for _, h := range heads[:min(len(heads), maxList)] {
			ids = append(ids, h.id)
		}
		query, length := updateSuspects.fit(len(ids))
		_, err = t.exec(query, appendIDs(nil, ids, length)...)
		return err
	}})
}

// recordCrash notes a crash of a suspect that was alone, and fails it if it was the last
// that it may have. It is failed without a bound, too, as it can never be claimed.
func (b *Backend) recordCrash(t *tx, id, now int64) error {
	r, err := t.row(id)
	if err != nil {
		return err
	}
	r.crashes++
	all, err := t.settings()
	if err != nil {
		return err
	}
	if r.crashes >= backend.DefaultMaxCrashes || all[r.name].condemns(r.crashes) {
		return b.finish(t, r, backend.Failed, panickedError, now)
	}
	_, err = t.exec(updateCrashed, r.crashes, r.id)
	return err
}
