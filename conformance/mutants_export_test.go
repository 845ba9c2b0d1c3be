package conformance

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var exportMutants = []mutant{{
	rule:     "errors and results are not exported",
	rejected: []string{"export/lossless"},
	make:     carries(carrier{out: func(r *backend.Record) { r.Errors, r.Result = nil, nil }}),
}, {
	rule:     "payloads are kept as text",
	rejected: []string{"export/lossless"},
	make:     carries(carrier{in: func(r *backend.Record) { r.Payload = bytes.ToValidUTF8(r.Payload, []byte("?")) }}),
}, {
	rule:     "an empty result is none",
	rejected: []string{"export/lossless"},
	make: carries(carrier{in: func(r *backend.Record) {
		if len(r.Result) == 0 {
			r.Result = nil
		}
	}}),
}, {
	rule:     "failures are forgotten",
	rejected: []string{"export/lossless"},
	make:     carries(carrier{in: func(r *backend.Record) { r.Failures = 0 }}),
}, {
	rule:     "an imported job never expires",
	rejected: []string{"export/lossless"},
	make:     carries(carrier{in: func(r *backend.Record) { r.ExpiresAt = time.Time{} }}),
}, {
	rule:     "a job that runs is not exported",
	rejected: []string{"export/lossless", "import/running"},
	make:     carries(carrier{keep: func(r *backend.Record) bool { return r.State != backend.Running }}),
}, {
	rule:     "a job that ran has no crashes",
	rejected: []string{"import/running"},
	make: carries(carrier{in: func(r *backend.Record) {
		if r.State == backend.Running {
			r.Crashes, r.Suspect = 0, false
		}
	}}),
}, {
	rule:     "releasing a job spends an attempt",
	rejected: []string{"export/lossless", "import/running"},
	make: carries(carrier{in: func(r *backend.Record) {
		if r.State == backend.Running {
			r.Failures++
		}
	}}),
}, {
	rule:     "a cancelled job that ran lives on",
	rejected: []string{"import/running"},
	make:     carries(carrier{in: func(r *backend.Record) { r.Cancelling = false }}),
}, {
	rule:     "a page begins with the job that the one before ended with",
	rejected: []string{"export/pages"},
	make:     carries(carrier{request: func(r *backend.ExportRequest) { r.After = max(r.After-1, 0) }}),
}, {
	rule:     "a page has no bound in bytes",
	rejected: []string{"export/bytes"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return unboundedPages{m} },
}, {
	rule:     "the last ID is not taken over",
	rejected: []string{"export/lossless", "import/ids"},
	make:     carries(carrier{batch: func(b *backend.Batch) { b.LastID = 0 }}),
}, {
	rule:     "the unique keys of waiting jobs are not taken",
	rejected: []string{"import/unique", "import/superseded"},
	make:     carries(carrier{in: func(r *backend.Record) { r.UniqueKey, r.Scope, r.KeyUntil = "", 0, time.Time{} }}),
}, {
	rule:     "a key is not kept for a finished job",
	rejected: []string{"export/lossless", "import/unique"},
	make:     carries(carrier{in: func(r *backend.Record) { r.KeyUntil = time.Time{} }}),
}, {
	rule:     "the first of a serial key that comes is its head",
	rejected: []string{"import/serial"},
	make: carries(carrier{in: func(r *backend.Record) {
		if r.SerialKey != "" && !r.State.Terminal() {
			r.State = backend.Blocked
		}
	}}),
}, {
	rule:     "a blocked job waits for a head that never comes",
	rejected: []string{"import/blocked"},
	make: carries(carrier{in: func(r *backend.Record) {
		if r.State == backend.Blocked {
			r.State, r.SerialKey, r.RunAt = backend.Scheduled, "", r.RunAt.Add(years)
		}
	}}),
}, {
	rule:     "Get reads a job, and then its errors",
	rejected: []string{"read/moment"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &twoReads{Backend: m} },
}, {
	rule:     "a repair blocks a job that waits",
	rejected: []string{"examine/repair"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &mender{Backend: m, flaw: true} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &mender{Backend: m} },
}, {
	rule:     "an import that is refused has stored half of it",
	rejected: []string{"import/all-or-none"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return halfImport{m} },
}, {
	rule:     "importing again sets a job back",
	rejected: []string{"import/present"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return importsAnew{m} },
}, {
	rule:     "an import overwrites other jobs",
	rejected: []string{"import/all-or-none"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return importsAnew{m} },
}, {
	rule:     "an import ignores the retention",
	rejected: []string{"import/pruned"},
	make: carries(carrier{in: func(r *backend.Record) {
		if r.State.Terminal() {
			r.FinishedAt, r.State = time.Now(), backend.Failed
		}
	}}),
}, {
	rule:     "a schedule is defined again",
	rejected: []string{"import/schedules"},
	make: carries(carrier{batch: func(b *backend.Batch) {
		b.Schedules = each(b.Schedules, func(s *backend.Schedule) { s.Last, s.Paused, s.RemovedAt = time.Time{}, false, time.Time{} })
	}}),
}, {
	rule:     "a repeated import has a schedule tick again",
	rejected: []string{"import/schedules"},
	make: carries(carrier{batch: func(b *backend.Batch) {
		b.Schedules = each(b.Schedules, func(s *backend.Schedule) { s.Last = s.Last.Add(years) })
	}}),
}, {
	rule:     "a batch is stored without a check",
	rejected: []string{"export/invalid"},
	make: carries(carrier{in: func(r *backend.Record) {
		if r.Name == "" {
			r.Name = "unnamed"
		}
	}}),
}}

