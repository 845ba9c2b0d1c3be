package postgrestest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/worker"
)

// hostVariable makes the test binary act as a host: "NAME DSN". It pushes jobs, works
// them off, and executes the lines that it reads, see host.do. It ends at the end of
// its input.
const hostVariable = "PLAINJOBS_TEST_HOST"

// near is the name of the host that holds jobs and is cut off.
const near = "near"

const (
	hostLease = time.Second
	hostCall  = time.Second // the deadline of each call
)

// Jobs that one host holds until it learns that they are lost, by its worker or by
// leases that it does not renew, and that another host takes over.
var (
	jobHeld  = plainjobs.Declare[string]("held")
	jobStale = plainjobs.Declare[string]("stale")
)

// A host is the program that runs on a machine.
type host struct {
	name   string
	b      *postgres.Backend
	log    *slog.Logger
	stale  []backend.Completion
	mu     sync.Mutex // of its output
	worker struct {   // the worker that takes over
		stop  context.CancelFunc
		tasks sync.WaitGroup
	}
}

// host runs a host until stdin ends.
func (d Driver) host(text string) error {
	name, dsn, _ := strings.Cut(text, " ")
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	b, err := d.Open(dsn, &postgres.Options{Logger: log})
	if err != nil {
		return err
	}
	h := &host{name: name, b: b, log: log}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pushing, quiet := context.WithCancel(ctx)
	defer quiet()
	var pusher, works sync.WaitGroup
	pusher.Go(func() { h.push(ctx, pushing) })
	jobs := []plainjobs.AnyJob{jobA}
	if name == near {
		jobs = append(jobs, jobHeld)
	}
	works.Go(func() { h.work(ctx, false, jobs) })
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		if commands.Text() == "quiet" {
			quiet()
			pusher.Wait()
			h.say("is quiet")
			continue
		}
		h.do(ctx, commands.Text())
	}
	cancel()
	pusher.Wait()
	works.Wait()
	h.worker.tasks.Wait()
	return b.Close()
}

func (h *host) say(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// do executes a line.
func (h *host) do(ctx context.Context, line string) {
	switch command, arg, _ := strings.Cut(line, " "); command {
	case "lease": // leases a few jobs, without a worker that renews
		h.lease(ctx, arg)
	case "settle": // settles those jobs
		var lost []backend.Lease
		h.insist(ctx, func(call context.Context) (err error) {
			lost, err = h.b.Complete(call, h.stale)
			return err
		})
		h.say("settled %d, lost %d", len(h.stale), len(lost))
	case "take": // takes over the jobs that others held
		var taking context.Context
		taking, h.worker.stop = context.WithCancel(ctx)
		h.worker.tasks.Go(func() { h.work(taking, true, []plainjobs.AnyJob{jobStale, jobHeld}) })
	case "rest":
		h.worker.stop()
		h.worker.tasks.Wait()
		h.say("rests")
	}
}

// insist makes a call with a deadline, again until it is answered or ctx ends. It
// reports a call that overruns its deadline, or fails in a way that no network
// explains.
func (h *host) insist(ctx context.Context, call func(context.Context) error) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, hostCall)
		began := time.Now()
		err := call(limited)
		cancel()
		if took := time.Since(began); took > hostCall+slack {
			h.say("wrong: a call took %v", took)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			h.say("wrong: %v", strings.ReplaceAll(err.Error(), "\n", " "))
		}
		<-time.After(10 * time.Millisecond) // as a client would pause
	}
}

// push pushes jobs with keys until pushing ends, each until it is acknowledged or
// ctx ends.
func (h *host) push(ctx, pushing context.Context) {
	q := plainjobs.New(h.b, nil)
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for i := 0; pushing.Err() == nil; i++ {
		key := fmt.Sprint(h.name, i)
		h.insist(ctx, func(call context.Context) error {
			began := time.Now()
			id, err := q.Perform(call, jobA.With(struct{}{}, plainjobs.Unique(key, plainjobs.For(24*time.Hour))))
			if err == nil {
				h.say("acked %s %d %d", key, id, time.Since(began).Microseconds())
			}
			return err
		})
		select {
		case <-pace.C:
		case <-pushing.Done():
		}
	}
}

// work runs a worker on jobs until ctx ends. A worker that takes over ends the jobs
// that the other holds.
func (h *host) work(ctx context.Context, takes bool, jobs []plainjobs.AnyJob) {
	q := plainjobs.New(h.b, nil)
	plainjobs.Handle(q, jobA, func(context.Context, struct{}) error { return nil })
	plainjobs.Handle(q, jobStale, func(_ context.Context, what string) error {
		h.say("took over %s", what)
		return nil
	})
	plainjobs.Handle(q, jobHeld, func(ctx context.Context, what string) error {
		if takes {
			h.say("took over %s", what)
			return nil
		}
		h.say("holds %s", what)
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), plainjobs.ErrLeaseLost) {
			h.say("lost %s", what)
		}
		return nil // too late: it must not count
	})
	if err := worker.New(q, &worker.Options{Jobs: jobs, Concurrency: 4, Grace: -1, Lease: hostLease, Logger: h.log}).Run(ctx); err != nil {
		h.say("wrong: the worker ended: %v", err)
	}
}

// lease pushes jobs and claims them as a worker that never renews.
func (h *host) lease(ctx context.Context, what string) {
	const n = 3
	w := backend.Worker{ID: rand.Int64(), Lease: hostLease, Host: h.name}
	h.stale = nil
	q := plainjobs.New(h.b, nil)
	for i := range n {
		h.insist(ctx, func(call context.Context) error {
			_, err := q.Perform(call, jobStale.With(fmt.Sprint(what, " ", i), plainjobs.Unique(fmt.Sprint(what, i))))
			return err
		})
	}
	for len(h.stale) < n && ctx.Err() == nil {
		h.insist(ctx, func(call context.Context) error {
			jobs, err := h.b.Claim(call, backend.ClaimRequest{Worker: w, Register: true, Names: []string{jobStale.Name()}, Limit: n})
			for _, j := range jobs {
				h.stale = append(h.stale, backend.Completion{Lease: j.Lease})
			}
			return err
		})
	}
	h.say("leases %s", what)
}
