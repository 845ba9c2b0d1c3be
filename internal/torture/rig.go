package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// A rig is what a test works with: a database, its children, and the ledger.
type rig struct {
	Config
	result   Result
	random   *rand.Rand
	dir      string
	path     string // of the database
	programs map[string]string
	drivers  []string
	acks     *acks
	all      []*process // that were ever started
	end      time.Time  // of Minutes
	began    time.Time
	offset   string // file with what is added to the children's clocks; empty is none
}

func newRig(ctx context.Context, c Config) (*rig, error) {
	programs, missing, err := c.Programs.available(ctx, c.Driver)
	if err != nil {
		return nil, err
	}
	r := &rig{Config: c, programs: programs, began: time.Now()}
	for name := range programs {
		r.drivers = append(r.drivers, name)
	}
	slices.Sort(r.drivers)
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

// close ends what still runs. It keeps the files if something was found.
func (r *rig) close() {
	for _, p := range r.all {
		if !p.over() {
			_ = p.kill()
		}
	}
	if len(r.result.Faults) > 0 {
		fmt.Fprintf(r.Out, "torture: the files of this run are kept in %s\n", r.dir)
		return
	}
	os.RemoveAll(r.dir)
}

// more reports whether there is time for another round.
func (r *rig) more(ctx context.Context) bool {
	return ctx.Err() == nil && (r.end.IsZero() || time.Now().Before(r.end))
}

// pick returns a random driver.
func (r *rig) pick() string { return r.drivers[r.random.IntN(len(r.drivers))] }

// spawn starts a child on the rig's database, on a random one of its drivers.
func (r *rig) spawn(o child.Order) (*process, error) { return r.spawnOn(r.pick(), o, nil) }

// spawnOn starts a child on a driver. What hear takes is not for replies.
func (r *rig) spawnOn(driver string, o child.Order, hear func(*process, child.Reply) bool) (*process, error) {
	p := &process{number: len(r.all), driver: driver, role: o.Role}
	o.Path, o.Offset = r.path, r.offset
	if o.Role != child.Serve {
		p.ledger = filepath.Join(r.dir, fmt.Sprintf("%06d.ledger", p.number))
		o.Ledger = p.ledger
	}
	o.Seed = r.random.Uint64()
	p.kills = o.Point != ""
	err := spawn(r.programs[driver], p, o, func(reply child.Reply) bool {
		return hear != nil && hear(p, reply) || r.acks.hear(reply)
	})
	if err != nil {
		return nil, err
	}
	r.all = append(r.all, p)
	return p, nil
}

// server starts a child that does what it is asked.
func (r *rig) server(ctx context.Context) (*process, error) {
	p, err := r.spawn(child.Order{Role: child.Serve})
	if err != nil {
		return nil, err
	}
	return p, p.begun(ctx)
}

// push has tasks pushed; their acknowledgement goes to the ledger.
func (r *rig) push(ctx context.Context, server *process, tasks []child.Task) error {
	want := r.acks.count() + len(tasks)
	if err := server.orders.Encode(child.Command{Op: child.OpPush, Tasks: tasks}); err != nil {
		return errors.Join(err, server.why())
	}
	return r.until(ctx, "a push is acknowledged", func() (bool, error) {
		select {
		case reply, ok := <-server.replies:
			if !ok {
				return false, server.failure()
			}
			return false, fmt.Errorf("push: %s", reply.Error)
		default:
		}
		return r.acks.count() >= want, nil
	})
}

// until polls a condition until it holds.
func (r *rig) until(ctx context.Context, what string, holds func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain until %s", patience, what)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// pause is a part of a test's schedule, or of polling.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// between returns a random duration.
func (r *rig) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.random.Int64N(int64(most-least)+1))
}

