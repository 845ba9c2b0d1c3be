package conformance

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// atOnce calls f n times at the same time, half of them with another handle,
// and waits until all have returned. f must not call FailNow.
func (e *env) atOnce(n int, f func(i int, b backend.Backend)) {
	e.Helper()
	handles := []backend.Backend{e.b, e.other()}
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			defer e.recoverShort()
			<-start
			f(i, handles[i%2])
		})
	}
	close(start)
	wg.Wait()
}

// other returns the second handle.
func (e *env) other() backend.Backend {
	if e.second == nil {
		e.second = e.store.Open(e)
	}
	return e.second
}

// until calls f until it returns true or the case's time is over.
func (e *env) until(f func() bool) {
	for !f() && e.ctx.Err() == nil {
		runtime.Gosched()
	}
}

// push1 stores one job.
func (e *env) push1(b backend.Backend, job backend.NewJob) backend.Pushed {
	e.Helper()
	e.needsFieldsOf(job)
	pushed, err := b.Push(e.ctx, []backend.NewJob{job})
	if err != nil || len(pushed) != 1 {
		e.Fatalf("Push = %v, %v", pushed, err)
	}
	return pushed[0]
}

// wantDuplicate pushes a job whose key id has.
func (e *env) wantDuplicate(what string, job backend.NewJob, id int64) {
	e.Helper()
	if p := e.push1(e.other(), job); !p.Duplicate || p.ID != id {
		e.Errorf("%s: Push = %+v, want a duplicate of job %d", what, p, id)
	}
}

// wantNew pushes a job whose key is free.
func (e *env) wantNew(what string, job backend.NewJob) int64 {
	e.Helper()
	p := e.push1(e.other(), job)
	if p.Duplicate {
		e.Errorf("%s: Push = %+v, want a new job", what, p)
	}
	return p.ID
}

// uniqueJob returns a job with a unique key.
func uniqueJob(name string, u backend.Unique) backend.NewJob {
	j := newJob(name)
	j.Unique = u
	return j
}

// serialJob returns a job with a serial key.
func serialJob(name, key string) backend.NewJob {
	j := newJob(name)
	j.Serial = key
	return j
}

// after returns job with a delay.
func after(delay time.Duration, job backend.NewJob) backend.NewJob {
	job.Delay = delay
	return job
}

// A way is one way by which a run ends.
type way struct {
	name string
	take func(e *env, w backend.Worker, j backend.Job)
}

func ending(name string, ending backend.Ending, delay int) way {
	return way{name, func(e *env, _ backend.Worker, j backend.Job) {
		e.Helper()
		f := backend.Failure{Lease: j.Lease, Ending: ending, Delay: time.Duration(delay) * e.unit, Error: "text of " + name}
		if ending == backend.EndRelease {
			f.Error = ""
		}
		e.wantLost(name, e.fail(e.b, f))
		e.wantLost(name+" again", e.fail(e.b, f))
	}}
}

var (
	rescue = way{"rescue", func(e *env, _ backend.Worker, _ backend.Job) { e.crash(e.b) }}
	leave  = way{"leave", func(e *env, w backend.Worker, _ backend.Job) {
		e.Helper()
		heart := capability[backend.Heartbeater](e, e.b)
		if _, err := heart.Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
			e.Fatalf("Heartbeat: %v", err)
		}
	}}
	complete = way{"complete", func(e *env, _ backend.Worker, j backend.Job) {
		e.Helper()
		e.wantLost("Complete", e.complete(e.b, j.Lease))
	}}

	// back are the ways by which a running job waits again, out the ways by
	// which it finishes.
	back = []way{
		ending("retry", backend.EndRetry, 0), ending("retry later", backend.EndRetry, 50),
		ending("snooze", backend.EndSnooze, 50), ending("release", backend.EndRelease, 0), rescue, leave,
	}
	out = []way{complete, ending("fail", backend.EndFailed, 0), ending("cancel", backend.EndCancelled, 0)}
)

// job returns the way's name as that of a job.
func (w way) job() string { return strings.ReplaceAll(w.name, " ", "-") }

// can reports whether the store can do what the way needs.
func (e *env) can(w way) bool {
	_, heart := e.b.(backend.Heartbeater)
	return w.name != leave.name || heart
}

// wantCancelled fails unless the job is Cancelled with text as its last error.
func (e *env) wantCancelled(what string, id int64, text string) {
	e.Helper()
	info := e.get(id)
	last := ""
	if n := len(info.Errors); n > 0 {
		last = info.Errors[n-1].Error
	}
	if info.State != backend.Cancelled || last != text || info.FinishedAt.IsZero() || info.Worker != 0 {
		e.Errorf("%s: the job is %v with the error %q, want cancelled with %q", what, info.State, last, text)
	}
}

func superseded(by int64) string { return backend.SupersededError + strconv.FormatInt(by, 10) }

// set sets what applies to names that no worker knows.
func (e *env) set(b backend.Backend, settings ...backend.Settings) {
	e.Helper()
	for i := range settings {
		e.needs(check.SettingsFields(&settings[i]))
	}
	if _, err := capability[backend.SettingsStore](e, b).Set(e.ctx, 0, settings); err != nil {
		e.Fatalf("Set: %v", err)
	}
}

func (e *env) pause(b backend.Backend, name string, paused bool) {
	e.Helper()
	if err := capability[backend.SettingsStore](e, b).Pause(e.ctx, name, paused); err != nil {
		e.Fatalf("Pause: %v", err)
	}
}

func (e *env) operate(op backend.Op, f backend.Filter) backend.OperateResult {
	e.Helper()
	r, err := capability[backend.Operator](e, e.b).Operate(e.ctx, backend.OperateRequest{Op: op, Filter: f})
	if err != nil {
		e.Fatalf("Operate: %v", err)
	}
	return r
}

// wantAffected applies op to the jobs with the IDs and fails unless it affects
// exactly want.
func (e *env) wantAffected(what string, op backend.Op, ids []int64, want ...int64) {
	e.Helper()
	r := e.operate(op, backend.Filter{IDs: ids})
	if !slices.Equal(r.Affected, want) || r.Duplicates != nil || r.Next != 0 {
		e.Errorf("%s: Operate = %+v, want %v affected", what, r, want)
	}
}

// counts returns the counts as "name state=n …" for comparison.
func (e *env) counts(r backend.Reader) string {
	e.Helper()
	counts, err := r.Count(e.ctx)
	if err != nil {
		e.Fatalf("Count: %v", err)
	}
	var text []string
	for _, c := range counts {
		text = append(text, fmt.Sprintf("%s %v=%d", c.Name, c.State, c.Jobs))
	}
	return strings.Join(text, " ")
}

func (e *env) wantCounts(want string) {
	e.Helper()
	if got := e.counts(e.reader()); got != want {
		e.Errorf("counts are %q, want %q", got, want)
	}
}

func closeBackend(b backend.Backend) error {
	if c, ok := b.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
