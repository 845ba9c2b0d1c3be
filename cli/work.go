package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/worker"
)

// A workOptions has the options of work and dev: those of the worker, and of what runs with it.
type workOptions struct {
	parallel      int
	program       string // how it is called
	jobs          []string
	noCron, drain bool
	grace         time.Duration
	probe, log    string

	serve func(context.Context) error
	lines bool // a line per run, for people
}

func (sh *workOptions) flags(p *program, c *cobra.Command) {
	flags := c.Flags()
	flags.IntVar(&sh.parallel, "parallel", 1, "run `N` jobs at once")
	flags.StringSliceVar(&sh.jobs, "jobs", nil, "only run the jobs of these `NAMES`")
	flags.BoolVar(&sh.noCron, "no-cron", false, "leave the schedules to other workers")
	flags.StringVar(&sh.probe, "probe", "", "answer HTTP requests at `ADDRESS` with 200 while the worker is well, else 503")
	completes(c, "jobs", func() (names []string) {
		for _, d := range engine.Definitions() {
			names = append(names, d.Name)
		}
		return names
	})
}

func (p *program) workCommand() *cobra.Command {
	var sh workOptions
	c := &cobra.Command{
		Use:   "work [flags]",
		Short: "Run jobs",
		Long: `Work runs jobs until it is told to stop. At the first signal it claims no more and
waits for what runs, for --grace; at a second one, a second later or more, it ends
the handlers' contexts, hands their jobs back and goes. It stops as at the first
when its terminal hangs up, or when what it writes its log to has gone. It ends 5
seconds after the grace at the latest.`,
		Example: `  work --parallel 4
  work --jobs invoice,welcome --no-cron
  work --drain
  work --probe :7001 --log json`,
		Args: takes(0, 0),
	}
	sh.flags(p, c)
	c.Flags().BoolVar(&sh.drain, "drain", false, "end when nothing is left to run now")
	c.Flags().DurationVar(&sh.grace, "grace", 20*time.Second, "how long to wait for what runs")
	c.Flags().StringVar(&sh.log, "log", "", "log as `FORMAT`, text or json; on a terminal the default is a line per run")
	return p.whole(c, func(ctx context.Context, s *screen, _ []string) error {
		sh.program = called(c.Root().Name())
		switch sh.log {
		case "", "text", "json":
		default:
			return usage("--log %s: it is text or json", sh.log)
		}
		sh.lines = sh.log == "" && s.people
		return p.work(ctx, s, &sh)
	})
}

// oneRequest is how far apart two signals are at least that are meant as two:
// some programs send one to the process and then to its group.
const oneRequest = time.Second

// lease is how long the worker's process may be silent before others take it
// for dead, and the probe too.
const lease = 30 * time.Second

// work runs a worker, and the web server if there is one, until a signal.
func (p *program) work(ctx context.Context, s *screen, sh *workOptions) error {
	if sh.parallel < 1 || sh.parallel > 100_000 {
		return usage("--parallel %d is not within 1 and 100000", sh.parallel)
	}
	if sh.grace < 0 || sh.grace > 24*time.Hour {
		return usage("--grace %v is not within 0 and 24h", sh.grace)
	}
	jobs, err := named(sh.jobs)
	if err != nil {
		return err
	}
	log := logger(s, sh)
	if sh.log != "" {
		slog.SetDefault(log) // handlers and the store log alike
	}
	if sh.log == "json" { // each line is an object then
		s.records = log
	}
	q, done, err := p.setUp(ctx)
	if err != nil {
		return err
	}
	defer done()
	// From here on a signal is for the worker, as handlers may have begun. Until
	// then it ends the process, also one that waits for a server in vain.
	signals := make(chan os.Signal, 2)
	ignore := p.notify(signals, hangup()...)
	defer ignore()
	broken := brokenPipes()

	runs := newRuns(s, p.now, sh.lines)
	defer q.Subscribe(runs.tell)()
	var pulse heartbeat
	if sh.probe != "" {
		stop, err := pulse.serve(ctx, s, sh.probe, p.now)
		if err != nil {
			return err
		}
		defer stop()
	}
	if sh.lines {
		s.found(q, sh)
	}
	handBack := make(chan struct{})
	w := worker.New(q, &worker.Options{
		Concurrency: sh.parallel, Jobs: jobs, Lease: lease, Drain: sh.drain, NoSchedules: sh.noCron,
		Grace: graceOf(sh.grace), ReleaseNow: handBack, OnHeartbeat: pulse.onHeartbeat, Logger: log,
	})

	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	ended := make(chan struct{})
	var fault error // of the part that ended first
	var once sync.Once
	end := func(err error) {
		once.Do(func() { fault = err })
		stop(nil)
	}
	parts.Go(func() { end(w.Run(work)) })
	if sh.serve != nil {
		parts.Go(func() {
			err := sh.serve(work)
			if err == nil && work.Err() == nil {
				err = errors.New("the web server ended by itself")
			}
			if err != nil {
				err = fmt.Errorf("serve: %w", err)
			}
			end(err)
		})
	}
	go func() {
		parts.Wait()
		close(ended)
	}()

	var first time.Time // when the first signal came
	var second, unread os.Signal
	for {
		select {
		case <-ended:
			if second != nil {
				return &statusError{statusSignal + signalNumber(second), errors.Join(errors.New("interrupted; what ran was handed back"), fault)}
			}
			if unread != nil {
				return &statusError{statusSignal + signalNumber(unread), errors.Join(errors.New("stopped: the reader of the log has gone"), fault)}
			}
			if fault == nil && sh.drain {
				s.left(context.WithoutCancel(ctx), q)
			}
			return fault
		case unread = <-broken:
			broken = nil // the next line that is not read is no news
			stop(nil)
		case sig := <-signals:
			switch now := p.now(); {
			case first.IsZero():
				first = now
				s.say("%s", runs.waits())
				stop(nil)
			case now.Sub(first) < oneRequest:
			case second == nil:
				second = sig
				s.say("handing back what runs")
				close(handBack)
				ignore() // a third signal ends the process
			}
		}
	}
}

