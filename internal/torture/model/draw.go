package model

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/plainjobs/plainjobs/backend"
)

// Programs use few names and keys, so that jobs meet.
var (
	names     = []string{"a", "b", "c"}
	schedules = []string{"s", "t"}
	histories = rapid.SampledFrom([]backend.History{
		{}, {}, {Done: -1}, {Failed: -1}, {Rows: 2}, {Rows: -1, Done: time.Hour}, {Done: time.Minute, Failed: 10 * time.Second},
	})
)

// per is the window of rates: a claim counts for more than nine steps of the
// clock and less than ten.
const per = 95 * time.Second

func oneOf[T any](p *program, label string, of ...T) T { return rapid.SampledFrom(of).Draw(p.T, label) }
func (p *program) chance(label string) bool            { return rapid.Bool().Draw(p.T, label) }
func (p *program) name() string                        { return oneOf(p, "name", names...) }

// rarely returns true one time in four.
func (p *program) rarely(label string) bool { return rapid.IntRange(0, 3).Draw(p.T, label) == 3 }

func (p *program) newWorker() backend.Worker {
	p.lastID++
	return backend.Worker{
		ID: 100 + (p.lastID*7)%50*1000 + p.lastID, Host: "host", PID: int(p.lastID),
		Lease: oneOf(p, "lease", 30*time.Second, time.Minute),
		Jobs:  some(names[:oneOf(p, "jobs", 1, 3)]), Schedules: some(schedules[:oneOf(p, "schedules", 0, 1, 2)]),
	}
}

// anyWorker returns a worker that has a row, mostly, or had one.
func (p *program) anyWorker() backend.Worker {
	if len(p.m.workers) > 0 && !p.rarely("of all") {
		return rapid.SampledFrom(p.m.workers).Draw(p.T, "worker").Worker
	}
	return oneOf(p, "worker", append(slices.Clone(p.live), p.dead...)...)
}

// replaceDead replaces workers that no longer have a row.
func (p *program) replaceDead() {
	for i, w := range p.live {
		if slices.ContainsFunc(p.dead, func(d backend.Worker) bool { return d.ID == w.ID }) && p.m.worker(w.ID) == nil {
			p.live[i] = p.newWorker()
		}
	}
}

func (p *program) newJob() backend.NewJob {
	n := backend.NewJob{
		Name: p.name(), MaxAttempts: oneOf(p, "attempts", 1, 3),
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(p.T, "payload"),
	}
	if p.chance("plain") {
		return n
	}
	n.Priority = oneOf[int16](p, "priority", 0, 1, -1)
	n.Delay = oneOf(p, "delay", 0, 0, 20*time.Second, time.Hour)
	n.Expires = oneOf(p, "expires", 0, 0, 10*time.Second, time.Minute)
	n.Serial = oneOf(p, "serial", "", "x", "y")
	n.MaxPending = oneOf(p, "max pending", 0, 0, 0, 2)
	if p.rarely("metadata") {
		n.Metadata = []byte("meta")
	}
	if key := oneOf(p, "key", "", "k", "l"); key != "" {
		n.Unique = backend.Unique{
			Key: key, Scope: oneOf(p, "scope", backend.UntilFinished, backend.UntilStarted),
			For:      oneOf(p, "for", 0, 0, time.Minute, time.Hour),
			Conflict: oneOf(p, "conflict", backend.KeepFirst, backend.Reject, backend.Replace),
		}
		if n.Unique.Conflict == backend.Replace {
			n.Unique.Scope, n.Unique.For = backend.UntilStarted, 0
		}
	}
	return n
}

func (p *program) newJobs() []backend.NewJob {
	jobs := make([]backend.NewJob, rapid.IntRange(1, 3).Draw(p.T, "jobs"))
	for i := range jobs {
		jobs[i] = p.newJob()
	}
	return jobs
}

func (p *program) request() backend.ClaimRequest {
	req := backend.ClaimRequest{Limit: rapid.IntRange(0, 4).Draw(p.T, "limit"), Suspects: p.chance("suspects"), Names: names}
	if p.rarely("some names") {
		req.Names = rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(p.T, "names")
	}
	if p.rarely("capped") {
		req.MaxPerName = map[string]int{p.name(): rapid.IntRange(0, 2).Draw(p.T, "cap")}
	}
	if p.rarely("ahead") {
		req.Prefetch = rapid.IntRange(0, req.Limit).Draw(p.T, "ahead")
	}
	if p.rarely("bytes") {
		req.MaxBytes = rapid.IntRange(1, 12).Draw(p.T, "bytes")
	}
	return req
}

// lease returns an issued lease, mostly a late one, or a wrong one.
func (p *program) lease() backend.Lease {
	if len(p.leases) == 0 || p.rarely("no lease") && p.rarely("indeed") {
		return backend.Lease{ID: rapid.Int64Range(1, 10).Draw(p.T, "id"), Token: 12345}
	}
	last := len(p.leases) - 1
	back := rapid.IntRange(0, min(last, 5)).Draw(p.T, "back")
	if p.rarely("old") {
		back = rapid.IntRange(0, last).Draw(p.T, "far back")
	}
	return p.leases[last-back]
}

// someLeases returns different leases.
func (p *program) someLeases() []backend.Lease {
	var all []backend.Lease
	for range rapid.IntRange(1, 3).Draw(p.T, "leases") {
		if l := p.lease(); !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

func (p *program) filter() (f backend.Filter) {
	if p.chance("all") {
		return f
	}
	if p.rarely("by ID") {
		f.IDs = rapid.SliceOfNDistinct(rapid.Int64Range(1, 12), 0, 4, rapid.ID).Draw(p.T, "ids")
	}
	if p.chance("by name") {
		f.Names = []string{p.name()}
		if p.rarely("by two names") {
			f.Names = append(f.Names, p.name())
		}
	}
	if p.chance("by state") {
		f.States = []backend.State{oneOf(p, "state", backend.States()...)}
		if p.rarely("by two states") {
			f.States = append(f.States, oneOf(p, "other state", backend.States()...))
		}
	}
	if p.rarely("by key") {
		f.Key = oneOf(p, "key", "k", "x")
	}
	if p.rarely("with keys") {
		f.HasKey = true
	}
	if p.rarely("by error") {
		f.Error = oneOf(p, "error", "fir", "expired", "cancel", "super")
	}
	if p.rarely("since") {
		f.Since = p.now.Add(-20 * time.Second)
	}
	if p.rarely("until") {
		f.Until = p.now.Add(-10 * time.Second)
	}
	return f
}
