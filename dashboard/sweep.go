package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A sweep applies a verb to all jobs that match a filter, page by page: the newest first,
// and one state after the other in the order of a job's life, so that a job which moves on
// meanwhile is met in its next state. It goes on if the page is closed. If its process
// ends, it ends: its record says so, and a person decides whether to go on.
type sweep struct {
	*handler
	r        *http.Request // of its sender
	by       string
	verb     *verb
	filter   filter
	priority *int16
	top      int64 // the newest job; later ones are left alone
	hidden   bool  // some jobs are left out
	action   plainjobs.Action

	state   int   // how many states are done
	below   int64 // the next page of the state, or zero before its first page
	left    int   // jobs that stay as they are, because of:
	taken   bool  // their unique keys
	dropped bool  // their payloads, which are deleted
}

// sweeps are those of this process, by the IDs of their actions.
type sweeps struct {
	mu      sync.Mutex
	running map[int64]context.CancelFunc
}

const (
	// sweepRecord is how often the progress is recorded, and sweepSilent how long a sweep
	// whose process is there may take for it.
	sweepRecord = time.Second
	sweepSilent = 30 * time.Second
	// sweepPatience is how long a sweep tries to go on after errors.
	sweepPatience = time.Minute
)

// ended reports whether all pages of all states are done.
func (s *sweep) ended() bool { return s.state >= len(s.verb.of(s.filter.States)) }

// page returns the jobs of the next page that the sender may change, in a bounded time.
func (s *sweep) page(ctx context.Context, rq *request, size int) (ids []int64, err error) {
	f := s.filter.Filter
	f.States = []plainjobs.State{s.verb.of(s.filter.States)[s.state]}
	search := search{handler: s.handler, rq: rq, filter: f, payload: s.filter.Payload, before: cmp.Or(s.below, s.top+1), most: size}
	if err := search.run(ctx); err != nil {
		return nil, err
	}
	for i := range search.jobs {
		if rq.may(s.verb.action, search.jobs[i].Name) {
			ids = append(ids, search.jobs[i].ID)
		}
	}
	if s.below = search.next; s.below == 0 {
		s.state++
	}
	return ids, nil
}

