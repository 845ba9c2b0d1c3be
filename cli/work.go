package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/worker"
)

// workOptions are the options of work and dev.
type workOptions struct {
	parallel      int
	program       string // the command that starts this program
	jobs, except  []string
	lanes         string
	noCron, drain bool
	grace         time.Duration
	probe, log    string
	dashboard     string // an address, "off" or empty

	serve func(context.Context) error
	lines bool // print a line per run
}

func (o *workOptions) flags(p *program, c *cobra.Command) {
	flags := c.Flags()
	flags.IntVar(&o.parallel, "parallel", 1, "run up to `N` jobs at once")
	flags.StringSliceVar(&o.jobs, "jobs", nil, "run only jobs with these `NAMES`")
	flags.StringSliceVar(&o.except, "except", nil, "leave jobs with these `NAMES` to other workers")
	flags.StringVar(&o.lanes, "lanes", "", "give jobs slots of their own: `\"N:NAMES N:NAMES …\"`, with N slots for the jobs of the names")
	flags.BoolVar(&o.noCron, "no-cron", false, "do not run schedules")
	flags.StringVar(&o.probe, "probe", "", "serve HTTP at `ADDRESS`: status 200 while the store answers the worker, otherwise 503")
	for _, flag := range []string{"jobs", "except"} {
		completes(c, flag, func() (names []string) {
			for _, d := range engine.Definitions() {
				names = append(names, d.Name)
			}
			return names
		})
	}
}

func (p *program) workCommand() *cobra.Command {
	var o workOptions
	c := &cobra.Command{
		Use:   "work [flags]",
		Short: "Run jobs",
		Long: `Work runs jobs until it receives a signal. After the first signal it claims no more
jobs and waits up to --grace for running jobs. After a second signal, at least one
second later, it cancels the contexts of the handlers, releases their jobs and exits.
A closed terminal, or a log without a reader, has the effect of the first signal.
Work exits at most 5 seconds after the grace period.

All jobs share the slots of --parallel, except those of --lanes: each lane has slots of
its own, so that a slow job delays no job of another lane.`,
		Example: `  work --parallel 4
  work --jobs invoice,welcome --no-cron
  work --parallel 4 --lanes "10:welcome,reminder 2:report"
  work --except report
  work --drain
  work --probe :7001 --log json`,
		Args: takes(0, 0),
	}
	o.flags(p, c)
	c.Flags().BoolVar(&o.drain, "drain", false, "exit when no job is left to run now")
	c.Flags().DurationVar(&o.grace, "grace", 20*time.Second, "how long to wait for running jobs")
	c.Flags().StringVar(&o.log, "log", "", "log `FORMAT`: text or json (default: text, or a line per run on a terminal)")
	return p.whole(c, func(ctx context.Context, s *screen, _ []string) error {
		o.program = called(c.Root().Name())
		switch o.log {
		case "", "text", "json":
		default:
			return usage("--log %s: unknown format; give text or json", o.log)
		}
		o.lines = o.log == "" && s.people
		return p.work(ctx, s, &o)
	})
}

// oneRequest is the minimum time between two signals that count as two. Some programs
// send one signal to the process and then to its process group.
const oneRequest = time.Second

// lease is the worker's lease: without a heartbeat for as long, other workers consider it
// dead, and the probe reports it.
const lease = 30 * time.Second

// check returns an error for options that are out of range.
func (o *workOptions) check() error {
	switch {
	case o.parallel < 1 || o.parallel > 100_000:
		return usage("--parallel %d is out of range: give 1 to 100000", o.parallel)
	case o.grace < 0 || o.grace > 24*time.Hour:
		return usage("--grace %v is out of range: give 0 to 24h", o.grace)
	}
	return nil
}

