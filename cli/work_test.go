package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/internal/latelog"
)

// A process is a running command.
type process struct {
	out, err buffer
	ended    chan int
}

// start starts a command and waits until it handles signals.
func (w *world) start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{ended: make(chan int, 1)}
	go func() { p.ended <- Execute(w.root(&p.out, &p.err, args...)) }()
	<-w.notified
	return p
}

func (p *process) wait(t *testing.T, status int) {
	t.Helper()
	select {
	case got := <-p.ended:
		if got != status {
			t.Fatalf("it exited with %d, want %d: %s", got, status, p.err.String())
		}
	case <-time.After(time.Minute):
		t.Fatalf("it does not exit: %s", p.err.String())
	}
}

// bind binds f to the job import, and handlers that succeed to the others.
func (w *world) bind(f func(ctx context.Context, s string) error) {
	w.app.Setup = func(_ context.Context, q *plainjobs.Queue) error {
		plainjobs.Handle(q, importJob, f)
		plainjobs.Handle(q, welcomeJob, func(context.Context, letter) error { return nil })
		plainjobs.HandleResult(q, sumJob, func(_ context.Context, numbers []int) (sum int, err error) {
			for _, n := range numbers {
				sum += n
			}
			return sum, nil
		})
		return nil
	}
}

// runWorld returns a world with the real clock.
func runWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.now = time.Now
	w.store = lasting{memory.New(nil)}
	return w
}

func (w *world) perform(t *testing.T, tasks ...plainjobs.Task) []int64 {
	t.Helper()
	ids, err := plainjobs.New(w.store, nil).PerformMany(t.Context(), tasks...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// With --parallel N exactly N jobs overlap. By default one job runs at a time.
func TestParallel(t *testing.T) {
	for n, args := range map[int64][]string{1: {"work"}, 2: {"work", "--parallel", "2"}, 5: {"work", "--parallel=5"}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := runWorld(t)
			var running, most atomic.Int64
			w.bind(func(ctx context.Context, _ string) error {
				now := running.Add(1)
				defer running.Add(-1)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				// Each waits until n run at once, or until a deadline.
				deadline, stop := context.WithTimeout(ctx, 10*time.Second)
				defer stop()
				for tick := time.NewTicker(time.Millisecond); most.Load() < n; {
					select {
					case <-deadline.Done():
						return errors.New("too few jobs run at once")
					case <-tick.C:
					}
				}
				return nil
			})
			var tasks []plainjobs.Task
			for range 40 {
				tasks = append(tasks, importJob.With(""))
			}
			w.perform(t, tasks...)
			p := w.start(t, append(args, "--jobs", "import", "--drain")...)
			p.wait(t, 0)
			if got := most.Load(); got != n {
				t.Errorf("%d jobs ran at once, want %d", got, n)
			}
			if got := w.must(t, 0, "jobs", "--count", "--state", "done").out; got != "40\n" {
				t.Errorf("%s jobs are done, want 40", got)
			}
		})
	}
}

// After the first signal work waits for running jobs and lists them. After the second it
// releases them.
func TestSignals(t *testing.T) {
	for name, test := range map[string]struct {
		second os.Signal
		after  time.Duration // after the first signal
		status int
		state  string
	}{
		"one":       {nil, 0, 0, "done"},
		"interrupt": {os.Interrupt, time.Second, 130, "pending"},
		"terminate": {syscall.SIGTERM, time.Second, 143, "pending"},
		"twice":     {syscall.SIGTERM, 900 * time.Millisecond, 0, "done"}, // to the process and to its group
	} {
		t.Run(name, func(t *testing.T) {
			w := runWorld(t)
			w.now = w.clock
			started, gate := make(chan struct{}), make(chan struct{})
			w.bind(func(ctx context.Context, _ string) error {
				close(started)
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-gate:
					return nil
				}
			})
			id := w.perform(t, importJob.With("slow"))[0]
			p := w.start(t, "work", "--grace", "1h")
			<-started
			w.signals <- os.Interrupt
			eventually(t, "the list of running jobs", func() bool {
				return strings.Contains(p.err.String(), fmt.Sprintf("waiting for 1 running (send a second signal to release them): import #%d\n", id))
			})
			w.pass(test.after)
			if test.second != nil {
				w.signals <- test.second
			}
			if test.status == 0 {
				close(gate)
			}
			p.wait(t, test.status)
			if got := w.must(t, 0, "show", fmt.Sprint(id)).out; !strings.Contains(got, "state    "+test.state) {
				t.Errorf("the job is not %s:\n%s", test.state, got)
			}
			if n := len(w.must(t, 0, "workers", "--json").out); n > 0 {
				t.Error("the worker is still registered")
			}
		})
	}
}

