package child

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// scripted is how often a script goes through all of its calls.
const scripted = 50

// script calls every method of the store in turn, one call at a time, so that
// a point belongs to one call, until its point ends the process. Finished jobs
// are kept for a moment only, so that there is something to prune.
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
	s.self = backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "script", Lease: c.Lease}
	c.say(Reply{Ready: true})
	for range scripted {
		if err := s.round(ctx); err != nil {
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

func (s *script) round(ctx context.Context) error {
	if err := s.push(ctx); err != nil {
		return err
	}
	jobs, err := s.claim(ctx, s.self, 4)
	if err != nil {
		return err
	}
	s.points.during("beat")
	// On a busy machine it may have reaped itself.
	if _, err := s.Beat(ctx, backend.BeatRequest{Worker: s.self}); err != nil && !errors.Is(err, backend.ErrWorkerGone) {
		return err
	}
	if err := s.end(ctx, jobs); err != nil {
		return err
	}
	// A worker that is forgotten leaves one job to be rescued.
	mortal := backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "mortal", Lease: time.Millisecond}
	if _, err := s.claim(ctx, mortal, 1); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Millisecond); time.Now().Before(end); { // past its lease
	}
	s.points.during("reap")
	_, err = s.Reap(ctx, backend.ReapRequest{Expired: true})
	return err
}

// push pushes a batch.
func (s *script) push(ctx context.Context) error {
	s.points.during("push")
	const n = 5
	tasks := make([]plainjobs.Task, n)
	reply := Reply{}
	for i := range tasks {
		t := Task{N: s.next + int64(i), Batch: s.next, Size: n}
		tasks[i] = t.performed()
		reply.Numbers = append(reply.Numbers, t.N)
	}
	s.next += n
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

// end settles jobs, each in another way.
func (s *script) end(ctx context.Context, jobs []backend.Job) error {
	var done []backend.Completion
	var failures []backend.Failure
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
			f.Ending = backend.EndRetry
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
