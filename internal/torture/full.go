package torture

import (
	"bytes"
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
	diskTest

	rounds     int
	sum        verdict
	noisy      int // rounds with more log lines than maxLogLines allows
	exited     int
	late       int // rounds that did not recover in time
	pushes     time.Duration
	works      time.Duration
	wrongKind  int // errors that are not ErrNoSpace
	unreported int // of these, errors of a VFS whose file system has room
}

const (
	// smallSize has room for the longest log that the store keeps.
	smallSize = 64 << 20
	// recoverTime is how soon pushes and work must go on once there is room: a
	// worker retries after at most 7.5 s, jitter included.
	recoverTime = 10 * time.Second
	// maxLogLines is how many lines a worker may log in ten seconds without
	// room: one for each operation.
	maxLogLines = 8
)

func full(r *rig) {
	f := &filling{diskTest: diskTest{rig: r, kinds: map[string]int{}, kmax: map[string]int{}}}
	f.server = r.server()
	f.sweeps()
	ways := []string{"limit", "tmpfs"}
	for i := 0; i < r.Rounds && r.more(); i++ {
		for w, way := range ways {
			err := try(func() { f.sub(way, func(sub *rig) { f.round(sub, way) }) })
			if skip := (*Skip)(nil); errors.As(err, &skip) {
				r.progress("not by %s: %v", way, skip)
				r.result.leaveOut("a disk that is full, by "+way, skip)
				ways = append(ways[:w:w], ways[w+1:]...)
				break
			}
			if err != nil {
				check(fmt.Errorf("%s: %w", way, err))
			}
		}
		r.tell("%d of %d rounds", i+1, r.Rounds)
	}
	f.report(len(ways))
}

// sweeps fails the k-th write of a store for lack of room: that write alone,
// and every write from then on.
func (f *filling) sweeps() {
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
			for k := 1 + f.random.IntN(stride); k < maxCalls && f.more(); k += stride {
				other := f.kinds["nospace"]
				total := sumOf(f.kinds)
				struck := f.one(place, child.DiskFault{K: k, Forever: forever, Full: true})
				if struck == 0 {
					break
				}
				// SQLite forgets the VFS's error by the end of the statement,
				// and the file system itself has room.
				if n := sumOf(f.kinds) - total - (f.kinds["nospace"] - other); place == child.DiskVFS {
					f.unreported += n
				} else if n > 0 {
					f.wrongKind += n
					f.result.faultf("%s, no room at write %d, from then on %v: %d errors are not ErrNoSpace: %v", place, k, forever, n, f.kinds)
				}
			}
		}
	}
	check(f.ctx.Err())
}

func sumOf(kinds map[string]int) (n int) {
	for _, k := range kinds {
		n += k
	}
	return n
}

// round takes all room from a pusher and a worker, and gives it back.
func (f *filling) round(r *rig, way string) {
	small := filepath.Join(r.dir, "small")
	if way == "tmpfs" {
		check(mountSmall(small, smallSize))
		defer func() {
			each(r.all, (*process).kill) // no process may have it open
			_ = unmount(small)
		}()
		r.path = filepath.Join(small, "jobs.db")
	}
	worker := r.spawn(child.Order{Role: child.Work, Concurrency: 4, Grace: time.Second, Log: true})
	worker.begun()
	pusher := r.spawn(child.Order{Role: child.Push, First: 1, Pause: 20 * time.Millisecond})
	pusher.begun()
	both := []*process{worker, pusher}
	r.pause(r.between(50*time.Millisecond, 200*time.Millisecond))
	restore := func() { limit(both, 0) }
	if way == "tmpfs" {
		ballast := filepath.Join(small, "ballast")
		restore = func() { check(os.Remove(ballast)) }
		fill(ballast)
	} else {
		// Not a multiple of the page size, so that a write is cut.
		limit(both, int(must(os.Stat(r.path+"-wal")).Size())+1000)
	}
	out := time.Now()
	r.until("a push finds no room", func() bool {
		text := must(os.ReadFile(pusher.ledger))
		return bytes.HasPrefix(text, []byte{child.NoteError}) || bytes.Contains(text, []byte{'\n', child.NoteError})
	})
	r.pause(r.between(300*time.Millisecond, 1500*time.Millisecond))
	f.rounds++
	for _, p := range both {
		if p.over() {
			f.exited++
			f.result.faultf("%s: %v", way, p.failure())
			return
		}
	}
	restore()
	f.goesOn(r, way, both)
	f.finish(r, way, out, both)
}

// limit bounds the size of files that the processes write. Zero is no bound.
func limit(processes []*process, n int) {
	each(processes, func(p *process) { p.ask(child.Command{Op: child.OpLimit, N: n}) })
}

// fill writes a file until the file system has no room for another byte.
func fill(path string) {
	f := must(os.Create(path))
	defer f.Close()
	for size := 64 << 10; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			check(err)
		}
	}
}

// goesOn waits until pushes are acknowledged and jobs are done again.
func (f *filling) goesOn(r *rig, way string, both []*process) {
	began, had := time.Now(), r.acks.count()
	pushed := false
	done := int64(-1)
	server := r.server()
	defer server.stop()
	for {
		if !pushed && r.acks.count() > had {
			pushed = true
			f.pushes = max(f.pushes, time.Since(began))
		}
		n := r.counts(server)["done"]
		if done < 0 {
			done = n
		}
		if pushed && n > done {
			f.works = max(f.works, time.Since(began))
			return
		}
		if time.Since(began) > recoverTime {
			f.late++
			f.result.faultf("%s: %v after there was room, pushes are acknowledged: %v, and %d jobs were done", way, recoverTime, pushed, n-done)
			return
		}
		for _, p := range both {
			if p.over() {
				check(p.failure())
			}
		}
		r.pause(10 * time.Millisecond)
	}
}

// finish stops the processes of a round and judges it.
func (f *filling) finish(r *rig, way string, out time.Time, both []*process) {
	worker, pusher := both[0], both[1]
	pusher.stop()
	server := r.server()
	r.drain(server, 20*time.Second)
	worker.stop()
	end := r.finish(server, nil)
	f.acked += len(r.acks.ids)
	f.sum.add(end.verdict)
	for _, t := range end.callErrors {
		f.kinds[t.kind]++
		if t.kind != "nospace" {
			f.wrongKind++
			f.result.faultf("%s: child %d (%s): %s", way, t.p.number, t.p.driver, t.text)
		}
	}
	if len(end.logged) > maxLogLines*(1+int(time.Since(out)/(10*time.Second))) {
		f.noisy++
		f.result.faultf("%s: the worker logged %d lines, the last %q", way, len(end.logged), end.logged[len(end.logged)-1].text)
	}
}

func (f *filling) report(ways int) {
	f.result.add("sweep_runs", f.runs)
	f.result.add("rounds", f.rounds)
	f.result.add("ways", ways)
	f.result.add("acknowledged", f.acked)
	f.reportKinds()
	f.sum.report(&f.result)
	f.result.must("acknowledged_lost", f.lost)
	f.result.must("corrupt", f.corrupt)
	f.result.must("hangs", f.hangs)
	f.result.must("broken_afterwards", f.broken)
	f.result.must("errors_without_kind", f.otherKind)
	f.result.must("not_no_space", f.wrongKind)
	f.result.must("exited", f.exited)
	f.result.must("loud", f.noisy)
	f.result.must("late", f.late)
	if f.unreported > 0 {
		f.result.add("untold_by_vfs", f.unreported)
	}
	f.result.add("push_again", f.pushes)
	f.result.add("work_again", f.works)
}
