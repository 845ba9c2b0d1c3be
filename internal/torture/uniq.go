package torture

import (
	"context"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var uniqTest = &Test{
	ID:     "uniq",
	About:  "processes push over 100 unique keys while workers finish the jobs, and all are killed; no two live jobs may have one key",
	Unit:   "pushes",
	Counts: []string{"pushes", "jobs"},
	Short:  300, Full: 10_000,
	Mixed: true,
	run:   uniq,
}

const (
	rivals = 8
	// rivalry is how long each goroutine of a pusher waits after a push, so
	// that there is time to be killed.
	rivalry = 20 * time.Millisecond
	// watch is how long the watcher looks between two kills.
	watch = 30 * time.Millisecond
)

// A rivalling is one run of the test. Its workers are those of a killing.
type rivalling struct {
	*killing
	pushers [rivals]*process
	watcher *process
	kills   int // of pushers
	samples int64
	twins   int
}

func uniq(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	u := &rivalling{killing: &killing{rig: r, workers: make([]*process, 3), frozen: map[*process]time.Time{}}}
	err = u.all(ctx)
	return r.result, err
}

func (u *rivalling) all(ctx context.Context) (err error) {
	if u.server, err = u.rig.server(ctx); err != nil {
		return err
	}
	// The first one migrates, so that the watcher finds the tables.
	if u.pushers[0], err = u.pusher(); err != nil {
		return err
	}
	if err := u.pushers[0].begun(ctx); err != nil {
		return err
	}
	if u.watcher, err = u.rig.server(ctx); err != nil {
		return err
	}
	for i := range u.pushers[1:] {
		if u.pushers[1+i], err = u.pusher(); err != nil {
			return err
		}
	}
	for i := range u.workers {
		if err := u.respawn(i); err != nil {
			return err
		}
	}
	if err := u.contend(ctx); err != nil {
		return err
	}
	for _, p := range u.pushers {
		if err := p.begun(ctx); err != nil {
			return err
		}
		if err := p.stop(ctx); err != nil {
			return err
		}
	}
	for _, when := range u.frozen {
		if err := pause(ctx, time.Until(when)); err != nil {
			return err
		}
	}
	_, took, err := u.drain(ctx, u.server, 10*shortLease+20*time.Second)
	if err != nil {
		return err
	}
	for _, p := range append(u.workers, u.watcher) {
		if err := p.stop(ctx); err != nil {
			return err
		}
	}
	return u.judgement(ctx, took)
}

// contend kills pushers and workers, and looks in between.
func (u *rivalling) contend(ctx context.Context) (err error) {
	told := time.Now()
	for u.acks.pushes() < u.Rounds && u.more(ctx) {
		look, err := u.watcher.ask(ctx, child.Command{Op: child.OpRivals, For: watch})
		if err != nil {
			return err
		}
		u.samples += look.N
		if look.Check != "" {
			u.twins++
			u.result.faultf("jobs that have one key at once: %s", look.Check)
		}
		if u.random.IntN(2) == 0 {
			if err := u.strike(ctx); err != nil {
				return err
			}
			continue
		}
		i := u.random.IntN(len(u.pushers))
		p := u.pushers[i]
		if p.over() {
			u.result.faultf("%v", p.failure())
		}
		u.kills++
		if err := p.kill(); err != nil {
			return err
		}
		if u.pushers[i], err = u.pusher(); err != nil {
			return err
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			u.progress("%d of %d pushes; %d jobs", u.acks.pushes(), u.Rounds, u.acks.count())
		}
	}
	return ctx.Err()
}

func (u *rivalling) pusher() (*process, error) {
	return u.spawn(child.Order{Role: child.Rival, Pause: rivalry})
}

func (u *rivalling) judgement(ctx context.Context, took time.Duration) error {
	f, err := u.finish(ctx, u.server, nil)
	if err != nil {
		return err
	}
	r := &u.result
	r.add("pushes", u.acks.calls)
	r.add("jobs", len(f.jobs))
	r.add("kills_of_pushers", u.kills)
	r.add("kills_of_workers", u.killing.kills)
	r.add("samples", u.samples)
	r.must("live_twins", u.twins)
	f.report(r)
	r.add("superseded", f.superseded)
	r.must("failed_otherwise", f.failed)
	errors := 0
	for _, t := range f.troubles {
		if t.p.role == child.Rival {
			errors++
			r.faultf("pusher on %s: %s", t.p.driver, t.text)
		}
	}
	r.must("errors", errors)
	u.integrity(f.ending)
	r.add("drain", took)
	u.sec()
	return nil
}
