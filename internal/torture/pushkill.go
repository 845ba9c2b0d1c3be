package torture

import (
	"context"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var pushkillTest = &Test{
	ID:     "pushkill",
	About:  "processes that push are killed; acknowledged jobs must exist once, batches must be whole, and a repeat with keys must store nothing twice",
	Unit:   "kills",
	Counts: []string{"kills", "acknowledged"},
	Short:  30, Full: 2000,
	Mixed: true,
	run:   pushkill,
}

const (
	pushProcesses = 2
	// numbersEach is how many tasks a pusher can make before it meets the
	// numbers of the next one.
	numbersEach = 1_000_000
)

func pushkill(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	err = r.pushkill(ctx)
	return r.result, err
}

func (r *rig) pushkill(ctx context.Context) error {
	started := int64(0)
	spawn := func(repeat string) (*process, error) {
		started++
		return r.spawn(child.Order{Role: child.Push, First: started * numbersEach, Repeat: repeat})
	}
	var all [pushProcesses]*process
	for i := range all {
		var err error
		if all[i], err = spawn(""); err != nil {
			return err
		}
	}
	kills := 0
	told := time.Now()
	for kills < r.Rounds && r.more(ctx) {
		i := r.random.IntN(len(all))
		// Some die while they open the file, most while they push.
		if r.random.IntN(4) > 0 {
			if err := all[i].begun(ctx); err != nil {
				return err
			}
		}
		if err := pause(ctx, r.between(0, 40*time.Millisecond)); err != nil {
			return err
		}
		if all[i].over() {
			r.result.faultf("%v", all[i].failure())
		}
		kills++
		if err := all[i].kill(); err != nil {
			return err
		}
		var err error
		if all[i], err = spawn(all[i].ledger); err != nil {
			return err
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			r.progress("%d of %d kills; %d jobs acknowledged", kills, r.Rounds, r.acks.count())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, p := range all {
		if err := p.begun(ctx); err != nil {
			return err
		}
		if err := p.stop(ctx); err != nil {
			return err
		}
	}
	server, err := r.server(ctx)
	if err != nil {
		return err
	}
	e, err := r.inspect(ctx, server)
	if err != nil {
		return err
	}
	if err := errors.Join(server.stop(ctx), r.acks.close()); err != nil {
		return err
	}
	h, err := r.history()
	if err != nil {
		return err
	}
	r.result.add("kills", kills)
	r.result.add("acknowledged", len(r.acks.ids))
	r.result.add("repeated_batches", h.repeated)
	r.judgePushes(e)
	r.result.must("errors", len(h.troubles))
	for _, t := range h.troubles {
		r.result.faultf("push on %s: %s", t.p.driver, t.text)
	}
	r.integrity(e)
	r.result.add("sec", int(time.Since(r.began).Seconds()))
	return nil
}

// judgePushes compares what was acknowledged with what is there. Tasks are told
// apart by their numbers: a number that is there twice was doubled, whatever a
// repeat was answered.
func (r *rig) judgePushes(e ending) {
	missing, unheard, doubled, torn := 0, 0, 0, 0
	numbers := map[int64]int{}
	for id, number := range r.acks.ids {
		if j, ok := e.jobs[id]; !ok || j.N != number {
			missing++
			r.result.faultf("job %d was acknowledged for task %d; there is %+v", id, number, j)
		}
	}
	batches := map[int64][2]int{} // found, and how many it was to be
	for id, j := range e.jobs {
		if _, ok := r.acks.ids[id]; !ok {
			unheard++
		}
		if numbers[j.N]++; numbers[j.N] > 1 {
			doubled++
		}
		if j.Size > 0 {
			batches[j.Batch] = [2]int{batches[j.Batch][0] + 1, j.Size}
		}
	}
	for batch, n := range batches {
		if n[0] != n[1] {
			torn++
			r.result.faultf("of batch %d there are %d jobs of %d", batch, n[0], n[1])
		}
	}
	r.result.must("missing", missing)
	r.result.must("doubled", doubled)
	r.result.must("torn_batches", torn)
	r.result.add("stored_unacknowledged", unheard)
}