// progress says how far the test is, now and then.
func (r *rig) progress(format string, args ...any) {
	fmt.Fprintf(r.Out, "torture: %4.0fs %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// drain waits until every job has ended, and returns how many have not when
// nothing happens any more, and how long it took.
func (r *rig) drain(ctx context.Context, server *process, quiet time.Duration) (left int64, took time.Duration, err error) {
	began := time.Now()
	last, changed, told := "", time.Now(), time.Now()
	for {
		reply, err := server.ask(ctx, child.Command{Op: child.OpCount})
		if err != nil {
			return 0, 0, err
		}
		left = unfinished(reply.Counts)
		if left == 0 {
			return 0, time.Since(began), nil
		}
		if text := fmt.Sprint(reply.Counts); text != last {
			last, changed = text, time.Now()
		}
		if time.Since(changed) > quiet {
			return left, time.Since(began), nil
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			r.progress("waiting for the rest: %s", last)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
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
func (r *rig) inspect(ctx context.Context, server *process) (e ending, err error) {
	list, err := server.ask(ctx, child.Command{Op: child.OpList})
	if err != nil {
		return e, err
	}
	counts, err := server.ask(ctx, child.Command{Op: child.OpCount})
	if err != nil {
		return e, err
	}
	check, err := server.ask(ctx, child.Command{Op: child.OpCheck})
	if err != nil {
		return e, err
	}
	e.jobs, e.ok = map[int64]child.Job{}, true
	if check.Check != "ok" {
		e.ok = false
		r.result.faultf("integrity_check: %s", check.Check)
	}
	tally := map[string]int64{}
	for _, j := range list.Jobs {
		if _, twice := e.jobs[j.ID]; twice {
			e.ok = false
			r.result.faultf("job %d is listed twice", j.ID)
		}
		e.jobs[j.ID] = j
		tally[j.State]++
	}
	for _, counted := range []map[string]int64{tally, counts.Counts} {
		for state := range counted {
			if tally[state] != counts.Counts[state] {
				e.ok = false
				r.result.faultf("%d jobs are %s, and counted %d", tally[state], state, counts.Counts[state])
			}
		}
	}
	return e, nil
}

// A finish is what a test ends with.
type finish struct {
	ending
	*history
	verdict
}

// finish reads the database and the ledgers when all workers have stopped.
func (r *rig) finish(ctx context.Context, server *process, pruned pruned) (f finish, err error) {
	if f.ending, err = r.inspect(ctx, server); err != nil {
		return f, err
	}
	if err = r.acks.close(); err != nil {
		return f, err
	}
	if f.history, err = r.history(); err != nil {
		return f, err
	}
	f.verdict = r.judge(f.history, f.ending, pruned)
	// By now the jobs have ended otherwise, or wait.
	leases := f.lostLeases()
	reply, err := server.ask(ctx, child.Command{Op: child.OpSettleStale, Leases: leases})
	if err != nil {
		return f, err
	}
	f.verdict.zombies += len(leases)
	f.stale += int(reply.N)
	if reply.N > 0 {
		r.result.faultf("%d of %d leases that were lost were accepted at the end", reply.N, len(leases))
	}
	return f, server.stop(ctx)
}

// within returns a rig with a database of its own, whose faults are for the
// caller to take over.
func (r *rig) within(ctx context.Context) (*rig, error) {
	return newRig(ctx, Config{
		Driver: r.Driver, Short: r.Short, Rounds: r.Rounds, Seed: r.random.Uint64(), Dir: r.dir, Out: r.Out, Programs: r.Programs,
	})
}

// take takes over the faults of a rig within this one.
func (r *rig) take(sub *rig, what string) int {
	for _, f := range sub.result.Faults {
		r.result.faultf("%s: %s", what, f)
	}
	return len(sub.result.Faults)
}

// sec adds how long the test took.
func (r *rig) sec() { r.result.add("sec", int(time.Since(r.began).Seconds())) }

// each calls f for every process and returns the first error.
func each(processes []*process, f func(*process) error) error {
	for _, p := range processes {
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}
