package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var fullTest = &Test{
	ID:     "full",
	About:  "the disk is full: a small file system, a file-size limit, and the k-th write in the driver or the VFS",
	Unit:   "times that room runs out under a worker, in each of two ways",
	Counts: []string{"rounds", "sweep_runs", "acknowledged"},
	Short:  1, Full: 50,
	Unix: true,
	run:  full,
}

// A filling is one run of the test.
type filling struct {
	enduring

	rounds   int
	sum      verdict
	loud     int // rounds with more complaints than there may be
	exited   int
	late     int // that did not work again in time
	pushes   time.Duration
	works    time.Duration
	misnamed int // errors of another kind than ErrNoSpace
	untold   int // of them, those of a VFS on a file system that has room
}

const (
	// smallSize has room for a log that is as long as it gets.
	smallSize = 64 << 20
	// again is how soon everything must go on when there is room: a worker
	// looks again after five seconds at most, half as much more by chance.
	again = 10 * time.Second
	// complaints is how many lines a worker may log while there is no room:
	// one for each thing that it does, in ten seconds.
	complaints = 8
)

func full(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	f := &filling{enduring: enduring{rig: r, kinds: map[string]int{}, kmax: map[string]int{}}}
	if f.server, err = r.server(ctx); err != nil {
		return r.result, err
	}
	if err := f.sweeps(ctx); err != nil {
		return r.result, err
	}
	ways := []string{"limit", "tmpfs"}
	for i := 0; i < r.Rounds && r.more(ctx); i++ {
		for w, way := range ways {
			err := f.round(ctx, way)
			if skip := (*Skip)(nil); errors.As(err, &skip) {
				r.progress("not by %s: %v", way, skip)
				r.result.leaveOut("a disk that is full, by "+way, skip)
				ways = append(ways[:w:w], ways[w+1:]...)
				break
			}
			if err != nil {
				return r.result, fmt.Errorf("%s: %w", way, err)
			}
		}
		if i%10 == 9 {
			r.progress("%d of %d rounds", i+1, r.Rounds)
		}
	}
	f.report(len(ways))
	return r.result, ctx.Err()
}

// sweeps has there be no room at the k-th write of a store, and none at the
// k-th alone.
func (f *filling) sweeps(ctx context.Context) error {
	places := []string{child.DiskDriver}
	if f.Driver == "ncruces" {
		places = append(places, child.DiskVFS)
	}
	for _, place := range places {
		for _, forever := range []bool{false, true} {
			stride := 1
			if f.Short {
				stride = 7
			}
			for k := 1 + f.random.IntN(stride); k < kmost && f.more(ctx); k += stride {
				other := f.kinds["nospace"]
				total := sumOf(f.kinds)
				struck, err := f.one(ctx, f.server, place, child.DiskFault{K: k, Forever: forever, Full: true})
				if err != nil {
					return err
				}
				if struck == 0 {
					break
				}
				// What the VFS said is forgotten until the statement ends,
				// and the file system is not full in truth.
				if n := sumOf(f.kinds) - total - (f.kinds["nospace"] - other); place == child.DiskVFS {
					f.untold += n
				} else if n > 0 {
					f.misnamed += n
					f.result.faultf("%s, no room at write %d, from then on %v: %d errors are not ErrNoSpace: %v", place, k, forever, n, f.kinds)
				}
			}
		}
	}
	return ctx.Err()
}

func sumOf(kinds map[string]int) (n int) {
	for _, k := range kinds {
		n += k
	}
	return n
}