// Dev runs a worker and the web server, lists the jobs and schedules, prints a line per
// run, and ends both.
func TestDev(t *testing.T) {
	w := runWorld(t)
	w.bind(func(context.Context, string) error { return errors.New("no such \x1b[31mfile\nmore") })
	serving, served := make(chan struct{}), make(chan struct{})
	w.app.Serve = func(ctx context.Context) error {
		close(serving)
		<-ctx.Done()
		close(served)
		return nil
	}
	w.tty = true
	w.perform(t, importJob.With("x"), sumJob.With([]int{1, 2}))
	p := w.start(t, "dev")
	<-serving
	lines := []string{
		`memory  parallel 1\n`,
		`jobs +import +jobs_test.go:\d+\n`,
		`inspect +app stats, jobs or top *\n`,
		`schedules +nightly +30 2 \* \* \* +next \w+ [-0-9]+ 0[23]:\d\d CES?T\n`,
		`\d\d:\d\d:\d\d \x1b\[33m✗\x1b\[0m import #1 +\d+µ?m?s +attempt 1/25, retry in (1(\.\d)?s|9\d\dms): no such \\x1b\[31mfile\n`,
		`\d\d:\d\d:\d\d \x1b\[32m✓\x1b\[0m sum #2 +\d+µ?m?s`,
	}
	for _, line := range lines {
		eventually(t, line, func() bool { return regexp.MustCompile(line).MatchString(p.err.String()) })
	}
	w.signals <- os.Interrupt
	p.wait(t, 0)
	<-served
	if strings.Contains(p.err.String(), "level=") {
		t.Errorf("runs are logged in addition to their lines: %s", p.err.String())
	}
}

// Dev exits if the web server fails.
func TestServeFails(t *testing.T) {
	w := runWorld(t)
	w.bind(well)
	w.app.Serve = func(context.Context) error { return errors.New("address in use") }
	for _, command := range []string{"dev", "serve"} {
		if got := w.must(t, 1, command); !strings.Contains(got.err, "address in use") {
			t.Errorf("%s printed %s", command, got.err)
		}
	}
	w.app.Serve = func(context.Context) error { return nil }
	if got := w.must(t, 1, "dev"); !strings.Contains(got.err, "although it was not asked to") {
		t.Errorf("dev printed %s", got.err)
	}
}

// well is a handler that succeeds.
func well(context.Context, string) error { return nil }

func TestServe(t *testing.T) {
	w := runWorld(t)
	serving := make(chan struct{})
	w.app.Serve = func(ctx context.Context) error { close(serving); <-ctx.Done(); return ctx.Err() }
	p := w.start(t, "serve")
	<-serving
	w.signals <- os.Interrupt
	p.wait(t, 0)
}

// Each command calls Close after it has closed the queue.
func TestClose(t *testing.T) {
	w := newWorld(t)
	closed := 0
	w.app.Close = func() error { closed++; return nil }
	w.must(t, 0, "stats")
	w.must(t, 0, "doctor")
	w.must(t, 0, "list")
	if closed != 3 {
		t.Errorf("three commands called Close %d times", closed)
	}
	w.app.Setup = func(context.Context, *plainjobs.Queue) error { return errors.New("no") }
	w.must(t, 1, "list")
	if closed != 4 {
		t.Error("a command whose Setup failed did not call Close")
	}
}

// The probe reports whether the store answers the worker.
func TestProbe(t *testing.T) {
	w := runWorld(t)
	w.bind(well)
	p := w.start(t, "work", "--probe", "127.0.0.1:0", "--log", "json")
	address := regexp.MustCompile(`probe at (http://[^\s"]+)`)
	eventually(t, "the probe's address", func() bool { return address.MatchString(p.err.String()) })
	eventually(t, "status 200", func() bool {
		r, err := http.Get(address.FindStringSubmatch(p.err.String())[1])
		if err != nil {
			return false
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		return err == nil && r.StatusCode == http.StatusOK && strings.HasPrefix(string(text), "ok: ")
	})
	http.DefaultClient.CloseIdleConnections()
	w.signals <- os.Interrupt
	p.wait(t, 0)

	var pulse heartbeat
	now := time.Now()
	for i, want := range []int{http.StatusServiceUnavailable, http.StatusOK, http.StatusServiceUnavailable} {
		if code, text := pulse.health(now); code != want {
			t.Errorf("%d: the probe returned %d %s, want %d", i, code, text, want)
		}
		pulse.onHeartbeat(now.Add(-time.Duration(i) * lease))
		if i == 0 {
			pulse.onHeartbeat(now.Add(-lease + time.Second))
		}
	}
}

// Records that a store logs while it opens, or later to the logger that it found then,
// keep their level and attributes.
func TestLogOfStore(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		w := runWorld(t)
		old := slog.Default()
		t.Cleanup(func() { slog.SetDefault(old) })
		late := latelog.Logger()
		open := w.app.Open
		w.app.Open = func(ctx context.Context) (*plainjobs.Queue, error) {
			slog.Default().Warn("opening", "place", "here")
			return open(ctx)
		}
		w.bind(func(context.Context, string) error { late.Warn("later", "place", "there"); return nil })
		w.perform(t, importJob.With("x"))
		got := w.must(t, 0, "work", "--drain", "--log", format)
		for _, want := range map[string][]string{
			"json": {`"level":"WARN","msg":"opening","place":"here"}`, `"level":"WARN","msg":"later","place":"there"}`},
			"text": {`level=WARN msg=opening place=here`, `level=WARN msg=later place=there`},
		}[format] {
			if !strings.Contains(got.err, want) {
				t.Errorf("--log %s: %s, want %s", format, got.err, want)
			}
		}
	}
}

