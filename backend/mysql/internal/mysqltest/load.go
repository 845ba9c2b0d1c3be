package mysqltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/internal/cutproxy"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

func long() bool { return os.Getenv("PLAINJOBS_TEST_LONG") != "" }

func newJob(name string) backend.NewJob {
	return backend.NewJob{Name: name, Payload: []byte("{}"), MaxAttempts: 3}
}

func count(tb testing.TB, b *mysql.Backend, state backend.State) (n int64) {
	tb.Helper()
	counts, err := b.Count(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range counts {
		if c.State == state {
			n += c.Jobs
		}
	}
	return n
}

func until(tb testing.TB, f func() bool) {
	tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-late:
			tb.Fatal("the condition was not met in 30 s")
		}
	}
}

// callTime is the deadline of each call while the network or the server breaks.
const callTime = 10 * time.Second

// A load is clients that push jobs with keys, claim and complete.
type load struct {
	*testing.T
	b    *mysql.Backend
	mu   sync.Mutex
	ids  map[string]int64 // of the acknowledged jobs, by key
	acks atomic.Int64
	errs atomic.Int64
	done atomic.Int64
}

// unavailable notes an error, which must be one that a cut or a crash may cause.
func (l *load) unavailable(what string, err error) {
	l.errs.Add(1)
	if !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) && !errors.Is(err, backend.ErrWorkerGone) {
		l.Errorf("%s = %v, want ErrUnavailable", what, err)
	}
	<-time.After(10 * time.Millisecond) // as a client would pause
}

// pushOne pushes a job with a kept key until it is acknowledged.
func (l *load) pushOne(key string) {
	job := newJob("a")
	job.Unique = backend.Unique{Key: key, For: 24 * time.Hour}
	for !l.Failed() {
		ctx, cancel := context.WithTimeout(l.Context(), callTime)
		pushed, err := l.b.Push(ctx, []backend.NewJob{job})
		cancel()
		if err == nil {
			l.mu.Lock()
			l.ids[key] = pushed[0].ID
			l.mu.Unlock()
			l.acks.Add(1)
			return
		}
		l.unavailable("Push", err)
	}
}

// work claims and completes jobs. A job that is left under its worker is released.
func (l *load) work(ctx context.Context, w backend.Worker) {
	for ctx.Err() == nil && !l.Failed() {
		call, cancel := context.WithTimeout(ctx, callTime)
		err := l.round(call, w)
		cancel()
		if err != nil && ctx.Err() == nil {
			l.unavailable("a claim, a completion or a heartbeat", err)
		}
	}
}

func (l *load) round(ctx context.Context, w backend.Worker) error {
	jobs, err := l.b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 20, Suspects: true})
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		r, err := l.b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: w})
		if err != nil {
			return err
		}
		var back []backend.Failure
		for _, lease := range r.Leases {
			back = append(back, backend.Failure{Lease: lease, Ending: backend.EndRelease})
		}
		_, err = l.b.Fail(ctx, back)
		return err
	}
	done := make([]backend.Completion, len(jobs))
	for i, j := range jobs {
		done[i].Lease = j.Lease
	}
	lost, err := l.b.Complete(ctx, done)
	l.done.Add(int64(len(done) - len(lost)))
	return err
}

// run pushes and works until enough has broken.
func (l *load) run(breaks func(ctx context.Context)) {
	ctx, stop := context.WithCancel(l.Context())
	defer stop()
	working, rest := context.WithCancel(l.Context())
	defer rest()
	var pushers, workers sync.WaitGroup
	for i := range 4 {
		pushers.Go(func() {
			for n := 0; ctx.Err() == nil && !l.Failed(); n++ {
				l.pushOne(fmt.Sprint(i, " ", n))
			}
		})
	}
	for i := range 2 {
		workers.Go(func() { l.work(working, backend.Worker{ID: int64(i + 1), Lease: time.Hour}) })
	}
	breaks(ctx)
	stop()
	pushers.Wait()
	rest()
	workers.Wait()
}

