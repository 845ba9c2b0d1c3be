package conformance

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// wrong is a store that changes what it answers.
type wrong struct {
	*memory.Backend
	claimed  func(*backend.Job)
	shown    func(*backend.Info)
	exported func(*backend.Batch)
}

func (b *wrong) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	return each(jobs, b.claimed), err
}

func (b *wrong) Get(ctx context.Context, id int64) (backend.Info, error) {
	info, err := b.Backend.Get(ctx, id)
	if err == nil && b.shown != nil {
		b.shown(&info)
	}
	return info, err
}

func (b *wrong) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	batch, err := b.Backend.Export(ctx, req)
	if err == nil && b.exported != nil {
		b.exported(&batch)
	}
	return batch, err
}

func answers(b wrong) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend {
		b := b
		b.Backend = m
		return &b
	}
}

// undescribed is a store that does not describe what it keeps.
type undescribed struct{ *memory.Backend }

func (undescribed) Describe() backend.Description { return backend.Description{} }

// halfRefused is a store that stores the jobs before the one that it refuses.
type halfRefused struct{ plain }

func (b halfRefused) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	for i := range jobs {
		if _, err := b.plain.Push(ctx, jobs[i:i+1]); err != nil {
			return nil, err
		}
	}
	return b.plain.Push(ctx, nil)
}

var detailMutants = []mutant{{
	rule:     "a field that the store does not keep is accepted",
	rejected: []string{"fields/push", "fields/set"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return undescribed{m} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return plain{m} },
}, {
	rule:     "a refused field leaves the jobs before it",
	rejected: []string{"fields/push"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return halfRefused{plain{m}} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return plain{m} },
}, {
	rule:     "a claimed job has no unique key",
	rejected: []string{"claim/keys"},
	make:     answers(wrong{claimed: func(j *backend.Job) { j.UniqueKey = "" }}),
}, {
	rule:     "a claimed job has its unique key for a serial one",
	rejected: []string{"claim/keys"},
	make:     answers(wrong{claimed: func(j *backend.Job) { j.SerialKey = j.UniqueKey }}),
}, {
	rule:     "a claimed job has the wrong RunAt",
	rejected: []string{"claim/times"},
	make:     answers(wrong{claimed: func(j *backend.Job) { j.RunAt = j.CreatedAt }}),
}, {
	rule:     "a claimed job has the wrong CreatedAt",
	rejected: []string{"claim/times"},
	make:     answers(wrong{claimed: func(j *backend.Job) { j.CreatedAt = j.CreatedAt.Add(time.Second) }}),
}, {
	rule:     "a claim returns fewer than there are",
	rejected: []string{"claim/skips-expired"},
	make: alters(altered{claim: func(r *backend.ClaimRequest) {
		if r.Limit > 2 {
			r.Limit--
		}
	}}),
}, {
	rule:     "an empty result is stored as none",
	rejected: []string{"complete/empty-result"},
	make: alters(altered{complete: func(c *backend.Completion) {
		if len(c.Result) == 0 {
			c.Result = nil
		}
	}}),
}, {
	rule:     "a snooze uses an attempt",
	rejected: []string{"fail/snooze-attempt"},
	make: alters(altered{fail: func(f *backend.Failure) {
		if f.Ending == backend.EndSnooze {
			f.Ending = backend.EndRetry
		}
	}}),
}, {
	rule:     "a lease still matches after its worker has left",
	rejected: []string{"heartbeat/leave-leases"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return neverLeaves{m} },
}, {
	rule:     "an error has no worker",
	rejected: []string{"fail/run"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Worker = "" }}),
}, {
	rule:     "an error has no duration",
	rejected: []string{"fail/run"},
	make:     alters(altered{fail: func(f *backend.Failure) { f.Took = 0 }}),
}, {
	rule:     "stuck runs are not stored",
	rejected: []string{"read/stuck"},
	make:     alters(altered{beat: func(r *backend.HeartbeatRequest) { r.Stuck = nil }}),
}, {
	rule:     "a heartbeat that says nothing about stuck runs deletes them",
	rejected: []string{"read/stuck"},
	make: alters(altered{beat: func(r *backend.HeartbeatRequest) {
		if r.Stuck == nil {
			r.Stuck = []backend.Stuck{}
		}
	}}),
}, {
	rule:     "too many stuck runs are cut",
	rejected: []string{"read/stuck"},
	make: alters(altered{beat: func(r *backend.HeartbeatRequest) {
		r.Stuck = r.Stuck[:min(len(r.Stuck), backend.MaxStuck)]
	}}),
}, {
	rule:     "Reap ignores its limit for rescues",
	rejected: []string{"reap/limit-rescues"},
	make:     alters(altered{reap: func(r *backend.ReapRequest) { r.Limit = 0 }}),
}, {
	rule:     "a retry loses the priority",
	rejected: []string{"operate/retry-keeps"},
	make: answers(wrong{shown: func(i *backend.Info) {
		if i.State == backend.Pending {
			i.Priority = 0
		}
	}}),
}, {
	rule:     "Replace changes MaxAttempts",
	rejected: []string{"unique/replace-keeps"},
	make: answers(wrong{shown: func(i *backend.Info) {
		if string(i.Payload) == "other" {
			i.MaxAttempts = 4
		}
	}}),
}, {
	rule:     "Replace resets the failures",
	rejected: []string{"unique/replace-keeps"},
	make: answers(wrong{shown: func(i *backend.Info) {
		if string(i.Payload) == "other" {
			i.Failures, i.Errors = 0, nil
		}
	}}),
}, {
	rule:     "an export does not say how long a key is kept",
	rejected: []string{"export/keys-and-ids"},
	make: answers(wrong{exported: func(b *backend.Batch) {
		for i := range b.Jobs {
			b.Jobs[i].KeyUntil = time.Time{}
		}
	}}),
}, {
	rule:     "an export does not say the last ID",
	rejected: []string{"export/keys-and-ids"},
	make:     answers(wrong{exported: func(b *backend.Batch) { b.LastID = 0 }}),
}}

// neverLeaves renews the row of a worker that leaves.
type neverLeaves struct{ *memory.Backend }

func (b neverLeaves) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	req.Leave = false
	return b.Backend.Heartbeat(ctx, req)
}
