package plainjobstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A DrainOption changes what [Drain] runs.
type DrainOption func(*drain)

// Future has Drain run jobs for later too, as if their time had come.
func Future() DrainOption { return func(d *drain) { d.future = true } }

// Retries has Drain run jobs that fail again, as if their time had come, until
// they succeed or have no attempts left; only then is it a failure.
func Retries() DrainOption { return func(d *drain) { d.retries = true } }

// Failures has Drain return the errors of jobs that fail without failing the
// test.
func Failures() DrainOption { return func(d *drain) { d.allowed = true } }

type drain struct {
	future, retries, allowed bool

	tb     testing.TB
	queue  *engine.Queue
	worker backend.Worker
	defs   map[string]*engine.Definition // by each name
	names  []string
	tried  map[int64]backend.Ending // of jobs that were run and wait again
	runs   int
	errs   []error
}

// Drain runs the jobs that wait on a queue of [Memory] or [Inline], one after
// the other, and what they perform, until none is left. A job that fails or is
// cancelled fails the test, and so does one without a handler. It returns their
// errors. Of the events it tells none. After 10,000 runs it gives up.
func Drain(tb testing.TB, q *plainjobs.Queue, opts ...DrainOption) []error {
	tb.Helper()
	d := &drain{tb: tb, queue: (*engine.Handle)(q).Queue(), tried: map[int64]backend.Ending{}}
	for _, opt := range opts {
		opt(d)
	}
	if inline, ok := d.queue.Backend.(*engine.Inline); ok {
		var draining engine.Draining
		for {
			err := inline.Drain(plainjobs.NewContext(tb.Context(), q), d.future, d.retries, &draining)
			if errors.Is(err, engine.ErrEndless) {
				tb.Fatalf("plainjobstest: drain: %v", err)
			}
			if err == nil {
				break
			}
			d.failed(err)
		}
		return d.errs
	}
	d.worker = backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "test", PID: 1, Lease: time.Hour}
	d.defs = map[string]*engine.Definition{}
	for _, def := range engine.Definitions() {
		for _, name := range append([]string{def.Name}, def.Aliases...) {
			d.defs[name], d.names = def, append(d.names, name)
		}
	}
	for d.next(tb.Context()) {
	}
	if heart, ok := d.queue.Backend.(backend.Heartbeater); ok {
		if _, err := heart.Heartbeat(tb.Context(), backend.HeartbeatRequest{Worker: d.worker, Leave: true}); err != nil {
			tb.Fatalf("plainjobstest: drain: %v", err)
		}
	}
	return d.errs
}

func (d *drain) failed(err error) {
	d.tb.Helper()
	d.errs = append(d.errs, err)
	if !d.allowed {
		d.tb.Errorf("plainjobstest: drain: %v", err)
	}
}

// next runs one job and reports whether there was one.
func (d *drain) next(ctx context.Context) bool {
	d.tb.Helper()
	d.hurry(ctx)
	jobs, err := d.queue.Backend.Claim(ctx, backend.ClaimRequest{
		Worker: d.worker, Register: true, Names: d.names, Limit: 1, Suspects: true,
	})
	if err != nil {
		d.tb.Fatalf("plainjobstest: drain: %v", err)
	}
	if len(jobs) == 0 {
		return false
	}
	job := &jobs[0]
	if d.runs++; d.runs > 10_000 {
		d.tb.Fatalf("plainjobstest: drain: %v; the last was %s #%d", engine.ErrEndless, job.Name, job.ID)
	}
	def := d.queue.Definition(d.defs[job.Name])
	handler := d.queue.Handler(def)
	if handler == nil {
		d.settle(ctx, job, nil, &backend.Failure{Ending: backend.EndFailed, Error: "no handler"})
		d.failed(fmt.Errorf("job %s #%d has no handler: bind one with plainjobs.Handle", job.Name, job.ID))
		return true
	}
	result, err := d.queue.Run(ctx, def, handler, job)
	if err == nil {
		d.settle(ctx, job, result, nil)
		return true
	}
	f := engine.FailureOf(def, job, err, false)
	f.Result = result
	d.queue.EncryptFailure(job.Name, err, &f)
	if f.Delay < time.Microsecond && f.Ending == backend.EndRetry && !d.retries {
		f.Delay = time.Second // it has had its turn
	}
	if d.queue.ReportsError(def, &f) {
		if data, err := d.queue.Decrypt(engine.KindPayload, job.Name, job.Payload); err == nil {
			job.Payload = data
		}
		d.queue.ReportError(engine.WithInfo(ctx, d.queue, job), def, engine.EventOf(job, &f, err))
	}
	d.settle(ctx, job, nil, &f)
	d.tried[job.ID] = f.Ending
	if f.Ending != backend.EndSnooze && f.Ending != backend.EndSleep && (f.Ending != backend.EndRetry || !d.retries) {
		d.failed(fmt.Errorf("job %s #%d: %w", job.Name, job.ID, err))
	}
	return true
}

