package torture

import (
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var uniqTest = &Test{
	ID:     "uniq",
	About:  "processes push jobs with 100 different unique keys while workers finish the jobs, and all are killed; no two live jobs may have one key",
	Unit:   "pushes",
	Counts: []string{"pushes", "jobs"},
	Short:  300, Full: 10_000,
	Mixed: true,
	run:   uniq,
}

const (
	uniquePushers = 8
	// uniquePause is how long each goroutine of a pusher waits after a push, so
	// that there is time to kill it.
	uniquePause = 20 * time.Millisecond
	// watch is how long the watcher looks between two kills.
	watch = 30 * time.Millisecond
)

// A uniqueRun is one run of the test. Its workers are those of a killing.
type uniqueRun struct {
	*killing
	pushers    [uniquePushers]*process
	watcher    *process
	kills      int // of pushers
	samples    int64
	duplicates int
}

func uniq(r *rig) {
	u := &uniqueRun{killing: &killing{rig: r, workers: make([]*process, 3), frozen: map[*process]time.Time{}}}
	u.all()
}

func (u *uniqueRun) all() {
	u.server = u.rig.server()
	// The first pusher migrates, so that the watcher finds the tables.
	u.pushers[0] = u.pusher()
	u.pushers[0].begun()
	u.watcher = u.rig.server()
	for i := range u.pushers[1:] {
		u.pushers[1+i] = u.pusher()
	}
	for i := range u.workers {
		u.respawn(i)
	}
	u.contend()
	each(u.pushers[:], (*process).begun)
	each(u.pushers[:], (*process).stop)
	u.thawAll()
	took := u.drain(u.server, 10*shortLease+20*time.Second)
	each(append(u.workers, u.watcher), (*process).stop)
	u.judgement(took)
}

// contend kills pushers and workers, and looks for duplicate keys in between.
func (u *uniqueRun) contend() {
	for u.acks.pushes() < u.Rounds && u.more() {
		look := u.watcher.ask(child.Command{Op: child.OpDuplicates, For: watch})
		u.samples += look.N
		if look.Check != "" {
			u.duplicates++
			u.result.faultf("jobs with the same key at once: %s", look.Check)
		}
		if u.random.IntN(2) == 0 {
			u.strike()
			continue
		}
		i := u.random.IntN(len(u.pushers))
		p := u.pushers[i]
		if p.over() {
			u.result.faultf("%v", p.failure())
		}
		u.kills++
		p.kill()
		u.pushers[i] = u.pusher()
		u.tell("%d of %d pushes; %d jobs", u.acks.pushes(), u.Rounds, u.acks.count())
	}
	check(u.ctx.Err())
}

func (u *uniqueRun) pusher() *process {
	return u.spawn(child.Order{Role: child.PushUnique, Pause: uniquePause})
}

func (u *uniqueRun) judgement(took time.Duration) {
	f := u.finish(u.server, nil)
	r := &u.result
	r.add("pushes", u.acks.calls)
	r.add("jobs", len(f.jobs))
	r.add("kills_of_pushers", u.kills)
	r.add("kills_of_workers", u.killing.kills)
	r.add("samples", u.samples)
	r.must("live_twins", u.duplicates)
	f.report(r)
	r.add("superseded", f.superseded)
	r.must("failed_otherwise", f.failed)
	errors := 0
	for _, t := range f.callErrors {
		if t.p.role == child.PushUnique {
			errors++
			r.faultf("pusher on %s: %s", t.p.driver, t.text)
		}
	}
	r.must("errors", errors)
	u.integrity(f.ending)
	r.add("drain", took)
}
