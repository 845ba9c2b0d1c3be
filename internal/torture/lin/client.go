package lin

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A run is one check: many clients use the store.
type run struct {
	Config
	store   Store
	began   time.Time
	budget  atomic.Int64 // operations left to do
	numbers atomic.Int64 // of jobs
	workers atomic.Int64
}

// now returns the time since the start, in nanoseconds.
func (r *run) now() int64 { return int64(r.Clock().Sub(r.began)) }

// A client is a caller of the store, and a worker.
type client struct {
	*run
	random *rand.Rand
	worker backend.Worker // ID 0 is none
	held   []held
	over   []held // leases that are settled or given up
	ids    []int64

	ops    []op
	claims []claim
	faults []string
}

// A held is a lease, and how it was settled last, if it was.
type held struct {
	backend.Lease
	completed bool
	ending    backend.Ending
}

// A claim is the part of a claim that is checked apart from its jobs.
type claim struct {
	call, ret int64
	worker    int64
	found     int
	failed    bool
	suspects  bool
}

func newClient(r *run, i int) *client {
	return &client{run: r, random: rand.New(rand.NewPCG(r.Seed, uint64(i)))} //nolint:gosec // it is to be repeatable
}

func (c *client) work(ctx context.Context) {
	for before := 0; ctx.Err() == nil && c.budget.Load() > 0; before = len(c.ops) {
		switch n := c.random.IntN(100); {
		case n < 22:
			c.push(ctx)
		case n < 82:
			c.claim(ctx)
		case n < 88:
			c.reap(ctx)
		case n < 94:
			c.read(ctx)
		default:
			c.again(ctx)
		}
		c.budget.Add(int64(before - len(c.ops)))
	}
}

// record records an operation. An operation that failed may take effect at any
// time after the call.
func (c *client) record(o op, err error) {
	if o.ret = c.now(); err != nil {
		o.unknown = true
	}
	c.ops = append(c.ops, o)
}

func (c *client) push(ctx context.Context) {
	jobs := make([]backend.NewJob, 1+c.random.IntN(3))
	delay := time.Duration(0)
	if c.random.IntN(4) == 0 {
		delay = time.Duration(c.random.IntN(4000)) * time.Microsecond
	}
	ops := make([]op, len(jobs))
	for i := range jobs {
		number := c.numbers.Add(1)
		jobs[i] = backend.NewJob{
			Name: c.Name, Payload: binary.BigEndian.AppendUint64(nil, uint64(number)), MaxAttempts: 3, //nolint:gosec // positive
			Delay: delay, Priority: int16(c.random.IntN(3)), //nolint:gosec // small
		}
		ops[i] = op{kind: opPush, number: number, delay: delay}
	}
	call := c.now()
	pushed, err := c.store.Push(ctx, jobs)
	for i := range ops {
		ops[i].call = call
		if err == nil {
			ops[i].id = pushed[i].ID
			c.ids = append(c.ids, pushed[i].ID)
		}
		c.record(ops[i], err)
	}
}

// abandon makes the client another worker, without the jobs that it held: the
// effect of a death is known only if a suspect is the only job of its worker.
func (c *client) abandon() {
	c.over = append(c.over, c.held...)
	c.held = nil
	c.worker.ID = 0
}

// gone records that the store has no row of the worker: none of its leases is
// held.
func (c *client) gone(call int64) {
	for _, h := range c.held {
		c.record(op{kind: opAbsent, id: h.ID, token: h.Token, call: call}, nil)
	}
	c.abandon()
}

func (c *client) claim(ctx context.Context) {
	register := c.worker.ID == 0
	if register {
		c.worker = backend.Worker{ID: int64(c.Seed%1_000_000)<<40 + c.workers.Add(1), Host: "lin", Lease: lease} //nolint:gosec // small
	}
	req := backend.ClaimRequest{
		Worker: c.worker, Register: register, Names: []string{c.Name}, Limit: 1 + c.random.IntN(4), Suspects: c.random.IntN(4) > 0,
	}
	call := c.now()
	jobs, err := c.store.Claim(ctx, req)
	c.claims = append(c.claims, claim{call, c.now(), c.worker.ID, len(jobs), err != nil, req.Suspects})
	switch {
	case errors.Is(err, backend.ErrWorkerGone):
		c.gone(call)
		return
	case err != nil:
		c.record(op{kind: opClaim, worker: c.worker.ID, call: call}, err)
		c.abandon()
		return
	}
	for i := range jobs {
		j := &jobs[i]
		number := int64(0)
		if len(j.Payload) == 8 {
			number = int64(binary.BigEndian.Uint64(j.Payload)) //nolint:gosec // it was one
		}
		c.record(op{
			kind: opClaim, id: j.ID, number: number, worker: c.worker.ID, token: j.Token, attempt: j.Attempt, suspect: j.Suspect, call: call,
		}, nil)
		c.held = append(c.held, held{Lease: j.Lease})
		c.ids = append(c.ids, j.ID)
	}
	c.settleAll(ctx)
}