// round has room run out under a pusher and a worker, and come back.
func (f *filling) round(ctx context.Context, way string) error {
	r, err := f.within(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	small := filepath.Join(r.dir, "small")
	if way == "tmpfs" {
		if err := mountSmall(small, smallSize); err != nil {
			return err
		}
		defer func() {
			_ = each(r.all, (*process).kill) // no process may have it open
			_ = unmount(small)
		}()
		r.path = filepath.Join(small, "jobs.db")
	}
	worker, err := r.spawn(child.Order{Role: child.Work, Concurrency: 4, Grace: time.Second, Log: true})
	if err != nil {
		return err
	}
	if err := worker.begun(ctx); err != nil {
		return err
	}
	pusher, err := r.spawn(child.Order{Role: child.Push, First: 1, Pause: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	if err := pusher.begun(ctx); err != nil {
		return err
	}
	both := []*process{worker, pusher}
	if err := pause(ctx, r.between(50*time.Millisecond, 200*time.Millisecond)); err != nil {
		return err
	}
	restore := func() error { return limit(ctx, both, 0) }
	if way == "tmpfs" {
		ballast := filepath.Join(small, "ballast")
		restore = func() error { return os.Remove(ballast) }
		err = fill(ballast)
	} else {
		var info os.FileInfo
		if info, err = os.Stat(r.path + "-wal"); err == nil {
			// A multiple of no page, so that a write is cut.
			err = limit(ctx, both, int(info.Size())+1000)
		}
	}
	if err != nil {
		return err
	}
	out := time.Now()
	err = r.until(ctx, "a push finds no room", func() (bool, error) {
		text, err := os.ReadFile(pusher.ledger)
		return bytes.HasPrefix(text, []byte{child.NoteError}) || bytes.Contains(text, []byte{'\n', child.NoteError}), err
	})
	if err != nil {
		return err
	}
	if err := pause(ctx, r.between(300*time.Millisecond, 1500*time.Millisecond)); err != nil {
		return err
	}
	f.rounds++
	for _, p := range both {
		if p.over() {
			f.exited++
			f.result.faultf("%s: %v", way, p.failure())
			return nil
		}
	}
	if err := restore(); err != nil {
		return err
	}
	if err := f.goesOn(ctx, r, way, both); err != nil {
		return err
	}
	return f.finish(ctx, r, way, out, both)
}

// limit bounds the size of files of processes.
func limit(ctx context.Context, processes []*process, n int) error {
	return each(processes, func(p *process) error {
		_, err := p.ask(ctx, child.Command{Op: child.OpLimit, N: n})
		return err
	})
}

// fill writes a file until there is no room for another byte.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			return err
		}
	}
	return nil
}

// goesOn waits until pushes are acknowledged and jobs done again.
func (f *filling) goesOn(ctx context.Context, r *rig, way string, both []*process) error {
	began, had := time.Now(), r.acks.count()
	pushed := false
	done := int64(-1)
	server, err := r.server(ctx)
	if err != nil {
		return err
	}
	for {
		if !pushed && r.acks.count() > had {
			pushed = true
			f.pushes = max(f.pushes, time.Since(began))
		}
		reply, err := server.ask(ctx, child.Command{Op: child.OpCount})
		if err != nil {
			return err
		}
		n := reply.Counts["done"]
		if done < 0 {
			done = n
		}
		if pushed && n > done {
			f.works = max(f.works, time.Since(began))
			return server.stop(ctx)
		}
		if time.Since(began) > again {
			f.late++
			f.result.faultf("%s: %v after there was room, pushes are acknowledged: %v, and %d jobs were done", way, again, pushed, n-done)
			return server.stop(ctx)
		}
		for _, p := range both {
			if p.over() {
				return p.failure()
			}
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// finish ends a round in good order and judges it.
func (f *filling) finish(ctx context.Context, r *rig, way string, out time.Time, both []*process) error {
	worker, pusher := both[0], both[1]
	if err := pusher.stop(ctx); err != nil {
		return err
	}
	server, err := r.server(ctx)
	if err != nil {
		return err
	}
	if _, _, err := r.drain(ctx, server, 20*time.Second); err != nil {
		return err
	}
	if err := worker.stop(ctx); err != nil {
		return err
	}
	end, err := r.finish(ctx, server, nil)
	if err != nil {
		return err
	}
	f.acked += len(r.acks.ids)
	f.sum.add(end.verdict)
	for _, t := range end.troubles {
		f.kinds[t.kind]++
		if t.kind != "nospace" {
			f.misnamed++
			f.result.faultf("%s: child %d (%s) saw: %s", way, t.p.number, t.p.driver, t.text)
		}
	}
	if len(end.logged) > complaints*(1+int(time.Since(out)/(10*time.Second))) {
		f.loud++
		f.result.faultf("%s: the worker logged %d lines, the last %q", way, len(end.logged), end.logged[len(end.logged)-1].text)
	}
	f.take(r, way)
	return nil
}

func (f *filling) report(ways int) {
	f.result.add("sweep_runs", f.runs)
	f.result.add("rounds", f.rounds)
	f.result.add("ways", ways)
	f.result.add("acknowledged", f.acked)
	f.said()
	f.sum.report(&f.result)
	f.result.must("acknowledged_lost", f.lost)
	f.result.must("corrupt", f.corrupt)
	f.result.must("hangs", f.hangs)
	f.result.must("broken_afterwards", f.broken)
	f.result.must("errors_without_kind", f.unkind)
	f.result.must("not_no_space", f.misnamed)
	f.result.must("exited", f.exited)
	f.result.must("loud", f.loud)
	f.result.must("late", f.late)
	if f.untold > 0 {
		f.result.add("untold_by_vfs", f.untold)
	}
	f.result.add("push_again", f.pushes)
	f.result.add("work_again", f.works)
	f.sec()
}
