package model

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/plainjobs/plainjobs/backend"
)

func (p *program) push() {
	jobs := p.newJobs()
	got, err := p.on().Push(p.ctx, jobs)
	p.pushed(fmt.Sprintf("push %+v", jobs), jobs, got, err)
}

// pushed compares the answer to a push.
func (p *program) pushed(what string, jobs []backend.NewJob, got []backend.Pushed, err error) {
	want, wantErr := p.m.push(jobs, func(i int) int64 {
		if i < len(got) && !got[i].Duplicate {
			return got[i].ID
		}
		return 0
	})
	p.want(what, got, want, err, wantErr)
}

// inTx pushes, or completes, in a transaction that commits or does not.
func (p *program) inTx() {
	store, ok := p.on().(backend.TxPusher)
	if !ok {
		p.Skip("it has no transactions")
	}
	jobs, commits, completes := p.newJobs(), p.chance("commits"), p.chance("completes")
	var done backend.Completion
	if completes {
		done.Lease = p.lease()
	}
	tx, err := p.store.DB.BeginTx(p.ctx, nil)
	if err != nil {
		p.Fatal(err)
	}
	what := fmt.Sprintf("commit %v: push %+v, complete %v", commits, jobs, done.Lease)
	got, err := store.PushTx(p.ctx, tx, jobs)
	var doneErr error
	if completes && err == nil {
		doneErr = store.CompleteTx(p.ctx, tx, done)
	}
	if !commits || err != nil || doneErr != nil {
		if tx.Rollback() != nil {
			p.Fatalf("%s: the transaction is over", what)
		}
		before := p.m
		p.m = before.copied()
		p.pushed(what, jobs, got, err)
		if completes && err == nil {
			p.completed(what, done, doneErr)
		}
		p.m = before
		return
	}
	if err := tx.Commit(); err != nil {
		p.Fatalf("%s: %v", what, err)
	}
	p.pushed(what, jobs, got, err)
	if completes {
		p.completed(what, done, doneErr)
	}
}

// completed compares the answer to a completion in a transaction.
func (p *program) completed(what string, done backend.Completion, err error) {
	var want error
	if len(p.m.complete([]backend.Completion{done})) > 0 {
		want = backend.ErrLeaseLost
	}
	p.want(what, nil, nil, err, want)
}

func (p *program) claim() {
	req := p.request()
	req.Worker, req.Register = oneOf(p, "worker", p.live...), true
	if p.rarely("registered") {
		req.Worker, req.Register = p.anyWorker(), false
	}
	// Cancelling an expired job unblocks the next one of its serial key, in
	// this claim or later, and a store may count its payload or not.
	expired := p.m.which(p.m.expired)
	if len(expired) > 3 || len(expired) > 0 && req.MaxBytes > 0 || slices.ContainsFunc(expired, func(j *job) bool { return j.Serial != "" }) {
		p.tidy()
	}
	got, err := p.on().Claim(p.ctx, req)
	want, wantErr := p.m.claim(req, got)
	for _, j := range got {
		if j.Token == 0 || p.tokens[j.Token] {
			p.Fatalf("token %d was issued before", j.Token)
		}
		p.tokens[j.Token] = true
		p.leases = append(p.leases, j.Lease)
	}
	for _, list := range [][]backend.Job{got, want} {
		for i := range list {
			list[i].Payload, list[i].Metadata = some(list[i].Payload), some(list[i].Metadata)
		}
	}
	p.want(fmt.Sprintf("claim %+v", req), got, want, err, wantErr)
	if wantErr == nil && req.Register && !slices.ContainsFunc(p.dead, func(w backend.Worker) bool { return w.ID == req.Worker.ID }) {
		p.dead = append(p.dead, req.Worker)
	}
	p.tidyUp()
}

// tidyUp tidies if there are due or expired jobs, which a claim may have moved
// or not.
func (p *program) tidyUp() {
	if len(p.m.which(func(j *job) bool { return p.m.expired(j) || j.State == backend.Scheduled && !j.runAt.After(p.now) })) > 0 {
		p.tidy()
	}
}

// tidy makes due jobs pending and cancels expired ones.
func (p *program) tidy() {
	got, err := p.on().Reap(p.ctx, backend.ReapRequest{})
	want := p.m.reap(backend.ReapRequest{}, p.stored())
	// A claim may have moved some of these.
	got.Due, got.Expired = want.Due, want.Expired
	p.want("tidy", got, want, err, nil)
}

func (p *program) complete() {
	var done []backend.Completion
	for _, l := range p.someLeases() {
		c := backend.Completion{Lease: l}
		if p.rarely("result") {
			c.Result = []byte("result")
		}
		done = append(done, c)
	}
	got, err := p.on().Complete(p.ctx, done)
	p.want(fmt.Sprintf("complete %+v", done), some(got), some(p.m.complete(done)), err, nil)
}

