package plainjobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// rekeyPage is how many jobs Rekey reads at once, and how many values it changes in one
// transaction.
const rekeyPage = 500

// Rekey encrypts the payloads, results and steps of all jobs, and the payloads of schedules
// that [Queue.SetSchedule] stored, under the current key of Options.Codec, those in clear too,
// page by page while workers run. It returns the number of jobs and schedules that it changed.
// Called again after an error, it continues: it leaves what is encrypted with the current key.
// Jobs that do not decrypt are left as they are, and the error names some of them.
//
// Signals, errors and logs stay under their keys until they are deleted: signals after 30 days,
// the others with their job. Keep the old key until then.
func (q *Queue) Rekey(ctx context.Context) (changed int64, err error) {
	store, err := capability[backend.ExportImporter](q, "rekey")
	if err != nil {
		return 0, err
	}
	operator, err := capability[backend.Operator](q, "rekey")
	if err != nil {
		return 0, err
	}
	if q.engine().Codec == nil {
		return 0, errors.New("plainjobs: rekey: the queue has no Options.Codec")
	}
	r := rekeying{queue: q.engine(), operator: operator, current: func([]byte) bool { return false }}
	if codec, ok := q.engine().Codec.(interface{ Current(encrypted []byte) bool }); ok {
		r.current = codec.Current
	}
	err = r.run(ctx, store)
	if scheduler, ok := q.engine().Backend.(backend.Scheduler); ok && err == nil {
		err = r.schedules(ctx, scheduler)
	}
	if err != nil {
		return r.changed, fmt.Errorf("plainjobs: rekey: %w", err)
	}
	if n := len(r.failed); n > 0 {
		return r.changed, fmt.Errorf("plainjobs: rekey: %d jobs do not decrypt, for example %v: %w", n, r.failed[:min(n, 10)], r.why)
	}
	return r.changed, nil
}

// A rekeying is a call of Rekey.
type rekeying struct {
	queue    *engine.Queue
	operator backend.Operator
	current  func(encrypted []byte) bool

	rewrites []backend.Rewrite // not stored yet
	changed  int64
	failed   []int64 // jobs that do not decrypt
	why      error   // the first reason
}

func (r *rekeying) run(ctx context.Context, store backend.ExportImporter) error {
	end, err := store.Export(ctx, backend.ExportRequest{})
	if err != nil {
		return err
	}
	for after := int64(0); after < end.LastID; {
		page, err := store.Export(ctx, backend.ExportRequest{After: after, Jobs: rekeyPage})
		if err != nil {
			return err
		}
		if len(page.Jobs) == 0 {
			return nil
		}
		for i := range page.Jobs {
			after = page.Jobs[i].ID
			if err := r.job(ctx, &page.Jobs[i]); err != nil {
				return err
			}
		}
		if err := r.store(ctx); err != nil {
			return err
		}
	}
	return nil
}

// schedules encrypts the payloads of stored schedules again.
func (r *rekeying) schedules(ctx context.Context, store backend.Scheduler) error {
	req := backend.StoredRequest{Limit: rekeyPage}
	for {
		page, err := store.StoredSchedules(ctx, req)
		if err != nil || len(page.Schedules) == 0 {
			return err
		}
		for i := range page.Schedules {
			name := page.Schedules[i].Name
			if req.After = name; r.current(page.Schedules[i].Job.Payload) {
				continue
			}
			err := store.ChangeSchedule(ctx, nil, name, func(_ time.Time, s *backend.StoredSchedule) (*backend.StoredSchedule, error) {
				if s == nil {
					return nil, nil
				}
				data, err := r.queue.Decrypt(engine.KindPayload, s.Job.Name, s.Job.Payload)
				if err == nil {
					s.Job.Payload, err = r.queue.Encrypt(engine.KindPayload, s.Job.Name, data)
				}
				return s, err
			})
			if err != nil {
				return fmt.Errorf("schedule %s: %w", name, err)
			}
			r.changed++
		}
	}
}

// job encrypts the data of a job again, and stores them if there are many.
func (r *rekeying) job(ctx context.Context, job *backend.Record) error {
	err := r.add(job, engine.KindPayload, backend.Rewrite{Part: backend.PartPayload, Old: job.Payload})
	if err == nil {
		err = r.add(job, engine.KindResult, backend.Rewrite{Part: backend.PartResult, Old: job.Result})
	}
	for _, step := range job.Steps {
		if err == nil {
			err = r.add(job, engine.KindStep, backend.Rewrite{Part: backend.PartStep, Step: step.Name, Old: step.Result})
		}
		if len(r.rewrites) >= rekeyPage {
			if err := r.store(ctx); err != nil {
				return err
			}
		}
	}
	if err != nil {
		r.failed = append(r.failed, job.ID)
		if r.why == nil {
			r.why = err
		}
	}
	if len(r.rewrites) >= rekeyPage {
		return r.store(ctx)
	}
	return nil
}

// add adds what replaces a part of a job, if it is not encrypted with the current key.
func (r *rekeying) add(job *backend.Record, kind engine.Kind, w backend.Rewrite) error {
	if len(w.Old) == 0 || r.current(w.Old) {
		return nil
	}
	data, err := r.queue.Decrypt(kind, job.Name, w.Old)
	if err == nil {
		w.New, err = r.queue.Encrypt(kind, job.Name, data)
	}
	if err != nil {
		return err
	}
	w.Job = job.ID
	r.rewrites = append(r.rewrites, w)
	return nil
}

// store stores the rewrites.
func (r *rekeying) store(ctx context.Context) error {
	if len(r.rewrites) == 0 {
		return nil
	}
	done, err := r.operator.Operate(ctx, backend.OperateRequest{Op: backend.OpRewrite, Rewrites: r.rewrites})
	r.changed += int64(len(done.Affected))
	r.rewrites = r.rewrites[:0]
	return err
}
