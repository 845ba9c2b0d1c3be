package torture

import (
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var killTest = &Test{
	ID:     "kill",
	About:  "workers are killed with SIGKILL or frozen past their lease; now and then all processes are killed at once",
	Unit:   "kills",
	Counts: []string{"kills", "jobs"},
	Short:  40, Full: 10_000,
	Mixed: true,
	run:   kill,
}

const (
	killProcesses   = 4
	killConcurrency = 8
	// shortLease makes the jobs of dead workers run again soon, and is long
	// enough for a busy machine: a worker whose heartbeats are late judges no
	// other.
	shortLease = 2 * time.Second
	// killAllEvery is after how many kills all processes die at once, so that
	// the next process finds a log that no process has open.
	killAllEvery = 150
	// freezeEvery is after how many kills a worker is frozen instead of killed.
	freezeEvery = 20
	// spareTime is how long one of the workers is spared. A worker judges
	// others only once it has been stable for a while, so without an old worker
	// a frozen worker's jobs would not be reaped.
	spareTime = 4 * time.Second
	// frozenSpareTime is how long a worker that was frozen lives on at least,
	// with leases that it has lost.
	frozenSpareTime = 2 * time.Second
	// jobsPerKill is the least number of jobs, per kill.
	jobsPerKill = 20
)

// A killing is one run of the test.
type killing struct {
	*rig
	server      *process
	workers     []*process
	next        int64 // number of the next task
	kills       int
	frozen      map[*process]time.Time // when each thaws
	freezes     int
	spared      int // index of the worker that is spared
	sparedSince time.Time
	effects     map[int64]bool // tasks that change the database, by number; nil is none
}

func kill(r *rig) {
	k := &killing{rig: r, workers: make([]*process, killProcesses), frozen: map[*process]time.Time{}, effects: map[int64]bool{}}
	k.all()
}

func (k *killing) all() {
	k.start()
	k.killSome()
	k.thawAll()
	for k.next < int64(k.kills*jobsPerKill) {
		k.pushSome(500)
	}
	k.progress("%d kills; %d jobs", k.kills, k.next)
	took := k.drain(k.server, 10*shortLease+20*time.Second)
	each(k.workers, (*process).stop)
	k.judgement(took)
}

// start starts the server and the workers, with jobs to run.
func (k *killing) start() {
	k.server = k.rig.server()
	k.feed()
	for i := range k.workers {
		k.respawn(i)
	}
}

// thawAll waits until every frozen worker goes on.
func (k *killing) thawAll() {
	for _, when := range k.frozen {
		k.pause(time.Until(when))
	}
}

// killSome kills until it has killed enough.
func (k *killing) killSome() {
	fed := time.Now()
	for k.kills < k.Rounds && k.more() {
		k.pause(k.between(10*time.Millisecond, 50*time.Millisecond))
		k.strike()
		if time.Since(fed) > 200*time.Millisecond {
			k.feed()
			fed = time.Now()
		}
		k.tell("%d of %d kills; %d jobs", k.kills, k.Rounds, k.next)
	}
	check(k.ctx.Err())
}

// strike kills or freezes a worker, or kills all processes.
func (k *killing) strike() {
	for p, when := range k.frozen {
		if time.Since(when) > frozenSpareTime {
			delete(k.frozen, p)
		}
	}
	if k.kills%killAllEvery == killAllEvery-1 {
		k.killAll()
		return
	}
	i := k.random.IntN(len(k.workers))
	p := k.workers[i]
	if time.Since(k.sparedSince) > spareTime && k.frozen[p].IsZero() {
		k.spared, k.sparedSince = i, time.Now()
	}
	if i == k.spared || !k.frozen[p].IsZero() {
		return // the next call picks another one
	}
	if k.kills >= freezeEvery*(k.freezes+1) && haveSignals && len(k.frozen) == 0 && p.hasBegun() {
		k.freezes++
		k.frozen[p] = time.Now().Add(shortLease * 2)
		p.freezeFor(shortLease * 2)
		return
	}
	k.kill(p)
	k.respawn(i)
}

func (k *killing) kill(p *process) {
	select {
	case <-p.ended: // it ended by itself, which it must not
		k.result.faultf("%v", p.failure())
	default:
	}
	delete(k.frozen, p)
	k.kills++
	p.kill()
}

// killAll kills all processes.
func (k *killing) killAll() {
	for _, i := range k.random.Perm(len(k.workers)) {
		k.kill(k.workers[i])
	}
	k.server.kill()
	for i := range k.workers {
		k.respawn(i)
	}
	k.server = k.rig.server()
}

func (k *killing) respawn(i int) {
	k.workers[i] = k.spawn(child.Order{Role: child.Work, Concurrency: killConcurrency, Lease: shortLease, Grace: time.Second})
}

// feed pushes jobs if few wait. It does not push more, as the test waits for
// all of them at the end.
func (k *killing) feed() {
	if !k.supplied(1000) {
		k.pushSome(500)
	}
}

// supplied reports whether more than n jobs wait.
func (k *killing) supplied(n int64) bool {
	counts := k.counts(k.server)
	return counts["pending"]+counts["scheduled"] > n
}

func (k *killing) pushSome(n int) {
	tasks := make([]child.Task, n)
	for i := range tasks {
		tasks[i] = child.Task{N: k.next, Takes: k.between(0, 20*time.Millisecond), Priority: int16(k.random.IntN(3))} //nolint:gosec // small
		if k.random.IntN(20) == 0 {
			tasks[i].Fails = 1 + k.random.IntN(3)
		}
		if k.effects != nil && k.random.IntN(10) == 0 {
			tasks[i].Do, k.effects[k.next] = child.ActionEffect, true
		}
		k.next++
	}
	k.push(k.server, tasks)
}

func (k *killing) judgement(took time.Duration) {
	effects := k.server.ask(child.Command{Op: child.OpEffects})
	f := k.finish(k.server, nil)
	h, e, v := f.history, f.ending, f.verdict
	r := &k.result
	r.add("kills", k.kills)
	r.add("freezes", k.freezes)
	r.add("jobs", len(k.acks.ids))
	v.report(r)
	v.repeatAtMost(r, f.mayRepeat(killConcurrency))
	r.add("largest_unsettled", h.unsettled)
	r.add("failed_as_suspects", v.crashed)
	r.must("failed_otherwise", v.failed)
	r.must("unacknowledged", v.unacknowledged)
	k.crashedFairly(h, e)
	k.effective(effects.Effects, e)
	r.add("max_attempt", v.maxAttempt)
	k.integrity(e)
	r.add("drain", took)
}

// effective checks jobs whose handlers change the database and complete the job
// in one transaction: the change must have happened once if the job is done,
// and never otherwise.
func (k *killing) effective(effects map[int64]int, e ending) {
	done, wrong := 0, 0
	for id, j := range e.jobs {
		want := 0
		if k.effects[j.N] && j.State == "done" {
			want = 1
		}
		done += want
		if got := effects[id]; got != want {
			wrong++
			k.result.faultf("job %d is %s and has changed the database %d times, want %d", id, j.State, got, want)
		}
	}
	k.result.add("effects", done)
	k.result.must("effects_wrong", wrong)
}

// crashedFairly checks jobs that were failed because their workers died: enough
// workers must have died while they ran the job as a suspect.
func (k *killing) crashedFairly(h *history, e ending) {
	for id, j := range e.jobs {
		if j.State != "failed" || j.Crashes == 0 {
			continue
		}
		deaths := len(h.deaths(id))
		// A process may die before it notes what it claimed.
		if j.Crashes != child.MaxCrashes || deaths < child.MaxCrashes-1 {
			k.result.faultf("job %d is failed after %d crashes, %d of them known", id, j.Crashes, deaths)
		}
	}
}
