package torture

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var ioerrTest = &Test{
	ID:     "ioerr",
	About:  "the k-th disk call fails, once or from then on, with k rising until a run sees no fault: in the driver, in a VFS of ncruces, and by strace",
	Unit:   "failing system calls of each kind at most",
	Counts: []string{"runs", "acknowledged"},
	Short:  40, Full: 3000,
	run: ioerr,
}

// A diskTest uses stores whose disk fails.
type diskTest struct {
	*rig
	server *process // examines what is left

	runs, struck, acked          int
	lost, corrupt, hangs, broken int
	otherKind, early, tracedHits int
	cut                          int // sweeps that ended before a run without a fault
	kinds                        map[string]int
	kmax                         map[string]int
	paths                        int
}

func ioerr(r *rig) {
	e := &diskTest{rig: r, kinds: map[string]int{}, kmax: map[string]int{}}
	e.server = r.server()
	e.sweep(child.DiskDriver, "driver")
	if r.Driver == "ncruces" {
		e.sweep(child.DiskVFS, "vfs")
	}
	err, skip := try(e.sweepCalls), (*Skip)(nil)
	if !errors.As(err, &skip) {
		check(err)
	} else {
		r.progress("no system calls fail: %v", skip)
		r.result.leaveOut("system calls that fail", skip)
	}
	e.report()
}

func (e *diskTest) report() {
	e.result.add("runs", e.runs)
	e.result.add("struck", e.struck)
	e.result.add("by_strace", e.tracedHits)
	for _, what := range []string{"driver", "driver_from", "driver_commit", "vfs", "vfs_from", "vfs_sync", "strace"} {
		if k := e.kmax[what]; k > 0 {
			e.result.add(what+"_k_max", k)
		}
	}
	e.result.add("acknowledged", e.acked)
	e.reportKinds()
	if !e.Short {
		e.result.must("sweeps_cut", e.cut)
	}
	e.result.must("acknowledged_lost", e.lost)
	e.result.must("corrupt", e.corrupt)
	e.result.must("hangs", e.hangs)
	e.result.must("acknowledged_early", e.early)
	e.result.must("broken_afterwards", e.broken)
	e.result.must("errors_without_kind", e.otherKind)
}

// reportKinds adds the kinds of the errors.
func (e *diskTest) reportKinds() {
	for _, kind := range slices.Sorted(maps.Keys(e.kinds)) {
		e.result.add("said_"+kind, e.kinds[kind])
	}
}

// maxCalls ends a sweep that does not end by itself.
const maxCalls = 3000

// sweep fails the k-th call to a disk, once and from then on, and the k-th
// sync, or commit, once.
func (e *diskTest) sweep(where, name string) {
	stride, sync := 1, "sync"
	if where == child.DiskDriver {
		sync = "commit"
	}
	if e.Short {
		stride = 1 + maxCalls/(e.Rounds*5)
	}
	for _, sweep := range []struct {
		name   string
		fault  child.DiskFault
		stride int
	}{
		{name, child.DiskFault{}, stride},
		{name + "_from", child.DiskFault{Forever: true}, stride},
		{name + "_" + sync, child.DiskFault{Call: sync}, 1},
	} {
		clean := false
		for k := 1 + e.random.IntN(sweep.stride); k < maxCalls && e.more(); k += sweep.stride {
			f := sweep.fault
			f.K = k
			if clean = e.one(where, f) == 0; clean {
				break
			}
			e.kmax[sweep.name] = k
			e.tell("%s: k = %d", sweep.name, k)
		}
		if !clean {
			e.cut++
		}
	}
	check(e.ctx.Err())
}

// one has a child use a store whose disk fails, and examines what is left.
func (e *diskTest) one(where string, f child.DiskFault) (struck int) {
	path := e.newPath()
	what := fmt.Sprintf("%s %+v", where, f)
	reply, err := e.server.tryAsk(child.Command{Op: child.OpFaultyDisk, Path: path, Where: where, Fault: f})
	if err != nil {
		check(fmt.Errorf("%s: %w", what, err))
	}
	e.judge(path, where, what, reply.Endure)
	return reply.Endure.Struck
}

func (e *diskTest) newPath() string {
	e.paths++
	return filepath.Join(e.dir, fmt.Sprintf("disk%d.db", e.paths))
}

// judge examines what a child left.
func (e *diskTest) judge(path, where, what string, n *child.DiskReport) {
	faults := len(e.result.Faults)
	e.runs++
	e.acked += len(n.Acked)
	e.early += n.Early
	if n.Struck > 0 {
		e.struck++
	}
	for kind, times := range n.Kinds {
		e.kinds[kind] += times
		if kind == "other" || kind == "invalid" || kind == "schema" {
			e.otherKind += times
			e.result.faultf("%s: errors of kind %s: %q", what, kind, n.Texts)
		}
	}
	if n.Hangs > 0 {
		e.hangs += n.Hangs
		e.result.faultf("%s: %q", what, n.Texts)
	}
	if n.Early > 0 {
		e.result.faultf("%s: %d pushes were acknowledged after a failed sync and before a checkpoint", what, n.Early)
	}
	if !n.Works && (where != child.DiskReal || n.Reason != "") {
		e.broken++
		e.result.faultf("%s: it does not recover: %s", what, n.Reason)
	}
	if where == child.DiskVFS {
		e.examine(path+".crash", what+", as after a crash", n.Acked[:n.Crash])
	}
	e.examine(path, what, n.Acked)
	if len(e.result.Faults) == faults {
		removeDatabase(path)
		removeDatabase(path + ".crash")
	}
}

// examine opens a database without faults and compares.
func (e *diskTest) examine(path, what string, acked []child.Ack) {
	numbers := map[int64]int64{}
	for _, a := range acked {
		numbers[a.ID] = a.N
	}
	lost, _ := e.judgeFile(e.server, path, what, numbers, &e.broken, &e.corrupt)
	for _, id := range lost {
		e.lost++
		e.result.faultf("%s: job %d was acknowledged and is not there", what, id)
	}
}
