package torture

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// A rig is what a test works with: a database, its children, and the ledger.
//
// As with testing.T, what keeps a test from being judged ends it where it
// happens: methods of rigs and processes that fail do so by check, and
// [Test.Run] returns the error.
type rig struct {
	Config
	ctx      context.Context
	result   Result
	random   *rand.Rand
	dir      string
	path     string // of the database
	programs map[string]string
	drivers  []string
	acks     *acks
	all      []*process // every process that was started
	end      time.Time  // of Minutes
	began    time.Time
	told     time.Time // of the last line of progress
	offset   string    // file with the offset of the children's clocks; empty is none
}

// An abort is what check panics with.
type abort struct{ error }

// check ends the test if err is not nil.
func check(err error) {
	if err != nil {
		panic(abort{err})
	}
}

// must returns v, or ends the test.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// try calls f and returns the error with which check ended it.
func try(f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a, ok := p.(abort)
			if !ok {
				panic(p)
			}
			err = a.error
		}
	}()
	f()
	return nil
}

func newRig(ctx context.Context, c Config) (*rig, error) {
	programs, missing, err := c.Programs.available(ctx, c.Driver)
	if err != nil {
		return nil, err
	}
	r := &rig{Config: c, ctx: ctx, programs: programs, began: time.Now(), told: time.Now()}
	r.drivers = slices.Sorted(maps.Keys(programs))
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		r.result.leaveOut("mixed with "+name, missing[name])
	}
	r.random = rand.New(rand.NewPCG(c.Seed, 0x706a)) //nolint:gosec // it is to be repeatable
	if r.dir, err = os.MkdirTemp(c.Dir, "torture-"); err != nil {
		return nil, err
	}
	r.path = filepath.Join(r.dir, "jobs.db")
	if r.acks, err = newAcks(filepath.Join(r.dir, "acknowledged")); err != nil {
		return nil, err
	}
	if c.Minutes > 0 {
		r.end = time.Now().Add(time.Duration(c.Minutes * float64(time.Minute)))
	}
	return r, nil
}

// close kills the processes that still run. It keeps the files if the test found
// something.
func (r *rig) close() {
	for _, p := range r.all {
		if !p.over() {
			_ = p.tryKill()
		}
	}
	if len(r.result.Faults) > 0 {
		fmt.Fprintf(r.Out, "torture: the files of this run are kept in %s\n", r.dir)
		return
	}
	os.RemoveAll(r.dir)
}

// sub calls f with a rig that has a database of its own, and adds the faults
// that it finds. It returns how many those are.
func (r *rig) sub(what string, f func(*rig)) int {
	sub := must(newRig(r.ctx, Config{
		Driver: r.Driver, Short: r.Short, Rounds: r.Rounds, Seed: r.random.Uint64(), Dir: r.dir, Out: r.Out, Programs: r.Programs,
	}))
	defer sub.close()
	f(sub)
	for _, f := range sub.result.Faults {
		r.result.faultf("%s: %s", what, f)
	}
	return len(sub.result.Faults)
}

// more reports whether there is time for another round.
func (r *rig) more() bool {
	return r.ctx.Err() == nil && (r.end.IsZero() || time.Now().Before(r.end))
}

// pick returns a random driver.
func (r *rig) pick() string { return r.drivers[r.random.IntN(len(r.drivers))] }

// spawn starts a child on the rig's database, on a random one of its drivers.
func (r *rig) spawn(o child.Order) *process { return r.spawnOn(r.pick(), o, nil) }

// spawnOn starts a child on a driver. Replies for which hear returns true do not
// go to the process's replies.
func (r *rig) spawnOn(driver string, o child.Order, hear func(*process, child.Reply) bool) *process {
	p := &process{ctx: r.ctx, number: len(r.all), driver: driver, role: o.Role}
	o.Path, o.Offset = r.path, r.offset
	if o.Role != child.Serve {
		p.ledger = filepath.Join(r.dir, fmt.Sprintf("%06d.ledger", p.number))
		o.Ledger = p.ledger
	}
	o.Seed = r.random.Uint64()
	p.kills = o.Point != ""
	check(spawn(r.programs[driver], p, o, func(reply child.Reply) bool {
		return hear != nil && hear(p, reply) || r.acks.add(reply)
	}))
	r.all = append(r.all, p)
	return p
}

// server starts a child that obeys commands.
func (r *rig) server() *process {
	p := r.spawn(child.Order{Role: child.Serve})
	p.begun()
	return p
}

// runAlone starts a child that ends by itself, and passes on its replies.
func (r *rig) runAlone(o child.Order, hear func(child.Reply)) {
	o.Until = r.end
	p := r.spawn(o)
	p.begun()
	for {
		select {
		case reply, ok := <-p.replies:
			if !ok {
				check(p.wait())
				return
			}
			hear(reply)
		case <-r.ctx.Done():
			check(r.ctx.Err())
		}
	}
}

// push has tasks pushed; their acknowledgement goes to the ledger.
func (r *rig) push(server *process, tasks []child.Task) {
	want := r.acks.count() + len(tasks)
	server.send(child.Command{Op: child.OpPush, Tasks: tasks})
	r.until("a push is acknowledged", func() bool {
		select {
		case reply, ok := <-server.replies:
			if !ok {
				check(server.failure())
			}
			check(fmt.Errorf("push: %s", reply.Error))
		default:
		}
		return r.acks.count() >= want
	})
}