// Without a terminal each run is a record of the log, also a successful one.
func TestLog(t *testing.T) {
	w := runWorld(t)
	old := slog.Default()
	t.Cleanup(func() { slog.SetDefault(old) })
	w.bind(func(ctx context.Context, _ string) error { plainjobs.Logger(ctx).Info("in the handler"); return nil })
	id := w.perform(t, importJob.With("x"))[0]
	got := w.must(t, 0, "work", "--drain", "--log", "json")
	if !regexp.MustCompile(fmt.Sprintf(`"msg":"plainjobs: done","job":"import","id":%d,"attempt":1,"took":\d+}`, id)).MatchString(got.err) {
		t.Errorf("the log is %s", got.err)
	}
	if !regexp.MustCompile(fmt.Sprintf(`"msg":"in the handler","job":"import","id":%d,`, id)).MatchString(got.err) {
		t.Errorf("the log of the handler is %s", got.err)
	}
	if !strings.HasSuffix(got.err, `"level":"INFO","msg":"plainjobs: no job is left to run"}`+"\n") {
		t.Errorf("the end of the log is %s", got.err)
	}
	for line := range strings.Lines(got.err) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is not JSON: %s", line)
		}
	}
	w.perform(t, importJob.With("x"), importJob.With("later", plainjobs.In(time.Hour)))
	got = w.must(t, 0, "work", "--drain")
	if !strings.Contains(got.err, `level=DEBUG msg="plainjobs: done" job=import`) || !strings.HasSuffix(got.err, "unfinished: 1 scheduled\n") {
		t.Errorf("the log is %s", got.err)
	}
}

func TestWorkUsage(t *testing.T) {
	w := runWorld(t)
	w.bind(well)
	for _, test := range []struct{ args, want string }{
		{"--parallel 0", "out of range"}, {"--parallel x", "invalid argument"}, {"--grace -1s", "out of range"}, {"--log xml", "text or json"},
		{"--jobs imprt", `did you mean "import"?`},
	} {
		if got := w.must(t, 2, append([]string{"work"}, strings.Fields(test.args)...)...); !strings.Contains(got.err, test.want) {
			t.Errorf("work %s printed %s", test.args, got.err)
		}
	}
	if got := w.must(t, 1, "work", "--probe", "no.such.host.invalid:1"); !strings.Contains(got.err, "--probe") {
		t.Errorf("it printed %s", got.err)
	}
	w.app.Setup = nil
	if got := w.must(t, 1, "work"); !strings.Contains(got.err, "no handler for import (declared at") {
		t.Errorf("without handlers it printed %s", got.err)
	}
}

// --lanes and --except say which jobs share slots.
func TestWorkLanes(t *testing.T) {
	w := runWorld(t)
	w.bind(func(context.Context, string) error { return nil })
	w.perform(t, importJob.With(""), welcomeJob.With(letter{}))
	got := w.must(t, 0, "work", "--drain", "--except", "import", "--lanes", "3:welcome 2:sum")
	for id, want := range map[int64]plainjobs.State{1: plainjobs.Pending, 2: plainjobs.Done} {
		if info, err := w.store.Get(t.Context(), id); err != nil || info.State != want {
			t.Errorf("job %d is %v, %v, want %v: %s", id, info.State, err, want, got.err)
		}
	}
	for args, want := range map[string]string{
		"--lanes=welcome":     `"welcome": give "N:NAMES"`,
		"--lanes=0:welcome":   `"0:welcome": give "N:NAMES"`,
		"--lanes=1:welcom":    `no job named welcom; did you mean "welcome"?`,
		"--except=welcom":     `no job named welcom; did you mean "welcome"?`,
		"--lanes=1:sum 1:sum": "Options.Lanes[1] has the job sum",
	} {
		if got := w.run("work", "--drain", args); got.status == 0 || !strings.Contains(got.err, want) {
			t.Errorf("work %s exited with %d: %s", args, got.status, got.err)
		}
	}
}