func signalNumber(sig os.Signal) int {
	if n, ok := sig.(syscall.Signal); ok {
		return int(n)
	}
	return 2
}

// graceOf returns a grace as the worker takes it, where zero is the default.
func graceOf(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// left says what a worker that drained the queue has left there.
func (s *screen) left(ctx context.Context, q *plainjobs.Queue) {
	st, err := statsOf(ctx, q)
	if err != nil {
		return
	}
	var left []string
	for _, state := range append(waiting[:3:3], plainjobs.Running) {
		if n := st.sum.of[state]; n > 0 {
			left = append(left, fmt.Sprintf("%d %v", n, state))
		}
	}
	if len(left) == 0 {
		s.say("nothing is left to run")
		return
	}
	s.say("nothing is left to run now; there are %s", strings.Join(left, ", "))
}

// A namedJob is a job by its name, which is all that a worker wants of it.
type namedJob struct {
	plainjobs.AnyJob
	name string
}

func (j namedJob) Name() string { return j.name }

// named returns the jobs with the names, or nil for none.
func named(names []string) (jobs []plainjobs.AnyJob, err error) {
	var all []string
	for _, d := range engine.Definitions() {
		all = append(all, d.Name)
	}
	for _, name := range names {
		if engine.Lookup(name) == nil {
			return nil, usage("--jobs: this program defines no job %s%s", name, didYouMean(name, all))
		}
		jobs = append(jobs, namedJob{name: name})
	}
	return jobs, nil
}

// logger returns what the worker logs to. Where each run has a line for people
// the log does not repeat it.
func logger(s *screen, sh *workOptions) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelDebug} // a run that went well is logged at that level
	if sh.log == "json" {
		return slog.New(slog.NewJSONHandler(s, opts))
	}
	var h slog.Handler = slog.NewTextHandler(s, opts)
	if sh.lines {
		opts.Level = slog.LevelWarn
		h = warningHandler{slog.NewTextHandler(s, opts)}
	}
	return slog.New(h)
}

// warningHandler is a handler without the records of ended runs, which are those that
// say how long it took.
type warningHandler struct{ slog.Handler }

func (h warningHandler) Handle(ctx context.Context, r slog.Record) error {
	ended := false
	r.Attrs(func(a slog.Attr) bool {
		ended = a.Key == "took"
		return !ended
	})
	if ended {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// found prints what was discovered.
func (s *screen) found(q *plainjobs.Queue, sh *workOptions) {
	s.say("%s  parallel %d", describe(q), sh.parallel)
	var t table
	only := func(name string) bool { return sh.jobs == nil || slices.Contains(sh.jobs, name) }
	first := "jobs"
	for _, d := range engine.Definitions() {
		if only(d.Name) {
			t.add(first, d.Name, "", place(d.Where))
			first = ""
		}
	}
	first = "schedules"
	for _, d := range engine.Schedules() {
		if only(d.Job.Name) && !sh.noCron {
			t.add(first, d.Name, d.Spec, nextTick(d, s.now))
			first = ""
		}
	}
	t.add("look", fmt.Sprintf("%s stats, or jobs, or top", sh.program))
	_ = t.write(s, false) // a message that cannot be shown stops nothing
}