// settleAll settles the jobs that the client holds, each after a while that may
// exceed the lease.
func (c *client) settleAll(ctx context.Context) {
	for len(c.held) > 0 && ctx.Err() == nil {
		pause(ctx, time.Duration(c.random.Int64N(int64(hold)))/time.Duration(len(c.held)))
		switch c.random.IntN(20) {
		case 0: // the worker dies
			c.abandon()
			return
		case 1:
			c.beat(ctx, false)
			continue
		case 2:
			c.beat(ctx, true)
			return
		}
		h := c.held[0]
		c.held = c.held[1:]
		unknown := false
		if c.random.IntN(5) < 3 {
			h.completed = true
			unknown = c.complete(ctx, h)
		} else {
			h.ending = backend.EndRetry + backend.Ending(c.random.IntN(5)) //nolint:gosec // small
			unknown = c.fail(ctx, h)
		}
		c.over = append(c.over, h)
		if unknown { // the worker may still have the job
			c.abandon()
			return
		}
	}
}

func (c *client) complete(ctx context.Context, h held) (unknown bool) {
	call := c.now()
	lost, err := c.store.Complete(ctx, []backend.Completion{{Lease: h.Lease}})
	c.record(op{kind: opComplete, id: h.ID, token: h.Token, lost: len(lost) > 0, call: call}, err)
	return err != nil
}

func (c *client) fail(ctx context.Context, h held) (unknown bool) {
	delay := time.Duration(0)
	if h.ending <= backend.EndSnooze && c.random.IntN(3) == 0 {
		delay = time.Duration(c.random.IntN(3000)) * time.Microsecond
	}
	call := c.now()
	lost, err := c.store.Fail(ctx, []backend.Failure{{Lease: h.Lease, Ending: h.ending, Delay: delay, Error: "lin"}})
	c.record(op{kind: opFail, id: h.ID, token: h.Token, ending: h.ending, delay: delay, lost: len(lost) > 0, call: call}, err)
	return err != nil
}

// again settles a settled or lost lease, in the same way or in another.
func (c *client) again(ctx context.Context) {
	if len(c.over) == 0 {
		return
	}
	h := c.over[len(c.over)-1-c.random.IntN(min(len(c.over), 20))]
	switch n := c.random.IntN(3); {
	case n == 0 && h.ending != 0:
		c.fail(ctx, h)
	case n == 1:
		h.ending = backend.EndRetry + backend.Ending(c.random.IntN(5)) //nolint:gosec // small
		c.fail(ctx, h)
	default:
		c.complete(ctx, h)
	}
}

func (c *client) beat(ctx context.Context, leave bool) {
	call := c.now()
	result, err := c.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: c.worker, Leave: leave})
	switch {
	case errors.Is(err, backend.ErrWorkerGone):
		c.gone(call)
		return
	case err != nil:
		if leave {
			c.record(op{kind: opLeave, workers: []int64{c.worker.ID}, call: call}, err)
		}
		c.abandon()
		return
	}
	there := map[backend.Lease]bool{}
	for _, l := range result.Leases {
		there[l] = true
	}
	for _, h := range c.held {
		kind := opPresent
		if !there[h.Lease] {
			kind = opAbsent
		}
		if !leave || kind == opAbsent {
			c.record(op{kind: kind, id: h.ID, token: h.Token, worker: c.worker.ID, call: call}, nil)
		}
		delete(there, h.Lease)
	}
	for l := range there {
		c.faults = append(c.faults, fmt.Sprintf("worker %d holds %v, and was not given it", c.worker.ID, l))
	}
	if leave {
		c.record(op{kind: opLeave, workers: []int64{c.worker.ID}, call: call}, nil)
		c.abandon()
	} else {
		c.claims = append(c.claims, claim{call: call, ret: c.now(), worker: c.worker.ID, found: 1})
	}
}

func (c *client) reap(ctx context.Context) {
	call := c.now()
	result, err := c.store.Reap(ctx, backend.ReapRequest{Expired: true})
	if err != nil || len(result.Workers) > 0 {
		c.record(op{kind: opReap, workers: result.Workers, call: call}, err)
	}
}

// read reads a job.
func (c *client) read(ctx context.Context) {
	if len(c.ids) == 0 {
		return
	}
	id := c.ids[len(c.ids)-1-c.random.IntN(min(len(c.ids), 10))]
	call := c.now()
	info, err := c.store.Get(ctx, id)
	if errors.Is(err, backend.ErrNotFound) {
		c.faults = append(c.faults, fmt.Sprintf("job %d is not there: %v", id, err))
	}
	if err == nil {
		c.record(op{kind: opRead, id: id, seen: seenOf(info), call: call}, nil)
	}
}

// readAll reads all jobs when all clients have stopped.
func (r *run) readAll(ctx context.Context, h *history) error {
	call := r.now()
	for before := int64(0); ; {
		page, err := r.store.List(ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{r.Name}}, Before: before, Limit: 1000, Payloads: true})
		if err != nil {
			return err
		}
		for _, info := range page.Jobs {
			number := int64(0)
			if len(info.Payload) == 8 {
				number = int64(binary.BigEndian.Uint64(info.Payload)) //nolint:gosec // it was one
			}
			h.ops = append(h.ops, op{kind: opRead, id: info.ID, number: number, seen: seenOf(info), call: call, ret: r.now()})
		}
		if before = page.Next; before == 0 {
			return nil
		}
	}
}

func seenOf(i backend.Info) seen {
	s := seen{state: backend.Pending, worker: i.Worker, failures: i.Failures, crashes: i.Crashes, suspect: i.Suspect}
	if !i.State.Waits() {
		s.state = i.State
	}
	return s
}

// pause waits while a client holds its jobs.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(cmp.Or(d, 1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