func (p *program) fail() {
	var failures []backend.Failure
	for _, l := range p.someLeases() {
		f := backend.Failure{
			Lease:  l,
			Ending: oneOf(p, "ending", backend.EndRetry, backend.EndSnooze, backend.EndRelease, backend.EndFailed, backend.EndCancelled),
			Error:  oneOf(p, "error", "", "first", "second"),
		}
		if f.Ending == backend.EndRetry || f.Ending == backend.EndSnooze {
			f.Delay = oneOf(p, "delay", 0, 10*time.Second, time.Hour)
		}
		if f.Ending == backend.EndRelease {
			f.Expires = oneOf(p, "expires", 0, 0, 10*time.Second, time.Minute)
		}
		if f.Error != "" {
			f.Stack, f.Worker = "here", "there"
		}
		failures = append(failures, f)
	}
	got, err := p.on().Fail(p.ctx, failures)
	p.want(fmt.Sprintf("fail %+v", failures), some(got), some(p.m.fail(failures)), err, nil)
}

func (p *program) progress() {
	all := []backend.Progress{{Lease: p.lease(), Done: rapid.Int64Range(0, 3).Draw(p.T, "done"), Total: 3}}
	err := p.on().StoreProgress(p.ctx, all)
	p.m.progress(all)
	p.want(fmt.Sprintf("progress %+v", all), nil, nil, err, nil)
}

func (p *program) beat() {
	req := backend.HeartbeatRequest{Worker: p.anyWorker(), Leave: p.rarely("leave")}
	got, err := p.on().Heartbeat(p.ctx, req)
	want, wantErr := p.m.beat(req)
	got.Leases, got.Cancel = some(got.Leases), some(got.Cancel)
	p.want(fmt.Sprintf("beat %+v", req), got, want, err, wantErr)
	p.replaceDead()
}

func (p *program) reap() {
	req := backend.ReapRequest{Expired: p.chance("expired")}
	if p.chance("steady") {
		req.StableFor = oneOf(p, "for", 5*time.Second, 10*time.Second, 20*time.Second)
	}
	if p.rarely("heard") {
		req.StoreTime = p.now.Add(-oneOf(p, "ago", 0, 10*time.Second, 20*time.Second))
	}
	if p.chance("by") {
		req.By = p.anyWorker().ID
	}
	p.reaped(req)
}

// die reaps a worker whose process is known to have ended.
func (p *program) die() {
	p.reaped(backend.ReapRequest{Dead: []int64{p.anyWorker().ID}})
}

func (p *program) reaped(req backend.ReapRequest) {
	got, err := p.on().Reap(p.ctx, req)
	slices.Sort(got.Workers)
	p.want(fmt.Sprintf("reap %+v", req), got, p.m.reap(req, p.stored()), err, nil)
	p.replaceDead()
}

// wait waits while there is a job to claim.
func (p *program) wait() {
	req := p.request()
	req.Worker = p.live[0]
	if req.Limit == 0 || len(p.m.next(req)) == 0 {
		p.Skip("there is nothing")
	}
	if err := p.on().Wait(p.ctx, req); err != nil {
		p.Fatalf("wait for %+v: %v", req, err)
	}
	p.tidyUp()
}

func (p *program) advance() {
	d := oneOf(p, "by", 10*time.Second, 10*time.Second, 20*time.Second, 30*time.Second, 100*time.Second, time.Hour, 8*24*time.Hour, 31*24*time.Hour)
	p.Logf("advance %v", d)
	p.now = p.now.Add(d)
	p.m.now = p.now
	if p.store.Moved != nil {
		if err := p.store.Moved(); err != nil {
			p.Fatal(err)
		}
	}
}

func (p *program) operate() {
	req := backend.OperateRequest{Op: oneOf(p, "op", backend.OpRetry, backend.OpCancel, backend.OpDelete, backend.OpFree, backend.OpPrioritize), Filter: p.filter()}
	if p.chance("few") {
		req.Limit = rapid.IntRange(1, 3).Draw(p.T, "limit")
	}
	if p.rarely("before") {
		req.Before = rapid.Int64Range(1, 12).Draw(p.T, "below")
	}
	if req.Op == backend.OpPrioritize || req.Op == backend.OpRetry && p.chance("other priority") {
		low := oneOf[int16](p, "priority", 0, 1, -1)
		req.Priority = &low
	}
	got, err := p.on().Operate(p.ctx, req)
	what := fmt.Sprintf("operate %+v", req)
	want := p.m.operate(req, got.Next)
	p.page(what, len(got.Affected)+len(got.Duplicates), cmp.Or(req.Limit, 1000), req.Before, got.Next)
	slices.Sort(got.Affected)
	slices.Sort(got.Duplicates)
	got.Next = 0
	p.want(what, got, want, err, nil)
}

