package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// scripted is how often a script repeats its calls.
const scripted = 50

// ScriptSchedule is the schedule of a script. Its ticks are a second apart,
// from ScriptBegins on, and push tasks with numbers from ScriptTicks on.
const (
	ScriptSchedule = "script"
	ScriptTicks    = 1_000_000
)

// ScriptBegins is the first tick.
var ScriptBegins = time.Unix(1_700_000_000, 0)

// script calls the methods of the store that write, one after the other, so
// that a point belongs to one of them, until the point ends the process. Only
// pushes come from two goroutines at once, so that they share transactions.
// Finished jobs have no retention, so that there is something to prune.
func (c *child) script(ctx context.Context) error {
	go c.obey(func() {})
	j, err := openJournal(c.Ledger)
	if err != nil {
		return err
	}
	points := newPoints(c.Point, c.Hit)
	opts := c.options()
	opts.History = backend.History{Done: time.Microsecond}
	b, err := c.openWith(points, opts)
	if err != nil {
		return err
	}
	r := newRecorder(b, j)
	r.point = points.reach
	s := &script{child: c, recorder: r, points: points, next: c.First}
	s.self = backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "script", Lease: c.Lease, Schedules: []string{ScriptSchedule}}
	c.say(Reply{Ready: true})
	for i := range scripted {
		if err := s.round(ctx, i); err != nil {
			return err
		}
	}
	return b.Close()
}

type script struct {
	*child
	*recorder
	points *points
	next   int64
	self   backend.Worker
}

func (s *script) round(ctx context.Context, number int) error {
	s.points.during("push")
	first, errs := s.next, make(chan error, 2)
	s.next += 2 * scriptBatch
	for i := range cap(errs) {
		go func() { errs <- s.push(ctx, first+int64(i)*scriptBatch) }()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		return err
	}
	jobs, err := s.claim(ctx, s.self, 4)
	if err != nil {
		return err
	}
	s.points.during("heartbeat")
	// On a busy machine it may have been reaped by itself.
	if _, err := s.Heartbeat(ctx, backend.HeartbeatRequest{Worker: s.self}); err != nil && !errors.Is(err, backend.ErrWorkerGone) {
		return err
	}
	if err := s.end(ctx, jobs); err != nil {
		return err
	}
	s.points.during("operate")
	if _, err := s.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{States: []backend.State{backend.Scheduled}}}); err != nil {
		return err
	}
	if err := s.tick(ctx, number); err != nil {
		return err
	}
	if err := s.leave(ctx); err != nil {
		return err
	}
	// A worker whose lease expires leaves one job to be rescued.
	expiring := backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "expiring", Lease: time.Millisecond}
	if _, err := s.claim(ctx, expiring, 1); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Millisecond); time.Now().Before(end); { // past its lease
	}
	s.points.during("reap")
	_, err = s.Reap(ctx, backend.ReapRequest{Expired: true})
	return err
}

// tick takes a tick of the schedule, and reports the job that it pushed.
func (s *script) tick(ctx context.Context, number int) error {
	s.points.during("define")
	due := func(i int) time.Time { return ScriptBegins.Add(time.Duration(i) * time.Second) }
	if err := s.Define(ctx, []backend.Schedule{{Name: ScriptSchedule, Definition: "d", Next: due(number)}}); err != nil {
		return err
	}
	task := Task{N: ScriptTicks + int64(number)}
	payload, err := json.Marshal(task)
	if err != nil {
		return err
	}
	s.points.during("tick")
	taken, err := s.Tick(ctx, backend.Tick{
		Name: ScriptSchedule, Definition: "d", Due: due(number), Next: due(number + 1),
		Jobs: []backend.NewJob{{Name: even.Name(), Payload: payload, MaxAttempts: 3}},
	})
	if err != nil || !taken {
		return errors.Join(err, fmt.Errorf("tick %d: taken is %v", number, taken))
	}
	s.points.during("")
	newest, err := s.List(ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{even.Name()}}, Limit: 1})
	if err != nil || len(newest.Jobs) != 1 {
		return errors.Join(err, fmt.Errorf("tick %d has %d jobs", number, len(newest.Jobs)))
	}
	s.say(Reply{IDs: []int64{newest.Jobs[0].ID}, Numbers: []int64{task.N}})
	return nil
}

// leave registers a worker that claims a job and leaves.
func (s *script) leave(ctx context.Context) error {
	guest := backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "guest", Lease: s.Lease}
	if _, err := s.claim(ctx, guest, 1); err != nil {
		return err
	}
	s.points.during("leave")
	_, err := s.Heartbeat(ctx, backend.HeartbeatRequest{Worker: guest, Leave: true})
	return err
}

// scriptBatch is how many jobs a script pushes in one call.
const scriptBatch = 5

// push pushes a batch.
func (s *script) push(ctx context.Context, first int64) error {
	tasks := make([]plainjobs.Task, scriptBatch)
	reply := Reply{}
	for i := range tasks {
		t := Task{N: first + int64(i), Batch: first, Size: scriptBatch}
		tasks[i] = t.task()
		reply.Numbers = append(reply.Numbers, t.N)
	}
	ids, err := plainjobs.New(s.Backend, nil).PerformMany(ctx, tasks...)
	if err != nil {
		return err
	}
	reply.IDs = ids
	s.say(reply)
	return nil
}

func (s *script) claim(ctx context.Context, w backend.Worker, limit int) ([]backend.Job, error) {
	s.points.during("claim")
	return s.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{even.Name(), odd.Name()}, Limit: limit})
}

// end settles jobs in different ways.
func (s *script) end(ctx context.Context, jobs []backend.Job) error {
	var done []backend.Completion
	var failures []backend.Failure
	var progress []backend.Progress
	for i := range jobs {
		progress = append(progress, backend.Progress{Lease: jobs[i].Lease, Done: int64(i), Total: 4})
	}
	s.points.during("progress")
	if err := s.StoreProgress(ctx, progress); err != nil {
		return err
	}
	for i := range jobs {
		j := &jobs[i]
		s.one(NoteStarted, fmt.Sprintf("%d %d %d", j.Token, j.ID, j.Attempt))
		f := backend.Failure{Lease: j.Lease, Error: "scripted"}
		outcome := OutcomeFail
		switch i % 4 {
		case 0, 1:
			outcome = OutcomeDone
			done = append(done, backend.Completion{Lease: j.Lease})
		case 2:
			f.Ending, f.Delay = backend.EndRetry, 20*time.Millisecond
			failures = append(failures, f)
		case 3:
			f.Ending = backend.EndRelease
			failures = append(failures, f)
		}
		s.one(NoteEnded, fmt.Sprintf("%d %s", j.Token, outcome))
	}
	s.points.during("complete")
	if _, err := s.Complete(ctx, done); err != nil {
		return err
	}
	s.points.during("fail")
	_, err := s.Fail(ctx, failures)
	return err
}
