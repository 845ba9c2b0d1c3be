package postgrestest

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/worker"
)

// killedVariable makes the test binary a process that is killed: "SCHEMA FILE FIRST DSN".
// It runs members and callbacks of groups, and creates groups from a number on, until its
// input ends. It notes in the file what it does.
const killedVariable = "PLAINJOBS_TEST_KILLED"

// No number of crashes fails the jobs: their processes are killed for other reasons.
var (
	jobPart     = plainjobs.Declare[int64]("part", plainjobs.MaxCrashes(1000))
	jobCallback = plainjobs.Declare[string]("callback", plainjobs.MaxCrashes(1000))
)

// killedLease makes the jobs of a killed process run again soon.
const killedLease = 2 * time.Second

// A killed is a process that is killed.
type killed struct {
	queue *plainjobs.Queue
	db    *sql.DB
	table string // of the effects of steps
	file  *os.File
}

// note writes a line, which survives the death of the process.
func (k *killed) note(format string, args ...any) {
	if _, err := fmt.Fprintf(k.file, format+"\n", args...); err != nil {
		panic(err)
	}
}

func (d Driver) killed(text string) error {
	f := strings.SplitN(text, " ", 4)
	first, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return err
	}
	k := &killed{table: f[0] + "_effects"}
	if k.file, err = os.OpenFile(f[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	defer k.file.Close()
	if k.db, err = sql.Open(d.Name, f[3]); err != nil {
		return err
	}
	defer k.db.Close()
	b, err := d.Open(f[3], &postgres.Options{Schema: f[0], Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	k.queue = plainjobs.New(b, nil)
	plainjobs.Handle(k.queue, jobPart, k.part)
	plainjobs.Handle(k.queue, jobCallback, k.callback)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var pushes sync.WaitGroup
	if first > 0 {
		pushes.Go(func() { k.push(ctx, first) })
	}
	fmt.Println("ready")
	err = worker.New(k.queue, &worker.Options{
		Jobs: []plainjobs.AnyJob{jobPart, jobCallback}, Concurrency: 4, Lease: killedLease, Grace: time.Second, Logger: slog.New(slog.DiscardHandler),
	}).Run(ctx)
	pushes.Wait()
	return errors.Join(err, k.queue.Close())
}

// push creates groups and flows of up to eight members, whose numbers begin with that of the
// group.
func (k *killed) push(ctx context.Context, first int64) {
	for ; ctx.Err() == nil; first += 10 {
		create := k.pushGroup
		if rand.IntN(2) == 0 {
			create = k.pushFlow
		}
		if err := create(ctx, first); err != nil && ctx.Err() == nil {
			k.note("error 0 0 0 %v", err)
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// callbacks are those of a group.
func callbacks() []plainjobs.GroupOption {
	return []plainjobs.GroupOption{
		plainjobs.OnEnd(jobCallback.With("end")), plainjobs.OnDone(jobCallback.With("done")), plainjobs.OnFailure(jobCallback.With("failure")),
	}
}

// partTask is a member, of which some fail.
func partTask(n int64) plainjobs.Task {
	if rand.IntN(12) == 0 {
		return jobPart.With(-n, plainjobs.MaxAttempts(1))
	}
	return jobPart.With(n)
}

func (k *killed) pushGroup(ctx context.Context, first int64) error {
	g, err := k.queue.Group(ctx, callbacks()...)
	if err != nil {
		return err
	}
	k.note("group %d 0 0", g.ID())
	for n := first; n < first+1+rand.Int64N(8); n++ {
		id, err := g.Perform(ctx, partTask(n))
		if err != nil {
			return err
		}
		k.note("member %d 0 0", id)
	}
	return g.Seal(ctx)
}

// pushFlow stores a diamond: some jobs depend on one, and another on all of these.
func (k *killed) pushFlow(ctx context.Context, first int64) error {
	var f plainjobs.Flow
	top := f.Add(partTask(first))
	var middle []plainjobs.Node
	for n := first + 1; n < first+2+rand.Int64N(6); n++ {
		middle = append(middle, f.Add(partTask(n), plainjobs.DependsOn(top)))
	}
	last := f.Add(partTask(first+9), plainjobs.DependsOn(middle...))
	g, err := k.queue.PerformFlow(ctx, &f, callbacks()...)
	if err != nil {
		return err
	}
	k.note("group %d 0 0", g.ID())
	for _, m := range middle {
		k.note("member %d 0 0", m.ID())
		k.note("depends %d 0 %d", m.ID(), top.ID())
		k.note("depends %d 0 %d", last.ID(), m.ID())
	}
	return nil
}

// part runs a member: two steps, the second of which is in a transaction.
func (k *killed) part(ctx context.Context, n int64) error {
	info, _ := plainjobs.FromContext(ctx)
	_, err := plainjobs.Step(ctx, "one", func(context.Context) (int64, error) {
		k.note("step %d 1 %d", info.ID, time.Now().UnixMicro())
		return n, nil
	})
	if err != nil {
		return err
	}
	k.note("stored %d 1 %d", info.ID, time.Now().UnixMicro())
	if n < 0 {
		return errors.New("it is to fail")
	}
	tx, err := k.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	_, err = plainjobs.StepTx(ctx, tx, "two", func() (int64, error) {
		k.note("step %d 2 %d", info.ID, time.Now().UnixMicro())
		_, err := tx.ExecContext(ctx, "INSERT INTO "+k.table+" VALUES ($1)", info.ID)
		return n, err
	})
	if err == nil {
		err = tx.Commit()
	}
	if err == nil {
		k.note("stored %d 2 %d", info.ID, time.Now().UnixMicro())
	}
	return err
}

func (k *killed) callback(ctx context.Context, _ string) error {
	info, _ := plainjobs.FromContext(ctx)
	if _, ok := plainjobs.GroupOf(ctx); !ok {
		return errors.New("a callback has no group")
	}
	k.note("callback %d 0 0", info.ID)
	return nil
}

// A killing is the parent of such processes.
type killing struct {
	*testing.T
	s     *schema
	dir   string
	files []string
}

// A victim is a process.
type victim struct {
	cmd   *exec.Cmd
	stdin io.Closer
	err   *bytes.Buffer
	ready chan struct{}
}

func (k *killing) start(first int64) *victim {
	k.Helper()
	file := filepath.Join(k.dir, fmt.Sprint(len(k.files)))
	k.files = append(k.files, file)
	v := &victim{cmd: exec.Command(os.Args[0]), err: new(bytes.Buffer), ready: make(chan struct{})}
	v.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %s", killedVariable, k.s.name, file, first, k.s.dsn))
	v.cmd.Stderr = v.err
	stdin, err := v.cmd.StdinPipe()
	if err != nil {
		k.Fatal(err)
	}
	v.stdin = stdin
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		k.Fatal(err)
	}
	go func() {
		defer close(v.ready)
		bufio.NewScanner(stdout).Scan()
	}()
	return v
}

// stop ends a process that was not killed.
func (k *killing) stop(v *victim) {
	k.Helper()
	_ = v.stdin.Close()
	if err := v.cmd.Wait(); err != nil {
		k.Errorf("a process ended with %v: %s", err, v.err)
	}
}

// testKills kills processes that create groups and flows and run their members, in steps. Every
// callback exists once and runs, no step runs again that is stored, and nothing waits for
// ever.
func (d Driver) testKills(t *testing.T) {
	kills := 15
	if long() {
		kills = 500
	}
	k := &killing{T: t, s: d.schema(t), dir: t.TempDir()}
	b := k.s.open(t, &postgres.Options{Schema: k.s.name})
	k.s.exec(t, "CREATE TABLE "+k.s.name+"_effects (job bigint NOT NULL)")
	t.Cleanup(func() { k.s.exec(t, "DROP TABLE "+k.s.name+"_effects") })
	var all [3]*victim
	first := int64(1)
	next := func() *victim {
		first += 1_000_000
		return k.start(first)
	}
	for i := range all {
		all[i] = next()
	}
	for range kills {
		i := rand.IntN(len(all))
		<-all[i].ready
		timer := time.NewTimer(time.Duration(rand.IntN(100)) * time.Millisecond)
		<-timer.C
		if err := all[i].cmd.Process.Kill(); err != nil {
			t.Errorf("a process was over: %v: %s", err, all[i].err)
		}
		_ = all[i].cmd.Wait() // it was killed
		all[i] = next()
	}
	for _, v := range all {
		<-v.ready
		k.stop(v)
	}
	last := k.start(0)
	q := plainjobs.New(b, nil)
	for deadline := time.Now().Add(3 * time.Minute); !k.ended(q); {
		if time.Now().After(deadline) {
			t.Fatal("some jobs wait for ever")
		}
	}
	k.stop(last)
	k.judge(q)
}

// ended seals the groups whose creators died, and reports whether all groups and jobs have
// ended.
func (k *killing) ended(q *plainjobs.Queue) bool {
	k.Helper()
	open, _, err := q.Groups(k.Context(), true, 0, 1000)
	if err != nil {
		k.Fatal(err)
	}
	for _, g := range open {
		if !g.Sealed {
			if err := q.GroupByID(g.ID).Seal(k.Context()); err != nil {
				k.Fatal(err)
			}
		}
	}
	unfinished := 0
	query := k.s.in(`SELECT count(*) FROM {s}.job WHERE state < 5`)
	if err := k.s.db.QueryRowContext(k.Context(), query).Scan(&unfinished); err != nil {
		k.Fatal(err)
	}
	return len(open) == 0 && unfinished == 0
}

// A notedStep is a step of a job.
type notedStep struct {
	job    int64
	number int
}

// notes are what the processes have noted.
type notes struct {
	groups, members, callbacks map[int64]int
	runs                       map[notedStep][]int64 // when the step ran
	stored                     map[notedStep]int64   // when it was stored at first
	depends                    map[int64][]int64     // on what jobs depend
}

// read reads the files. The death of a process may have cut the last line.
func (k *killing) read() notes {
	k.Helper()
	n := notes{map[int64]int{}, map[int64]int{}, map[int64]int{}, map[notedStep][]int64{}, map[notedStep]int64{}, map[int64][]int64{}}
	for _, name := range k.files {
		text, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			k.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var kind string
			var id, at int64
			var step int
			if _, err := fmt.Sscan(line, &kind, &id, &step, &at); err != nil || !strings.HasSuffix(line, "\n") {
				continue
			}
			switch s := (notedStep{id, step}); kind {
			case "group":
				n.groups[id]++
			case "member":
				n.members[id]++
			case "callback":
				n.callbacks[id]++
			case "depends":
				n.depends[id] = append(n.depends[id], at)
			case "step":
				n.runs[s] = append(n.runs[s], at)
			case "stored":
				if n.stored[s] == 0 || at < n.stored[s] {
					n.stored[s] = at
				}
			default:
				k.Errorf("a process noted %q", line)
			}
		}
	}
	return n
}

// judge compares what is stored with what the processes have noted.
func (k *killing) judge(q *plainjobs.Queue) {
	k.Helper()
	n := k.read()
	for s, runs := range n.runs {
		for _, at := range runs {
			if stored := n.stored[s]; stored != 0 && at > stored {
				k.Errorf("step %d of job %d ran %d µs after it was stored", s.number, s.job, at-stored)
			}
		}
	}
	for job, needs := range n.depends {
		for _, at := range n.runs[notedStep{job, 1}] {
			for _, need := range needs {
				if stored := n.stored[notedStep{need, 2}]; stored == 0 || stored > at {
					k.Errorf("job %d ran before job %d, on which it depends, was done", job, need)
				}
			}
		}
	}
	groups, members := 0, int64(0)
	for before := int64(0); ; {
		page, next, err := q.Groups(k.Context(), false, before, 1000)
		if err != nil {
			k.Fatal(err)
		}
		for i := range page {
			groups++
			members += page[i].Total
			delete(n.groups, page[i].ID)
			k.judgeGroup(q, &page[i], n)
		}
		if before = next; before == 0 {
			break
		}
	}
	if len(n.groups) > 0 {
		k.Errorf("%d groups were created and are not there", len(n.groups))
	}
	for id := range n.members {
		if _, err := q.Get(k.Context(), id); err != nil {
			k.Errorf("member %d was stored: %v", id, err)
		}
	}
	wrong := 0
	query := k.s.in(`SELECT count(*) FROM (
		SELECT j.id, j.state, (SELECT count(*) FROM {s}_effects e WHERE e.job = j.id) AS n FROM {s}.job j WHERE j.name = 'part') j
		WHERE n <> CASE state WHEN 5 THEN 1 ELSE 0 END`)
	if err := k.s.db.QueryRowContext(k.Context(), query).Scan(&wrong); err != nil || wrong > 0 {
		k.Errorf("%d jobs have had their effect otherwise than once, %v", wrong, err)
	}
	k.Logf("%d processes, %d groups, %d members, %d callbacks ran, %d steps stored, %d jobs depend on others",
		len(k.files), groups, members, len(n.callbacks), len(n.stored), len(n.depends))
}

// judgeGroup checks the counts of a group that has ended, and its callbacks.
func (k *killing) judgeGroup(q *plainjobs.Queue, g *plainjobs.GroupInfo, n notes) {
	k.Helper()
	stored := [3]int64{}
	query := k.s.in(`SELECT count(*), count(*) FILTER (WHERE j.state = 5), count(*) FILTER (WHERE j.state = 6)
		FROM {s}.gate_member m JOIN {s}.job j ON j.id = m.job WHERE m.gate = $1`)
	if err := k.s.db.QueryRowContext(k.Context(), query, g.ID).Scan(&stored[0], &stored[1], &stored[2]); err != nil {
		k.Fatal(err)
	}
	if want := [3]int64{g.Total, g.Done, g.Failed}; stored != want || g.Open != 0 {
		k.Errorf("group %d counts %v members, done and failed ones, and there are %v", g.ID, want, stored)
	}
	want := map[string]plainjobs.State{"OnEnd": plainjobs.Done, "OnDone": plainjobs.Done}
	if g.Failed > 0 {
		want["OnDone"], want["OnFailure"] = plainjobs.Cancelled, plainjobs.Done
	}
	callbacks, _, err := q.List(k.Context(), plainjobs.Filter{CallbackOf: g.ID}, 0, 100)
	if err != nil {
		k.Fatal(err)
	}
	for _, c := range callbacks {
		if want[c.CallbackOn] != c.State || (n.callbacks[c.ID] > 0) != (c.State == plainjobs.Done) {
			k.Errorf("callback %s of group %d is %v, and ran %d times: %+v", c.CallbackOn, g.ID, c.State, n.callbacks[c.ID], g)
		}
		delete(want, c.CallbackOn)
	}
	if len(want) > 0 {
		k.Errorf("group %d lacks callbacks, or has two of one kind: %v", g.ID, want)
	}
}