// page fails if a page has too many jobs, or the next page does not come after
// it.
func (p *program) page(what string, jobs, limit int, before, next int64) {
	if jobs > limit || before != 0 && next >= before {
		p.Fatalf("%s: %d jobs on a page below %d, and the next one is below %d", what, jobs, before, next)
	}
}

func (p *program) list() {
	req := backend.ListRequest{Filter: p.filter(), Limit: oneOf(p, "limit", 0, 1, 2)}
	got, err := p.on().List(p.ctx, req)
	limit := cmp.Or(req.Limit, 100)
	var want []int64
	for _, j := range p.m.page(req.Filter, req.Before, got.Next, func(*job) bool { return true }) {
		want = append(want, j.id)
	}
	var ids []int64
	for _, j := range got.Jobs {
		ids = append(ids, j.ID)
	}
	p.page(fmt.Sprintf("list %+v", req), len(ids), limit, req.Before, got.Next)
	p.want(fmt.Sprintf("list %+v", req), ids, want, err, nil)
}

func (p *program) set() {
	s := backend.Settings{Name: p.name(), MaxRunning: oneOf(p, "running", 0, 0, 1, 2), Rate: oneOf(p, "rate", 0, 0, 1, 3)}
	if s.Rate > 0 {
		s.Per = per
	}
	if p.rarely("crashes") {
		s.MaxCrashes = oneOf(p, "most crashes", -1, 1, 2)
	}
	if p.rarely("history") {
		s.History = histories.Draw(p.T, "history")
	}
	id := int64(0)
	if p.chance("of a worker") {
		id = p.anyWorker().ID
	}
	_, err := p.on().Set(p.ctx, id, []backend.Settings{s})
	wantErr := p.m.set(id, s)
	p.want(fmt.Sprintf("set %d %+v", id, s), nil, nil, err, wantErr)
}

func (p *program) override() {
	o := backend.Override{Settings: backend.Settings{Name: p.name(), MaxRunning: oneOf(p, "running", 0, -1, 1, 2)}, By: "ann"}
	if p.rarely("rate") {
		o.Rate, o.Per = 2, per
	}
	reset := p.chance("reset")
	err := p.on().Override(p.ctx, o, reset)
	p.m.override(o, reset)
	p.want(fmt.Sprintf("override %+v, %v", o, reset), nil, nil, err, nil)
}

func (p *program) pause() {
	name, paused := oneOf(p, "name", "a", "b", ""), p.rarely("paused")
	err := p.on().Pause(p.ctx, name, paused)
	p.m.paused[name] = paused
	p.want(fmt.Sprintf("pause %q %v", name, paused), nil, nil, err, nil)
}

func (p *program) define() {
	s := backend.Schedule{
		Name: oneOf(p, "schedule", schedules...), Definition: oneOf(p, "definition", "hourly", "daily"),
		Next: p.now.Add(oneOf(p, "in", 0, 10*time.Second, time.Hour)),
	}
	if stored, ok := p.m.schedules[s.Name]; ok && p.chance("instead") {
		if s.Instead = stored.Next; p.rarely("of another") {
			s.Instead = s.Instead.Add(time.Microsecond)
		}
	}
	err := p.on().Define(p.ctx, []backend.Schedule{s})
	p.m.define([]backend.Schedule{s})
	p.want(fmt.Sprintf("define %+v", s), nil, nil, err, nil)
}

func (p *program) tick() {
	t := backend.Tick{
		Name: oneOf(p, "schedule", schedules...), Definition: oneOf(p, "definition", "hourly", "daily"), Due: p.now, Jobs: p.newJobs(),
	}
	if s, ok := p.m.schedules[t.Name]; ok && !p.rarely("another time") {
		t.Due = s.Next
	}
	t.Next = t.Due.Add(time.Hour)
	got, err := p.on().Tick(p.ctx, t)
	want, wantErr := p.m.tick(t, p.fresh())
	p.want(fmt.Sprintf("tick %+v", t), got, want, err, wantErr)
}

func (p *program) pauseSchedule() {
	name, paused := oneOf(p, "schedule", schedules...), p.chance("paused")
	err := p.on().PauseSchedule(p.ctx, name, paused)
	p.want(fmt.Sprintf("pause schedule %s %v", name, paused), nil, nil, err, p.m.pauseSchedule(name, paused))
}

// errorText returns the part of an error that programs may rely on.
func errorText(err error) string {
	if e := (*backend.DuplicateError)(nil); errors.As(err, &e) {
		return fmt.Sprintf("duplicate %+v", *e)
	}
	if e := (*backend.QueueFullError)(nil); errors.As(err, &e) {
		return fmt.Sprintf("full %+v", *e)
	}
	for _, kind := range []error{backend.ErrWorkerGone, backend.ErrNotFound, backend.ErrLeaseLost} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
