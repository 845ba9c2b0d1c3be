package torture

import (
	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var cancelTest = &Test{
	ID:     "cancel",
	About:  "the context of every method is cancelled before and after each driver call; contexts of pushes are also cancelled at random moments",
	Unit:   "random cancellations, after a sweep of every method",
	Counts: []string{"cancelled", "random"},
	Short:  200, Full: 10_000,
	run: cancel,
}

func cancel(r *rig) {
	server := r.server()
	// The short form tries some of the calls, which depend on the seed.
	stride := 1
	if r.Short {
		stride = 6
	}
	methods := child.Methods()
	sum, swept := child.Sweep{}, 0
	for _, m := range methods {
		if !r.more() {
			break
		}
		reply := server.ask(child.Command{Op: child.OpSweep, Method: m, Stride: stride, Offset: r.random.IntN(stride)})
		swept++
		r.progress("%s: %d driver calls, cancelled %d times", m, reply.Sweep.Calls, reply.Sweep.Runs)
		sum.Add(*reply.Sweep)
	}
	reply := server.ask(child.Command{Op: child.OpDeadline, N: r.Rounds})
	random := *reply.Sweep
	r.result.add("methods", swept)
	r.result.add("driver_calls", sum.Calls)
	r.result.add("cancelled", sum.Runs)
	r.result.add("in_effect", sum.Nils)
	r.result.add("random", random.Runs)
	r.result.add("random_in_effect", random.Nils)
	sum.Add(random)
	r.result.must("nil_but_missing", sum.Missing)
	r.result.must("partial", sum.Partial)
	r.result.must("pool_broken", sum.Broken)
	r.result.must("wrong_error", sum.WrongError)
	for _, f := range sum.Faults {
		r.result.faultf("%s", f)
	}
	server.stop()
}