// work runs a worker, and the web server if there is one, until a signal.
func (p *program) work(ctx context.Context, s *screen, o *workOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	jobs, err := named("--jobs", o.jobs)
	if err != nil {
		return err
	}
	except, err := named("--except", o.except)
	if err != nil {
		return err
	}
	lanes, err := lanesOf(o.lanes)
	if err != nil {
		return err
	}
	log := logger(s, o)
	if o.log != "" {
		slog.SetDefault(log) // handlers and the store log in the same format
	}
	if o.log == "json" { // each line must be an object
		s.records = log
	}
	q, done, err := p.setUp(ctx)
	if err != nil {
		return err
	}
	defer done()
	// From here on a signal stops the worker gracefully, because handlers may run. Before,
	// it ends the process, also while it waits for a database server.
	signals := make(chan os.Signal, 2)
	ignore := p.notify(signals, hangup()...)
	defer ignore()
	broken := brokenPipes()

	runs := newRuns(s, p.now, o.lines)
	defer q.Subscribe(runs.observe)()
	var last heartbeat
	stop, err := p.serveExtras(ctx, s, q, o, &last)
	defer stop()
	if err != nil {
		return err
	}
	if o.lines {
		s.found(q, o, lanes)
	}
	release := make(chan struct{})
	w := worker.New(q, &worker.Options{
		Concurrency: o.parallel, Jobs: jobs, Except: except, Lanes: lanes, Lease: lease, Drain: o.drain, NoSchedules: o.noCron,
		Grace: graceOf(o.grace), ReleaseNow: release, OnHeartbeat: last.onHeartbeat, Logger: log,
	})
	ps := start(ctx, w.Run, o.serve)
	defer ps.stop()
	err = p.untilEnded(ps, signals, broken,
		func() { s.say("%s", runs.waits()) },
		func() {
			s.say("releasing running jobs")
			close(release)
			ignore() // a third signal ends the process
		})
	if err == nil && o.drain {
		s.left(context.WithoutCancel(ctx), q)
	}
	return err
}

// serveExtras serves the probe and the dashboard, if the options ask for them. stop ends
// both; it is not nil if there is an error.
func (p *program) serveExtras(ctx context.Context, s *screen, q *plainjobs.Queue, o *workOptions, last *heartbeat) (stop func(), err error) {
	stops := []func(){}
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	if o.probe != "" {
		f, err := last.serve(ctx, s, o.probe, p.now)
		if err != nil {
			return stop, err
		}
		stops = append(stops, f)
	}
	if o.dashboard != "" && o.dashboard != "off" {
		f, err := p.devPages(ctx, s, q, o)
		if err != nil {
			return stop, err
		}
		stops = append(stops, f)
	}
	return stop, nil
}

// parts are the worker and the web server. They end together.
type parts struct {
	stop  func()
	ended chan struct{} // closed when both have ended
	err   error         // of the part that ended first; read it after ended
}

// start starts the worker, and the web server unless serve is nil.
func start(ctx context.Context, run, serve func(context.Context) error) *parts {
	work, cancel := context.WithCancel(ctx)
	ps := &parts{stop: cancel, ended: make(chan struct{})}
	var running sync.WaitGroup
	var once sync.Once
	end := func(err error) {
		once.Do(func() { ps.err = err })
		cancel()
	}
	running.Go(func() { end(run(work)) })
	if serve != nil {
		running.Go(func() {
			err := serve(work)
			if err == nil && work.Err() == nil {
				err = errors.New("the web server ended although it was not asked to")
			}
			if err != nil {
				err = fmt.Errorf("serve: %w", err)
			}
			end(err)
		})
	}
	go func() {
		running.Wait()
		close(ps.ended)
	}()
	return ps
}

// untilEnded waits for the parts to end, and stops them at a signal or a broken pipe. It
// calls first at the first signal and second at the second one.
func (p *program) untilEnded(ps *parts, signals, broken <-chan os.Signal, first, second func()) error {
	var firstAt time.Time
	var released, unread os.Signal
	for {
		select {
		case <-ps.ended:
			switch {
			case released != nil:
				return &statusError{statusSignal + signalNumber(released), errors.Join(errors.New("interrupted; running jobs were released"), ps.err)}
			case unread != nil:
				return &statusError{statusSignal + signalNumber(unread), errors.Join(errors.New("stopped: the log has no reader"), ps.err)}
			}
			return ps.err
		case unread = <-broken:
			broken = nil // one SIGPIPE is enough
			ps.stop()
		case sig := <-signals:
			switch now := p.now(); {
			case firstAt.IsZero():
				firstAt = now
				first()
				ps.stop()
			case now.Sub(firstAt) >= oneRequest && released == nil:
				released = sig
				second()
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

// graceOf converts a grace to the worker's option, where zero means the default.
func graceOf(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// left prints the jobs that a drained queue still has.
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
		s.say("no job is left to run")
		return
	}
	s.say("no job is left to run now; unfinished: %s", strings.Join(left, ", "))
}

// logger returns the worker's logger. If each run has its own line, the logger does not
// log runs.
func logger(s *screen, o *workOptions) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelDebug} // the level of successful runs
	if o.log == "json" {
		return slog.New(slog.NewJSONHandler(s, opts))
	}
	var h slog.Handler = slog.NewTextHandler(s, opts)
	if o.lines {
		opts.Level = slog.LevelWarn
		h = warningHandler{slog.NewTextHandler(s, opts)}
	}
	return slog.New(h)
}

// A warningHandler drops the records of ended runs. These have the attribute "took".
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
