package torture

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var soakTest = &Test{
	ID:     "soak",
	About:  "a worker handles 200 jobs and 100 ticks a second for about an hour while others are killed; its memory, goroutines, handles and log must not grow",
	Unit:   "minutes",
	Counts: []string{"minutes", "kills", "jobs"},
	Short:  1, Full: 80,
	Mixed: true,
	Linux: true,
	run:   soak,
}

const (
	soakKeep     = time.Minute // so that as many jobs are deleted as are done
	soakLease    = 5 * time.Second
	soakInterval = 100 * time.Millisecond
	soakJobs     = 20 // in each interval
	// soakWarmUp is the part of the time that is not judged, a quarter: caches
	// fill, and the heap's pages are touched for the first time.
	soakWarmUp = 4
	// The most that the worker may grow by in an hour, and that the log may
	// reach.
	soakGrowth = 1 << 20
	soakLog    = 64 << 20
	// soakSpare is how many more goroutines and handles there may be at the
	// end: a pool may open one more connection, with the two files of a
	// database, when there is more to do at once.
	soakSpare = 4
)

// A soaking is one run of the test. The first worker is watched and has all
// schedules; the others are killed.
type soaking struct {
	*rig
	killing *killing // what it shares with kill
	began   time.Time
	samples []vitals
	wal     int64 // the largest
}

// vitals are the resources of a process at a time.
type vitals struct {
	at         time.Duration
	resident   int64 // bytes
	goroutines int
	handles    int
}

func soak(r *rig) {
	s := &soaking{rig: r, killing: &killing{rig: r, workers: make([]*process, killProcesses)}}
	s.all()
}

func (s *soaking) all() {
	k := s.killing
	k.server = s.server()
	for i := range k.workers {
		s.respawn(i)
	}
	s.load()
	k.server.ask(child.Command{Op: child.OpSchedules, Mode: "stop"})
	took := s.drain(k.server, patience)
	each(k.workers, (*process).stop)
	s.judgement(took)
}

func (s *soaking) respawn(i int) {
	p := s.spawn(child.Order{
		Role: child.Work, Concurrency: killConcurrency, Lease: soakLease, Grace: time.Second, Keep: soakKeep, Ticks: i == 0,
	})
	s.killing.workers[i] = p
	p.begun()
}

// load pushes, kills and samples until the time is over.
func (s *soaking) load() {
	k := s.killing
	lasts := time.Duration(s.Rounds) * time.Minute
	if s.Short {
		lasts /= 12
	}
	s.began = time.Now()
	next := struct{ push, look, kill, tell time.Duration }{kill: time.Second, tell: time.Minute}
	for s.more() {
		now := time.Since(s.began)
		if now > lasts {
			break
		}
		if now >= next.push {
			next.push += soakInterval
			k.pushSome(soakJobs)
		}
		if now >= next.look {
			next.look += time.Second
			s.look()
		}
		if now >= next.kill {
			next.kill += s.between(time.Second, 9*time.Second)
			s.strike()
		}
		if now >= next.tell {
			next.tell += time.Minute
			s.progress("%d kills; %d jobs; %+v", k.kills, k.next, s.samples[len(s.samples)-1])
		}
		s.pause(10 * time.Millisecond)
	}
	check(s.ctx.Err())
}

// strike kills one of the workers that are not watched.
func (s *soaking) strike() {
	i := 1 + s.random.IntN(len(s.killing.workers)-1)
	s.killing.kill(s.killing.workers[i])
	s.respawn(i)
}

// look takes a sample, and counts the jobs, as a console does.
func (s *soaking) look() {
	p := s.killing.workers[0]
	reply := p.ask(child.Command{Op: child.OpVitals})
	v := vitals{at: time.Since(s.began), goroutines: reply.Goroutines}
	var err error
	v.resident, v.handles, err = resources(p.cmd.Process.Pid)
	check(err)
	s.samples = append(s.samples, v)
	if info, err := os.Stat(s.path + "-wal"); err == nil {
		s.wal = max(s.wal, info.Size())
	}
	s.counts(s.killing.server)
}

func (s *soaking) judgement(took time.Duration) {
	f := s.finish(s.killing.server, byDone)
	r := &s.result
	r.add("minutes", int(s.samples[len(s.samples)-1].at.Minutes()))
	r.add("kills", s.killing.kills)
	r.add("jobs", len(s.acks.ids))
	r.add("ticks", len(f.ticked))
	f.report(r)
	f.repeatAtMost(r, f.mayRepeat(killConcurrency))
	r.add("failed_as_suspects", f.crashed)
	r.must("failed_otherwise", f.failed)
	s.judgeVitals()
	r.add("wal_max", mebibytes(s.wal))
	if s.wal > soakLog {
		r.faultf("the log was %s, want at most %s", mebibytes(s.wal), mebibytes(soakLog))
	}
	if info, err := os.Stat(s.path); err == nil {
		r.add("file", mebibytes(info.Size()))
	}
	s.integrity(f.ending)
	r.add("drain", took)
}

// judgeVitals judges how much the worker grew after its warm-up. Garbage
// collection makes its memory go up and down, so a line through all samples
// says more than the last one.
func (s *soaking) judgeVitals() {
	r, steady := &s.result, s.samples[len(s.samples)/soakWarmUp:]
	part := max(1, len(steady)/10)
	first, last := steady[:part], steady[len(steady)-part:]
	resident := func(v vitals) int64 { return v.resident }
	r.add("resident_first", mebibytes(median(first, resident)))
	r.add("resident_last", mebibytes(median(last, resident)))
	if growth := int64(slope(steady) * float64(time.Hour)); !s.Short {
		r.add("growth_per_hour", mebibytes(growth))
		if growth > soakGrowth {
			r.faultf("the worker grows by %s an hour, want at most %s", mebibytes(growth), mebibytes(soakGrowth))
		}
	}
	for _, count := range []struct {
		name string
		of   func(vitals) int64
	}{
		{"goroutines", func(v vitals) int64 { return int64(v.goroutines) }},
		{"handles", func(v vitals) int64 { return int64(v.handles) }},
	} {
		r.add(count.name+"_first", fmt.Sprintf("%d/%d", median(first, count.of), most(first, count.of)))
		r.add(count.name+"_last", fmt.Sprintf("%d/%d", median(last, count.of), most(last, count.of)))
		if !s.Short && median(last, count.of) > most(first, count.of)+soakSpare {
			r.faultf("the number of %s grows", count.name)
		}
	}
}

// slope returns the slope of the line that fits resident memory best, in bytes
// per nanosecond.
func slope(samples []vitals) float64 {
	var n, t, m, tt, tm float64
	for _, v := range samples {
		x, y := float64(v.at), float64(v.resident)
		n, t, m, tt, tm = n+1, t+x, m+y, tt+x*x, tm+x*y
	}
	if spread := n*tt - t*t; spread > 0 {
		return (n*tm - t*m) / spread
	}
	return 0
}

func median(samples []vitals, of func(vitals) int64) int64 {
	all := each64(samples, of)
	slices.Sort(all)
	return all[len(all)/2]
}

func most(samples []vitals, of func(vitals) int64) int64 { return slices.Max(each64(samples, of)) }

func each64(samples []vitals, of func(vitals) int64) (all []int64) {
	for _, v := range samples {
		all = append(all, of(v))
	}
	return all
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20)) }
