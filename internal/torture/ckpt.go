package torture

import (
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var ckptTest = &Test{
	ID:     "ckpt",
	About:  "processes push and work while others loop over wal_checkpoint(TRUNCATE/RESTART/PASSIVE)",
	Unit:   "databases, each for ten seconds",
	Counts: []string{"databases", "jobs"},
	Short:  1, Full: 180,
	Mixed: true,
	run:   ckpt,
}

// A checkpointing is one run of the test.
type checkpointing struct {
	*rig
	databases, jobs, calls int
	checkpoints, frames    int64
	sum                    verdict
	broken, surfaced       int
}

func ckpt(r *rig) {
	k := &checkpointing{rig: r}
	for ; k.databases < r.Rounds && r.more(); k.databases++ {
		r.sub(fmt.Sprint("database ", k.databases+1), k.one)
		r.tell("%d of %d databases", k.databases+1, r.Rounds)
	}
	r.result.add("databases", k.databases)
	r.result.add("jobs", k.jobs)
	r.result.add("calls", k.calls)
	r.result.add("checkpoints", k.checkpoints)
	r.result.add("pages_moved", k.frames)
	k.sum.report(&r.result)
	r.result.must("surfaced", k.surfaced)
	r.result.must("integrity_broken", k.broken)
}

func (k *checkpointing) one(r *rig) {
	duration := 10 * time.Second
	if k.Short {
		duration = 3 * time.Second
	}
	server := r.server()
	// The push creates the tables, which the raw connections need.
	r.push(server, []child.Task{{N: 0}})
	var workers, pushers, checkpointers []*process
	for i := range 2 {
		w := r.spawn(child.Order{Role: child.Work, Concurrency: 4, Grace: time.Second})
		p := r.spawn(child.Order{Role: child.Push, First: int64(i+1) * numbersEach, Pause: 10 * time.Millisecond})
		c := r.server()
		workers, pushers, checkpointers = append(workers, w), append(pushers, p), append(checkpointers, c)
	}
	each(append(workers, pushers...), (*process).begun)
	modes := []string{"TRUNCATE", "RESTART", "PASSIVE"}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		for _, c := range checkpointers { // both at once, each in a random mode
			mode := modes[r.random.IntN(len(modes))]
			c.send(child.Command{Op: child.OpCheckpoint, Mode: mode, For: r.between(50*time.Millisecond, 500*time.Millisecond)})
		}
		for _, c := range checkpointers {
			reply := must(c.reply(patience))
			k.checkpoints += reply.N
			k.frames += reply.Frames
		}
	}
	each(append(pushers, checkpointers...), (*process).stop)
	r.drain(server, 30*time.Second)
	each(workers, (*process).stop)
	k.count(r, r.finish(server, nil))
}

// count adds the results of one database. Claims or settlements of one process
// in the same microsecond count as one call.
func (k *checkpointing) count(r *rig, f finish) {
	k.jobs += len(r.acks.ids)
	k.sum.add(f.verdict)
	if !f.ok {
		k.broken++
	}
	type call struct {
		p  *process
		at int64
	}
	calls := map[call]bool{}
	for _, run := range f.runs {
		calls[call{run.p, run.claimed}] = true
		calls[call{run.p, run.settles}] = true
	}
	k.calls += len(calls) + r.acks.calls
	for _, t := range f.callErrors {
		k.surfaced++
		k.result.faultf("child %d (%s): %s", t.p.number, t.p.driver, t.text)
	}
}
