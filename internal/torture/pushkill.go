package torture

import (
	"maps"
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
	// numbersEach is how many task numbers each pusher has.
	numbersEach = 1_000_000
)

func pushkill(r *rig) {
	started := int64(0)
	spawn := func(repeat string) *process {
		started++
		return r.spawn(child.Order{Role: child.Push, First: started * numbersEach, Repeat: repeat})
	}
	var all [pushProcesses]*process
	for i := range all {
		all[i] = spawn("")
	}
	kills := 0
	for kills < r.Rounds && r.more() {
		i := r.random.IntN(len(all))
		// Some processes die while they open the file, most while they push.
		if r.random.IntN(4) > 0 {
			all[i].begun()
		}
		r.pause(r.between(0, 40*time.Millisecond))
		if all[i].over() {
			r.result.faultf("%v", all[i].failure())
		}
		kills++
		all[i].kill()
		all[i] = spawn(all[i].ledger)
		r.tell("%d of %d kills; %d jobs acknowledged", kills, r.Rounds, r.acks.count())
	}
	check(r.ctx.Err())
	each(all[:], (*process).begun)
	each(all[:], (*process).stop)
	server := r.server()
	e := r.inspect(server)
	server.stop()
	check(r.acks.close())
	h := r.history()
	r.result.add("kills", kills)
	r.result.add("acknowledged", len(r.acks.ids))
	r.result.add("repeated_batches", h.repeated)
	r.judgePushes(e)
	r.result.must("errors", len(h.callErrors))
	for _, t := range h.callErrors {
		r.result.faultf("push on %s: %s", t.p.driver, t.text)
	}
	r.integrity(e)
}

// judgePushes compares the acknowledged jobs with the stored ones. Numbers
// identify tasks: a number that is stored twice was pushed twice, whatever the
// repeated push returned.
func (r *rig) judgePushes(e ending) {
	unheard, doubled, torn := 0, 0, 0
	numbers := map[int64]int{}
	lost := missing(r.acks.ids, maps.Values(e.jobs))
	for _, id := range lost {
		r.result.faultf("job %d was acknowledged for task %d; there is %+v", id, r.acks.ids[id], e.jobs[id])
	}
	batches := map[int64][2]int{} // found, and wanted
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
	r.result.must("missing", len(lost))
	r.result.must("doubled", doubled)
	r.result.must("torn_batches", torn)
	r.result.add("stored_unacknowledged", unheard)
}