// sweep begins what the page "change" has asked.
func (d *deed) sweep(ctx context.Context, w http.ResponseWriter) error {
	d.form.Set("do", d.form.Get("verb"))
	v, f, err := d.rq.choice(d.form)
	if err != nil {
		return err
	}
	priority, err := d.priority(v)
	if err != nil {
		return err
	}
	top, err := jobID(d.form.Get("top"))
	if err != nil {
		return err
	}
	total, err := strconv.ParseInt(d.form.Get("total"), 10, 64)
	if err != nil || total < 0 {
		total = -1
	}
	r := d.rq.r.Clone(context.WithoutCancel(ctx))
	s := &sweep{handler: d.h, r: r, by: d.h.who(d.rq.r), verb: v, filter: f, priority: priority, top: top}
	if some, err := d.rq.maySome(ctx, v.action); err != nil || !some {
		return cmp.Or(err, refused(v.action, ""))
	}
	s.action, err = d.h.record(ctx, s.by, plainjobs.Action{What: string(v.action), On: s.on(), Total: total})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(r.Context())
	all := &d.h.sweeps
	all.mu.Lock()
	if all.running == nil {
		all.running = map[int64]context.CancelFunc{}
	}
	all.running[s.action.ID] = cancel
	all.mu.Unlock()
	go s.run(running)
	w.Header().Set("Location", "action?id="+strconv.FormatInt(s.action.ID, 10))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// maySome reports whether the sender may take an action on some name.
func (rq *request) maySome(ctx context.Context, a Action) (bool, error) {
	counts, err := rq.h.queue.Counts(ctx)
	for _, c := range counts {
		if rq.maySee(c.Name) && rq.may(a, c.Name) {
			return true, err
		}
	}
	return false, err
}

// on describes the jobs for the record: the filter as it is in a URL, and the new priority.
// A text of payloads is not recorded.
func (s *sweep) on() string {
	q := s.filter.values()
	if s.filter.Payload != "" {
		q.Set("payload", "…")
	}
	if s.priority != nil {
		q.Set("priority", strconv.Itoa(int(*s.priority)))
	}
	if len(q) == 0 {
		return "all jobs"
	}
	text, err := url.QueryUnescape(q.Encode())
	if err != nil {
		return q.Encode()
	}
	return "all jobs with " + strings.ReplaceAll(text, "&", ", ")
}

// run changes page after page.
func (s *sweep) run(ctx context.Context) {
	defer func() {
		s.sweeps.mu.Lock()
		s.sweeps.running[s.action.ID]()
		delete(s.sweeps.running, s.action.ID)
		s.sweeps.mu.Unlock()
	}()
	size, recorded, well := engine.FirstPage, time.Now(), time.Now()
	for {
		began := time.Now()
		more, err := s.step(ctx, size)
		took := time.Since(began)
		switch {
		case ctx.Err() != nil:
			s.end("stopped")
			return
		case errors.Is(err, errRevoked) || errors.Is(err, backend.ErrClosed) || err != nil && time.Since(well) > sweepPatience:
			s.end("stopped: " + strings.TrimPrefix(err.Error(), "plainjobs: "))
			return
		case err == nil && !more:
			s.end(s.outcome())
			return
		case err == nil:
			well = began
		}
		if time.Since(recorded) >= sweepRecord {
			recorded = time.Now()
			if a, err := s.record(ctx, s.by, s.action); err == nil && a.End != "" {
				s.end("") // another process has ended it
				return
			}
		}
		size = engine.PageSize(size, took)
		// Half of the time is for others.
		pause := min(max(took, time.Millisecond), 100*time.Millisecond)
		if err != nil {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

var errRevoked = errors.New("its sender may not do this any more")

// step changes a page of jobs. The roles are asked for again.
func (s *sweep) step(ctx context.Context, size int) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	rq := s.request(s.r)
	switch some, err := rq.maySome(ctx, s.verb.action); {
	case err != nil:
		return true, err
	case !some:
		return false, errRevoked
	}
	state, below := s.state, s.below
	ids, err := s.page(ctx, rq, size)
	if err == nil && len(ids) > 0 {
		f := s.filter.Filter
		f.IDs, f.States = ids, []plainjobs.State{s.verb.of(s.filter.States)[state]}
		var n int
		n, err = s.verb.apply(s.queue, ctx, f, s.priority)
		s.action.Jobs += int64(n)
		if leavesSome(err) {
			s.left += len(ids) - n
			s.taken, s.dropped = s.taken || errors.Is(err, plainjobs.ErrDuplicate), s.dropped || errors.Is(err, plainjobs.ErrDropped)
			err = nil
		}
	}
	if err != nil {
		s.state, s.below = state, below // again: an error means that nothing was changed
		return true, err
	}
	return !s.ended(), nil
}

// outcome says how the sweep ended that went through all jobs.
func (s *sweep) outcome() string {
	if s.left > 0 {
		var why []string
		if s.taken {
			why = append(why, "their unique keys are taken")
		}
		if s.dropped {
			why = append(why, "their payloads were deleted when they ended")
		}
		return fmt.Sprintf("done, but %s stay as they are: %s", plural(int64(s.left), "job"), strings.Join(why, ", or "))
	}
	return done
}

// end records the end. The context of the sweep may have ended.
func (s *sweep) end(text string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.r.Context()), readWait)
	defer cancel()
	s.action.End = text
	_, _ = s.record(ctx, s.by, s.action) // the log has it in any case
}

// stop ends a sweep of this process or of another.
func (d *deed) stop(ctx context.Context, w http.ResponseWriter) error {
	id, err := jobID(d.form.Get("id"))
	if err != nil {
		return err
	}
	a, found, err := d.h.action(ctx, d.rq, id)
	switch {
	case err != nil:
		return err
	case !found:
		return noAction(id)
	case a.By != d.h.who(d.rq.r) && !d.rq.may(Action(a.What), ""):
		return refused(Action(a.What), "")
	}
	a.End = "stopped by " + d.h.who(d.rq.r)
	if _, err := d.h.record(ctx, a.By, a); err != nil {
		return err
	}
	d.h.sweeps.mu.Lock()
	if cancel := d.h.sweeps.running[id]; cancel != nil {
		cancel()
	}
	d.h.sweeps.mu.Unlock()
	w.Header().Set("Location", "action?id="+strconv.FormatInt(id, 10))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func noAction(id int64) error {
	return &problem{status: http.StatusNotFound, title: "There is no such action", hold: true, text: fmt.Sprintf("Action %s does not exist, or is not yours to see. The latest %s actions are kept.", grouped(id), grouped(backend.KeepActions))}
}