func (d *drain) settle(ctx context.Context, job *backend.Job, result []byte, f *backend.Failure) {
	d.tb.Helper()
	var err error
	if f == nil {
		_, err = d.queue.Backend.Complete(ctx, []backend.Completion{{Lease: job.Lease, Result: result}})
	} else {
		f.Lease = job.Lease
		_, err = d.queue.Backend.Fail(ctx, []backend.Failure{*f})
	}
	if err != nil {
		d.tb.Fatalf("plainjobstest: drain: %v", err)
	}
}

// hurry makes the jobs for later that are to run wait no longer.
func (d *drain) hurry(ctx context.Context) {
	d.tb.Helper()
	reader, ok := d.queue.Backend.(backend.Reader)
	operator, can := d.queue.Backend.(backend.Operator)
	if !ok || !can || !d.future && !d.retries {
		return
	}
	counts, err := reader.Count(ctx)
	if err != nil {
		d.tb.Fatalf("plainjobstest: drain: %v", err)
	}
	left := 0 // to be found: the list is of all jobs, most of which may have run
	for _, c := range counts {
		if c.State == backend.Scheduled {
			left += int(c.Jobs)
		}
	}
	var ids []int64
	for before := int64(0); left > 0; {
		page, err := reader.List(ctx, backend.ListRequest{
			Filter: backend.Filter{States: []backend.State{backend.Scheduled}}, Before: before, Limit: min(left, 1000),
		})
		if err != nil {
			d.tb.Fatalf("plainjobstest: drain: %v", err)
		}
		for _, j := range page.Jobs {
			ending, ran := d.tried[j.ID]
			if ran && ending == backend.EndRetry && d.retries || !ran && (d.future || j.Failures > 0 && d.retries) {
				ids = append(ids, j.ID)
			}
		}
		left -= len(page.Jobs)
		if before = page.Next; before == 0 {
			break
		}
	}
	if len(ids) == 0 {
		return
	}
	if len(ids) > 1000 {
		ids = ids[:1000]
	}
	if _, err := operator.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: ids}}); err != nil {
		d.tb.Fatalf("plainjobstest: drain: %v", err)
	}
}

// Tick performs what a schedule pushes at a tick, and returns its job's ID.
// Schedules never tick by themselves in tests, unless a worker runs.
func Tick(tb testing.TB, q *plainjobs.Queue, name string, tick time.Time) int64 {
	tb.Helper()
	s := (*engine.Handle)(q).Queue().Schedule(name)
	if s == nil {
		tb.Fatalf("plainjobstest: no schedule %q is defined", name)
	}
	job, err := (*engine.Handle)(q).Queue().Make(s, tick)
	if err != nil {
		tb.Fatalf("plainjobstest: tick of %s: %v", name, err)
	}
	pushed, err := (*engine.Handle)(q).Queue().Backend.Push(plainjobs.NewContext(tb.Context(), q), []backend.NewJob{job})
	if err != nil {
		tb.Fatalf("plainjobstest: tick of %s: %v", name, err)
	}
	return pushed[0].ID
}