// until polls a condition until it holds.
func (r *rig) until(what string, holds func() bool) {
	for deadline := time.Now().Add(patience); !holds(); r.pause(time.Millisecond) {
		if time.Now().After(deadline) {
			check(fmt.Errorf("waited %v in vain until %s", patience, what))
		}
	}
}

// pause is a part of a test's schedule, or of polling.
func (r *rig) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done():
		check(r.ctx.Err())
	}
}

// between returns a random duration.
func (r *rig) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.random.Int64N(int64(most-least)+1))
}

// progress prints how far the test is.
func (r *rig) progress(format string, args ...any) {
	r.told = time.Now()
	fmt.Fprintf(r.Out, "torture: %4.0fs %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// tell is progress, at most once in ten seconds.
func (r *rig) tell(format string, args ...any) {
	if time.Since(r.told) > 10*time.Second {
		r.progress(format, args...)
	}
}

// counts returns the number of jobs by state.
func (r *rig) counts(server *process) map[string]int64 {
	return server.ask(child.Command{Op: child.OpCount}).Counts
}

// drain waits until every job has ended, or the counts have not changed for as
// long as quiet, and returns how long that took.
func (r *rig) drain(server *process, quiet time.Duration) time.Duration {
	began := time.Now()
	for last, changed := "", began; time.Since(changed) <= quiet; r.pause(20 * time.Millisecond) {
		counts := r.counts(server)
		if unfinished(counts) == 0 {
			break
		}
		if text := fmt.Sprint(counts); text != last {
			last, changed = text, time.Now()
		}
		r.tell("waiting for the rest: %s", last)
	}
	return time.Since(began)
}

func unfinished(counts map[string]int64) int64 {
	return counts["scheduled"] + counts["pending"] + counts["running"]
}

// ending is what the database holds at the end of a test.
type ending struct {
	jobs map[int64]child.Job
	ok   bool // SQLite finds nothing wrong, and the counts are right
}

// inspect reads and checks the whole database through a server.
func (r *rig) inspect(server *process) ending {
	list := server.ask(child.Command{Op: child.OpList}).Jobs
	counts := r.counts(server)
	found := server.ask(child.Command{Op: child.OpCheck}).Check
	e := ending{jobs: map[int64]child.Job{}, ok: true}
	wrong := func(format string, args ...any) {
		e.ok = false
		r.result.faultf(format, args...)
	}
	if found != "ok" {
		wrong("integrity_check: %s", found)
	}
	tally := map[string]int64{}
	for _, j := range list {
		if _, twice := e.jobs[j.ID]; twice {
			wrong("job %d is listed twice", j.ID)
		}
		e.jobs[j.ID] = j
		tally[j.State]++
	}
	for _, counted := range []map[string]int64{tally, counts} {
		for state := range counted {
			if tally[state] != counts[state] {
				wrong("%d jobs are %s, and counted %d", tally[state], state, counts[state])
			}
		}
	}
	return e
}

// integrity adds what SQLite found.
func (r *rig) integrity(e ending) {
	if e.ok {
		r.result.add("integrity", "ok")
	} else {
		r.result.add("integrity", "broken")
	}
}

// judgeFile opens a database that processes left, through a server, and uses and
// checks it. It counts what is wrong, with a fault that begins with what, and
// returns the acknowledged jobs that are not there, and the groups.
func (r *rig) judgeFile(server *process, path, what string, acked map[int64]int64, unopened, corrupt *int) (lost []int64, groups []child.Group) {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return slices.Collect(maps.Keys(acked)), nil
	}
	reply, err := server.tryAsk(child.Command{Op: child.OpInspect, Path: path})
	switch {
	case err != nil && (server.over() || r.ctx.Err() != nil):
		check(err)
	case err != nil:
		*unopened++
		r.result.faultf("%s: %v", what, err)
		return nil, nil
	case reply.Check != "ok":
		*corrupt++
		r.result.faultf("%s: %s", what, reply.Check)
	}
	return missing(acked, slices.Values(reply.Jobs)), reply.Groups
}

// missing returns the acknowledged jobs that are not among jobs, or have other
// tasks there.
func missing(acked map[int64]int64, jobs iter.Seq[child.Job]) (ids []int64) {
	there := map[int64]int64{}
	for j := range jobs {
		there[j.ID] = j.N
	}
	for id, number := range acked {
		if n, ok := there[id]; !ok || n != number {
			ids = append(ids, id)
		}
	}
	return ids
}

// removeDatabase removes a database, of which some files may not exist.
func removeDatabase(path string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(path + suffix)
	}
}

// A finish is what a test ends with.
type finish struct {
	ending
	*history
	verdict
}

// finish reads the database and the ledgers when all workers have stopped.
func (r *rig) finish(server *process, pruned pruned) (f finish) {
	f.ending = r.inspect(server)
	check(r.acks.close())
	f.history = r.history()
	f.verdict = r.judge(f.history, f.ending, pruned)
	// By now the jobs have ended otherwise, or wait.
	leases := f.lostLeases()
	accepted := server.ask(child.Command{Op: child.OpSettleStale, Leases: leases}).N
	f.verdict.staleTried += len(leases)
	f.stale += int(accepted)
	if accepted > 0 {
		r.result.faultf("%d of %d leases that were lost were accepted at the end", accepted, len(leases))
	}
	server.stop()
	return f
}

// each calls f for every process.
func each(processes []*process, f func(*process)) {
	for _, p := range processes {
		f(p)
	}
}