// A carrier is a store whose exports and imports are altered.
type carrier struct {
	*memory.Backend
	request func(*backend.ExportRequest)
	out, in func(*backend.Record)
	keep    func(*backend.Record) bool
	batch   func(*backend.Batch)
}

// carries makes a mutant's store.
func carries(c carrier) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend {
		c := c
		c.Backend = m
		return &c
	}
}

func (b *carrier) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	batch, err := b.Backend.Export(ctx, each([]backend.ExportRequest{req}, b.request)[0])
	batch.Jobs = each(batch.Jobs, b.out)
	if b.keep != nil {
		jobs := batch.Jobs
		batch.Jobs = nil
		for _, r := range jobs {
			if b.keep(&r) {
				batch.Jobs = append(batch.Jobs, r)
			}
		}
	}
	return batch, err
}

func (b *carrier) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	batch = each([]backend.Batch{batch}, b.batch)[0]
	batch.Jobs = each(batch.Jobs, b.in)
	return b.Backend.Import(ctx, batch)
}

type unboundedPages struct{ *memory.Backend }

func (b unboundedPages) Export(ctx context.Context, req backend.ExportRequest) (all backend.Batch, err error) {
	for limit := req.Jobs; len(all.Jobs) < limit; {
		req.Jobs = limit - len(all.Jobs)
		batch, err := b.Backend.Export(ctx, req)
		if err != nil || len(batch.Jobs) == 0 {
			return all, err
		}
		all.Jobs = append(all.Jobs, batch.Jobs...)
		req.After = all.Jobs[len(all.Jobs)-1].ID
	}
	return all, nil
}

// twoReads reads a job twice.
type twoReads struct {
	*memory.Backend
	gap gap
}

func (b *twoReads) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	b.gap.visit(1)
	return b.Backend.Fail(ctx, failures)
}

func (b *twoReads) Get(ctx context.Context, id int64) (backend.Info, error) {
	info, err := b.Backend.Get(ctx, id)
	b.gap.visit(1)
	for range 100 {
		runtime.Gosched()
	}
	later, _ := b.Backend.Get(ctx, id)
	info.Errors = later.Errors
	return info, err
}

// mender examines.
type mender struct {
	*memory.Backend
	flaw bool
}

func (*mender) Schema(context.Context) (backend.Schema, error) { return backend.Schema{}, nil }

func (b *mender) Examine(ctx context.Context, req backend.ExamineRequest) ([]backend.Finding, error) {
	if !b.flaw || !req.Repair {
		return nil, ctx.Err()
	}
	_, err := b.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{Names: []string{"waits"}}, Limit: 1})
	return nil, err
}

type halfImport struct{ *memory.Backend }

func (b halfImport) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	result, err := b.Backend.Import(ctx, batch)
	if errors.Is(err, backend.ErrDuplicate) {
		batch.Jobs = batch.Jobs[:len(batch.Jobs)/2]
		_, _ = b.Backend.Import(ctx, batch)
	}
	return result, err
}

// importsAnew deletes what is in the way of an import.
type importsAnew struct{ *memory.Backend }

func (b importsAnew) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	ids := []int64{}
	for _, r := range batch.Jobs {
		ids = append(ids, r.ID)
	}
	_, _ = b.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{IDs: ids}})
	return b.Backend.Import(ctx, batch)
}
