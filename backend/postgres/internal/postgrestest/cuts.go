package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/cutproxy"
)

// callTime is the deadline of each call while the network is broken. slack is how
// much later a call may return before it counts as hung.
const (
	callTime = 10 * time.Second
	slack    = 10 * time.Second
)

// A cutter pushes jobs with keys through a proxy that breaks.
type cutter struct {
	t      *testing.T
	proxy  *cutproxy.Proxy
	b      *postgres.Backend
	acked  map[string]int64 // by key
	cuts   int
	failed int // pushes that returned an error
	twice  int // failed pushes whose jobs were stored
}

// bounded runs a call with a deadline, and fails if the call overruns it.
func (c *cutter) bounded(limit time.Duration, call func(context.Context) error) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit + slack):
		c.t.Errorf("a call did not return although its deadline passed %v ago", slack)
		return context.DeadlineExceeded
	}
}

// push pushes a job, which is plain or has a kept key.
func (c *cutter) push(limit time.Duration, key string) (backend.Pushed, error) {
	job := newJob("a")
	job.Unique = backend.Unique{Key: key, For: 24 * time.Hour}
	var pushed []backend.Pushed
	err := c.bounded(limit, func(ctx context.Context) (err error) {
		pushed, err = c.b.Push(ctx, []backend.NewJob{job})
		return err
	})
	if err != nil {
		return backend.Pushed{}, err
	}
	return pushed[0], nil
}

// try pushes a job while the proxy breaks, and again until it is acknowledged. It
// reports whether the proxy broke anything.
func (c *cutter) try(key string, answer bool, n int) (broke bool) {
	c.t.Helper()
	c.proxy.Arm(answer, n, false)
	p, err := c.push(callTime, key)
	broke = !c.proxy.Disarm()
	if broke {
		c.cuts++
	}
	for range 20 {
		if err == nil {
			break
		}
		c.failed++
		if !errors.Is(err, backend.ErrUnavailable) {
			c.t.Errorf("Push cut after %d bytes (of the answer: %v) = %v, want ErrUnavailable", n, answer, err)
		}
		noPassword(c.t, err)
		if p, err = c.push(callTime, key); err == nil && p.Duplicate {
			c.twice++
		}
	}
	if err != nil {
		c.t.Fatalf("a push after the cut is not acknowledged: %v", err)
	}
	c.acked[key] = p.ID
	return broke
}

// testCuts cuts the connections at every byte of a push, on the way to the server and
// on the way back, when the server has committed and its answer is lost. Every
// acknowledged job must be stored, and none twice.
func (d Driver) testCuts(t *testing.T) {
	s := d.schema(t)
	direct := s.open(t, &postgres.Options{Schema: s.name})
	p, b := s.openThrough(t)
	c := &cutter{t: t, proxy: p, b: b, acked: map[string]int64{}}
	most := 60
	if long() {
		most = 5000
	}
	keys := 0
	key := func() string { keys++; return fmt.Sprint("key", keys) }
	prepared := func() (to, from int) {
		for range 2 { // the second time with prepared statements
			c.proxy.Count()
			k := key()
			pushed, err := c.push(callTime, k)
			if err != nil {
				t.Fatal(err)
			}
			c.acked[k] = pushed.ID
		}
		return c.proxy.Count()
	}
	for n := range 24 { // the last answer is COMMIT's
		_, from := prepared()
		c.try(key(), true, from-n)
	}
	if c.twice == 0 {
		t.Error("no answer to a COMMIT was lost")
	}
	most += c.cuts
	for c.cuts < most && !t.Failed() {
		to, from := prepared()
		step := max(1, 2*(to+from)/most)
		if long() {
			step = 1
		}
		for _, answer := range []bool{false, true} {
			for n := c.cuts % step; c.cuts < most && !t.Failed(); n += step {
				if !c.try(key(), answer, n) {
					break // the push ended before the cut
				}
			}
		}
	}
	if d.Name == "pgx" { // lib/pq waits for the answer to its cancel request, however silent the network is
		c.stalls(key)
	}
	c.check(direct)
	t.Logf("%d cuts: %d pushes failed, of which %d were stored", c.cuts, c.failed, c.twice)
}

// testPlainCuts cuts the last bytes of the answer to a push of a job without a key,
// which is a single statement, in the two ways in which a connection ends. The server
// has stored the job: the push must not store it again and report success.
func (d Driver) testPlainCuts(t *testing.T) {
	s := d.schema(t)
	direct := s.open(t, &postgres.Options{Schema: s.name})
	p, b := s.openThrough(t)
	c := &cutter{t: t, proxy: p, b: b}
	pushOne := func(payload string) error {
		job := newJob("a")
		job.Payload = []byte(payload)
		return c.bounded(callTime, func(ctx context.Context) error {
			_, err := b.Push(ctx, []backend.NewJob{job})
			return err
		})
	}
	acked, failed := map[string]bool{}, 0
	for _, p.Ends = range []bool{false, true} {
		for n := range 24 {
			for i, good := 0, 0; good < 3; i++ { // the last time with prepared statements; a cut connection may still be noticed
				if i == 20 {
					t.Fatal("a push after the cut is not acknowledged")
				}
				p.Count()
				payload := fmt.Sprintf(`"before %v %02d %d"`, p.Ends, n, i)
				if err := pushOne(payload); err != nil {
					good = 0
					continue
				}
				good++
				acked[payload] = true
			}
			_, from := p.Count()
			payload := fmt.Sprintf(`"cut %v %02d xxx"`, p.Ends, n)
			p.Arm(true, from-n, false)
			err := pushOne(payload)
			p.Disarm()
			switch {
			case err == nil:
				acked[payload] = true
			case errors.Is(err, backend.ErrUnavailable):
				failed++
			default:
				t.Errorf("Push cut %d bytes before its end = %v, want ErrUnavailable", n, err)
			}
		}
	}
	if failed == 0 {
		t.Error("no answer was lost")
	}
	stored := map[string]int{}
	page, err := direct.List(t.Context(), backend.ListRequest{Limit: 1000, Payloads: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range page.Jobs {
		stored[string(j.Payload)]++
	}
	for payload, n := range stored {
		if n > 1 {
			t.Errorf("%s is stored %d times", payload, n)
		}
	}
	for payload := range acked {
		if stored[payload] != 1 {
			t.Errorf("%s was acknowledged, but is stored %d times, want once", payload, stored[payload])
		}
	}
}

// stalls makes the network silent: a call must end with its context.
func (c *cutter) stalls(key func() string) {
	c.t.Helper()
	for _, answer := range []bool{false, true} {
		for _, n := range []int{0, 100, 400} {
			k := key()
			c.proxy.Arm(answer, n, true)
			p, err := c.push(300*time.Millisecond, k)
			if c.proxy.Disarm(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				c.t.Errorf("Push on a silent network = %v, want the context's error", err)
			}
			c.proxy.Cut()
			for range 20 {
				if err == nil {
					break
				}
				p, err = c.push(callTime, k)
			}
			if err != nil {
				c.t.Fatalf("Push after a silent network: %v", err)
			}
			c.acked[k] = p.ID
		}
	}
}

// check compares the acknowledged jobs with the stored ones.
func (c *cutter) check(direct *postgres.Backend) {
	c.t.Helper()
	if a := newAudit(c.t, direct, c.acked); a.stored != len(c.acked) {
		c.t.Errorf("%d jobs are stored, %d were acknowledged", a.stored, len(c.acked))
	}
}
