package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// An enduring is a run of stores whose disk fails.
type enduring struct {
	*rig
	server *process // that examines what is left

	runs, struck, acked          int
	lost, corrupt, hangs, broken int
	unkind, early, tracedHits    int
	cut                          int // sweeps that ended before a run without a fault
	kinds                        map[string]int
	kmax                         map[string]int
	paths                        int
}

func ioerr(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	e := &enduring{rig: r, kinds: map[string]int{}, kmax: map[string]int{}}
	if e.server, err = r.server(ctx); err != nil {
		return r.result, err
	}
	if err := e.sweep(ctx, child.DiskDriver, "driver"); err != nil {
		return r.result, err
	}
	if c.Driver == "ncruces" {
		if err := e.sweep(ctx, child.DiskVFS, "vfs"); err != nil {
			return r.result, err
		}
	}
	if err := e.sweepCalls(ctx); err != nil {
		skip := (*Skip)(nil)
		if !errors.As(err, &skip) {
			return r.result, err
		}
		r.progress("no system calls fail: %v", skip)
		r.result.leaveOut("system calls that fail", skip)
	}
	e.report()
	return r.result, ctx.Err()
}

func (e *enduring) report() {
	e.result.add("runs", e.runs)
	e.result.add("struck", e.struck)
	e.result.add("by_strace", e.tracedHits)
	for _, what := range []string{"driver", "driver_from", "driver_commit", "vfs", "vfs_from", "vfs_sync", "strace"} {
		if k := e.kmax[what]; k > 0 {
			e.result.add(what+"_k_max", k)
		}
	}
	e.result.add("acknowledged", e.acked)
	e.said()
	if !e.Short {
		e.result.must("sweeps_cut", e.cut)
	}
	e.result.must("acknowledged_lost", e.lost)
	e.result.must("corrupt", e.corrupt)
	e.result.must("hangs", e.hangs)
	e.result.must("acknowledged_early", e.early)
	e.result.must("broken_afterwards", e.broken)
	e.result.must("errors_without_kind", e.unkind)
	e.sec()
}

// said adds the kinds of the errors.
func (e *enduring) said() {
	var kinds []string
	for kind := range e.kinds {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		e.result.add("said_"+kind, e.kinds[kind])
	}
}

// kmost ends a sweep that would not end by itself.
const kmost = 3000

// sweep has each call to a disk fail, once and from then on, and each sync, or
// commit, once.
func (e *enduring) sweep(ctx context.Context, where, name string) error {
	stride, sync := 1, "sync"
	if where == child.DiskDriver {
		sync = "commit"
	}
	if e.Short {
		stride = 1 + kmost/(e.Rounds*5)
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
		for k := 1 + e.random.IntN(sweep.stride); k < kmost && e.more(ctx); k += sweep.stride {
			f := sweep.fault
			f.K = k
			struck, err := e.one(ctx, e.server, where, f)
			if err != nil {
				return fmt.Errorf("%+v: %w", f, err)
			}
			if clean = struck == 0; clean {
				break
			}
			e.kmax[sweep.name] = k
			if k/stride%100 == 99 {
				e.progress("%s: k = %d", sweep.name, k)
			}
		}
		if !clean {
			e.cut++
		}
	}
	return ctx.Err()
}

// one has a store used by a child while its disk fails, and examines what is
// left.
func (e *enduring) one(ctx context.Context, user *process, where string, f child.DiskFault) (struck int, err error) {
	e.paths++
	path := filepath.Join(e.dir, fmt.Sprintf("endure%d.db", e.paths))
	reply, err := user.ask(ctx, child.Command{Op: child.OpEndure, Path: path, Where: where, Fault: f})
	if err != nil {
		return 0, err
	}
	return reply.Endure.Struck, e.judge(ctx, path, where, fmt.Sprintf("%s %+v", where, f), reply.Endure)
}

// judge examines what a child left.
func (e *enduring) judge(ctx context.Context, path, where, what string, n *child.Endurance) error {
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
			e.unkind += times
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
	if !n.Works && (where != child.DiskReal || n.Trouble != "") {
		e.broken++
		e.result.faultf("%s: it does not work again: %s", what, n.Trouble)
	}
	if where == child.DiskVFS {
		if err := e.examine(ctx, path+".crash", what+", as if it had died", n.Acked[:n.Crash]); err != nil {
			return err
		}
	}
	if err := e.examine(ctx, path, what, n.Acked); err != nil {
		return err
	}
	if len(e.result.Faults) == faults {
		for _, name := range []string{path, path + ".crash"} {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(name + suffix) // some are not there
			}
		}
	}
	return nil
}

// examine opens a database without faults and compares.
func (e *enduring) examine(ctx context.Context, path, what string, acked []child.Ack) error {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		if len(acked) > 0 {
			e.lost += len(acked)
			e.result.faultf("%s: there is no file", what)
		}
		return nil
	}
	reply, err := e.server.ask(ctx, child.Command{Op: child.OpInspect, Path: path})
	if err != nil {
		if e.server.over() || ctx.Err() != nil {
			return err
		}
		e.broken++
		e.result.faultf("%s: %v", what, err)
		return nil
	}
	if reply.Check != "ok" {
		e.corrupt++
		e.result.faultf("%s: %s", what, reply.Check)
	}
	there := map[int64]int64{}
	for _, j := range reply.Jobs {
		there[j.ID] = j.N
	}
	for _, a := range acked {
		if n, ok := there[a.ID]; !ok || n != a.N {
			e.lost++
			e.result.faultf("%s: job %d was acknowledged and is not there", what, a.ID)
		}
	}
	return nil
}