// check fails unless each acknowledged job is stored once, and none is stored twice. direct is a
// store whose connections do not break.
func (l *load) check(direct *mysql.Backend) {
	l.Helper()
	w := backend.Worker{ID: 99, Lease: time.Hour}
	if _, err := direct.Reap(l.Context(), backend.ReapRequest{Dead: []int64{1, 2}}); err != nil {
		l.Fatal(err)
	}
	until(l, func() bool { // what was not done is done
		jobs, err := direct.Claim(l.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a"}, Limit: 100, Suspects: true})
		if err != nil {
			l.Fatal(err)
		}
		done := make([]backend.Completion, len(jobs))
		for i, j := range jobs {
			done[i].Lease = j.Lease
		}
		if _, err := direct.Complete(l.Context(), done); err != nil {
			l.Fatal(err)
		}
		return count(l, direct, backend.Pending)+count(l, direct, backend.Running) == 0
	})
	stored := map[string]int64{}
	for before := int64(0); ; {
		page, err := direct.List(l.Context(), backend.ListRequest{Before: before, Limit: 1000})
		if err != nil {
			l.Fatal(err)
		}
		for _, j := range page.Jobs {
			if other, twice := stored[j.UniqueKey]; twice {
				l.Errorf("jobs %d and %d have the key %s", j.ID, other, j.UniqueKey)
			}
			stored[j.UniqueKey] = j.ID
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	for key, id := range l.ids {
		if stored[key] != id {
			l.Errorf("job %d with the key %s was acknowledged, and job %d is stored", id, key, stored[key])
		}
	}
	if len(stored) < len(l.ids) {
		l.Errorf("%d jobs are stored, %d were acknowledged", len(stored), len(l.ids))
	}
	consistent(l, direct)
}

// testCuts cuts the connections after some bytes, again and again, on the way to the server and
// on the way back.
func testCuts(t *testing.T) {
	most := 150
	if long() {
		most = 5000
	}
	o := ownServer(t)
	direct := dial(t, o.dsn("root", "", mycluster.Database))
	p := cutproxy.New(t, o.Address())
	host := net.JoinHostPort("127.0.0.1", fmt.Sprint(p.Port()))
	l := &load{T: t, b: dial(t, "root@tcp("+host+")/"+mycluster.Database), ids: map[string]int64{}}
	l.run(func(context.Context) {
		for n := range most {
			if t.Failed() {
				return
			}
			p.Arm(n%2 == 0, n*37%4001, false)
			until(t, func() bool { return !p.Armed() })
		}
	})
	p.Disarm()
	l.check(direct)
	t.Logf("%d cuts: %d pushes were acknowledged, %d jobs done, %d calls failed", most, l.acks.Load(), l.done.Load(), l.errs.Load())
}

// testCommitCuts cuts the answers to commits. The store finds out whether a push is stored.
func testCommitCuts(t *testing.T) {
	o := ownServer(t)
	direct := dial(t, o.dsn("root", "", mycluster.Database))
	p := cutproxy.New(t, o.Address())
	b := dial(t, "root@tcp("+net.JoinHostPort("127.0.0.1", fmt.Sprint(p.Port()))+")/"+mycluster.Database)
	found := 0
	for n := range 40 {
		job := newJob("a")
		if n%2 == 0 {
			job.Serial = "k"
		}
		push := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), callTime)
			defer cancel()
			_, err := b.Push(ctx, []backend.NewJob{job})
			return err
		}
		for push() != nil {
		}
		p.Count()
		if err := push(); err != nil {
			t.Fatal(err)
		}
		_, from := p.Count()
		before := count(t, direct, backend.Pending) + count(t, direct, backend.Blocked)
		p.Arm(true, from-1-n%7, false) // within the answer to COMMIT
		err := push()
		p.Disarm()
		added := count(t, direct, backend.Pending) + count(t, direct, backend.Blocked) - before
		switch {
		case err == nil && added != 1:
			t.Errorf("an acknowledged push stored %d jobs", added)
		case err == nil:
			found++
		case !errors.Is(err, backend.ErrUnavailable):
			t.Errorf("Push = %v, want ErrUnavailable", err)
		}
	}
	if found < 30 {
		t.Errorf("of 40 pushes whose commits were not answered, %d were found", found)
	}
}

// testCrashes kills the server under load.
func testCrashes(t *testing.T) {
	crashes := 3
	if long() {
		crashes = 30
	}
	o := ownServer(t)
	l := &load{T: t, b: dial(t, o.dsn("root", "", mycluster.Database)), ids: map[string]int64{}}
	l.run(func(context.Context) {
		for range crashes {
			n := l.acks.Load()
			until(t, func() bool { return l.acks.Load() > n+100 || t.Failed() })
			o.Crash(t)
		}
		n := l.acks.Load()
		until(t, func() bool { return l.acks.Load() > n+50 || t.Failed() })
	})
	l.check(l.b)
	t.Logf("%d crashes: %d pushes were acknowledged, %d jobs done, %d calls failed", crashes, l.acks.Load(), l.done.Load(), l.errs.Load())
}

// dial opens a store with a DSN.
func dial(t *testing.T, dsn string) *mysql.Backend {
	t.Helper()
	b, err := mysql.Open(dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}
