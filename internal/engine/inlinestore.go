package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// An inlineJob is a recorded job.
type inlineJob struct {
	lifecycle.Job
	info  backend.Info // without what lifecycle.Job has
	scope backend.Scope
	// gated is set while the job waits behind a gate. Its times count from then.
	gated          bool
	delay, expires time.Duration
	steps          []backend.Step
}

// An inlineKey is a unique or serial key, which each name has its own of.
type inlineKey struct{ name, key string }

func (j *inlineJob) unique() inlineKey { return inlineKey{j.info.Name, j.info.UniqueKey} }

// queues reports whether j has the serial key of o.
func (j *inlineJob) queues(o *inlineJob) bool {
	return j != o && j.info.SerialKey != "" && j.info.SerialKey == o.info.SerialKey && j.info.Name == o.info.Name
}

// before reports whether j runs before o, at now, to which those for later are
// made to wait no longer.
func (j *inlineJob) before(o *inlineJob, now int64) bool {
	return cmp.Or(cmp.Compare(o.Priority, j.Priority), cmp.Compare(min(j.RunAt, now), min(o.RunAt, now)), cmp.Compare(j.info.ID, o.info.ID)) < 0
}

// claimed returns j, which runs, as a worker gets it.
func (j *inlineJob) claimed() *backend.Job {
	i := &j.info
	return &backend.Job{
		Lease: backend.Lease{ID: i.ID, Token: j.Token}, Name: i.Name, Payload: i.Payload, Priority: j.Priority,
		Attempt: j.Failures + 1, MaxAttempts: i.MaxAttempts, CreatedAt: i.CreatedAt, RunAt: lifecycle.Time(j.RunAt), Metadata: i.Metadata,
		UniqueKey: i.UniqueKey, SerialKey: i.SerialKey, Gating: i.Gating, HasSteps: len(j.steps) > 0,
	}
}

func micros() int64 { return lifecycle.Micros(time.Now()) }

// Record stores jobs of a transaction without running them.
func (q *Queue) Record(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	s, ok := q.Backend.(*Inline)
	if !ok {
		return q.Backend.Push(ctx, jobs)
	}
	pushed, _, err := s.add(jobs, false)
	return pushed, err
}

// add records jobs, all or none, and returns those that are to be run at once.
func (s *Inline) add(jobs []backend.NewJob, run bool) (pushed []backend.Pushed, runs []*inlineJob, err error) {
	if err := check.NewJobs(jobs); err != nil {
		return nil, nil, err
	}
	jobs, err = lifecycle.CountFrom(jobs, time.Now())
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	recorded, keys := s.jobs, maps.Clone(s.keys)
	var replaced []replacedJob
	for i := range jobs {
		var p backend.Pushed
		var j *inlineJob
		var err error
		if g := jobs[i].Gating; g != nil {
			err = s.takes(g, micros())
		}
		if err == nil {
			p, j, err = s.addOne(i, &jobs[i], run && jobs[i].Delay == 0 && !lifecycle.Gated(&jobs[i]), &replaced)
		}
		if err != nil {
			s.jobs, s.keys = recorded, keys
			for _, r := range slices.Backward(replaced) {
				*r.job = r.was
			}
			return nil, nil, err
		}
		if pushed = append(pushed, p); j != nil {
			runs = append(runs, j)
		}
	}
	now := micros()
	for i, p := range pushed {
		if g := jobs[i].Gating; g != nil {
			s.enter(s.find(p.ID), g, now)
		}
	}
	if !s.Keep {
		s.forget()
	}
	return pushed, runs, nil
}

// A replacedJob is a recorded job and what it was.
type replacedJob struct {
	job *inlineJob
	was inlineJob
}

// addOne records a job and returns it if it is to be run. The caller holds mu.
func (s *Inline) addOne(index int, n *backend.NewJob, run bool, replaced *[]replacedJob) (backend.Pushed, *inlineJob, error) {
	now := micros()
	if u := n.Unique; u.Key != "" {
		if k := s.keys[inlineKey{n.Name, u.Key}]; k.Taken(0, now) {
			owner := s.find(k.Job)
			switch waits := owner != nil && owner.State.Waits(); {
			case u.Conflict == backend.Reject, u.Conflict == backend.Replace && !waits:
				return backend.Pushed{}, nil, &backend.DuplicateError{Index: index, Name: n.Name, Key: u.Key, ID: k.Job}
			case u.Conflict == backend.Replace:
				*replaced = append(*replaced, replacedJob{owner, *owner})
				owner.Job = owner.Replace(n, now)
				owner.info.Payload, owner.info.Metadata = n.Payload, n.Metadata
			}
			return backend.Pushed{ID: k.Job, Duplicate: true}, nil, nil
		}
	}
	if n.MaxPending > 0 && !run {
		waiting := int64(0)
		for _, j := range s.jobs {
			if j.info.Name == n.Name && j.State.Waits() {
				waiting++
			}
		}
		if waiting >= int64(n.MaxPending) {
			return backend.Pushed{}, nil, &backend.QueueFullError{Index: index, Name: n.Name, Waiting: waiting, MaxPending: n.MaxPending}
		}
	}
	s.last++
	j := &inlineJob{lifecycle.New(n, now), backend.Info{
		ID: s.last, Name: n.Name, Payload: n.Payload, MaxAttempts: n.MaxAttempts, CreatedAt: lifecycle.Time(now),
		UniqueKey: n.Unique.Key, SerialKey: n.Serial, FairKey: n.Fair, Metadata: n.Metadata,
	}, n.Unique.Scope, false, n.Delay, n.Expires, nil}
	if n.Unique.Key != "" {
		s.setKey(j, lifecycle.NewKey(s.last, n.Unique, now))
	}
	if lifecycle.Gated(n) {
		j.Job, j.gated = lifecycle.Behind(n, now), true
		s.jobs = append(s.jobs, j)
		return backend.Pushed{ID: j.info.ID}, nil, nil
	}
	if s.jobs = append(s.jobs, j); !run {
		s.queueUp(j)
		return backend.Pushed{ID: j.info.ID}, nil, nil
	}
	s.start(j, now)
	return backend.Pushed{ID: j.info.ID}, j, nil
}

// find returns the recorded job with an ID, or nil.
func (s *Inline) find(id int64) *inlineJob {
	for _, j := range s.jobs {
		if j.info.ID == id {
			return j
		}
	}
	return nil
}

func (s *Inline) setKey(j *inlineJob, k lifecycle.Key) {
	if s.keys == nil {
		s.keys = map[inlineKey]lifecycle.Key{}
	}
	s.keys[j.unique()] = k
}

// start has j run. The caller holds mu.
func (s *Inline) start(j *inlineJob, now int64) {
	s.last++
	if j.Job = j.Claim(0, s.last); j.scope == backend.UntilStarted {
		s.releaseUnique(j, now)
	}
}

// startNext returns the job that a drain runs next, which has started, or nil.
// What has expired it ends.
func (s *Inline) startNext(d *Draining) *inlineJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		now := micros()
		for d.ended < len(s.jobs) && s.jobs[d.ended].State.Terminal() {
			d.ended++
		}
		var next *inlineJob
		for _, j := range s.jobs[d.ended:] {
			ending, ran := d.tried[j]
			due := j.RunAt <= now || d.future && !ran
			if ran {
				due = d.retries && ending == backend.EndRetry
			}
			if j.State.Waits() && j.State != backend.Blocked && due && (next == nil || j.before(next, now)) {
				next = j
			}
		}
		if next == nil {
			return nil
		}
		if !next.Expired(now) {
			s.start(next, now)
			return next
		}
		ended, e := next.Expire(now)
		s.settle(next, ended, e, now)
	}
}

// end records how a run ended. It returns the jobs that gates let through.
func (s *Inline) end(j *inlineJob, f *backend.Failure, result []byte) []*inlineJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := micros()
	if result != nil {
		j.info.Result = result
	}
	if f == nil {
		s.settle(j, j.Complete(&backend.Completion{}, now), backend.RunError{}, now)
		return s.takeReleased()
	}
	next, e := j.Fail(f, now)
	s.sleep(j, f, &next, now)
	s.settle(j, next, e, now)
	return s.takeReleased()
}

// release makes jobs wait that were to run.
func (s *Inline) release(jobs []*inlineJob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := micros()
	for _, j := range jobs {
		next, e := j.Release(now)
		s.settle(j, next, e, now)
	}
}

// settle makes a job that ran, or has expired, what next says, but for what its
// keys make of that. The caller holds mu.
func (s *Inline) settle(j *inlineJob, next lifecycle.Job, e backend.RunError, now int64) {
	from := j.State
	defer func() { s.count(j, from, j.State, now) }()
	j.Job, j.info.Errors = next, lifecycle.AppendError(j.info.Errors, e)
	asleep := next.Sleeps() && j.scope == backend.UntilStarted
	if k := s.keys[j.unique()]; next.State.Waits() && j.info.UniqueKey != "" && !asleep {
		other := s.find(k.Job)
		switch {
		case !k.Taken(j.info.ID, now):
			s.setKey(j, lifecycle.Key{Job: j.info.ID, Held: true, Until: k.Until})
		case other != nil && k.YieldsTo(j.info.ID, other.State, now):
			ended, e := other.Supersede(j.info.ID, now)
			s.settle(other, ended, e, now)
			s.setKey(j, lifecycle.Key{Job: j.info.ID, Held: true})
		default:
			next, e = j.Supersede(k.Job, now)
			j.Job, j.info.Errors = next, lifecycle.AppendError(j.info.Errors, e)
		}
	}
	if j.State.Waits() {
		s.queueUp(j)
		return
	}
	s.releaseUnique(j, now)
	s.unblock(j, now)
}

// releaseUnique gives back j's unique key, if j has it.
func (s *Inline) releaseUnique(j *inlineJob, now int64) {
	k, ok := s.keys[j.unique()]
	if !ok || k.Job != j.info.ID {
		return
	}
	if next, stays := k.Release(j.State, now); stays {
		s.setKey(j, next)
	} else {
		delete(s.keys, j.unique())
	}
}

// head returns another job that has j's serial key and is not blocked, or nil.
func (s *Inline) head(j *inlineJob) *inlineJob {
	for _, o := range s.jobs {
		if o.queues(j) && !o.State.Terminal() && o.State != backend.Blocked {
			return o
		}
	}
	return nil
}

// queueUp blocks j, which waits, if another job is the head of its serial key.
func (s *Inline) queueUp(j *inlineJob) {
	if s.head(j) != nil {
		j.State = backend.Blocked
	}
}

// unblock makes the next job of j's serial key, after j has ended, the head if
// there is none.
func (s *Inline) unblock(j *inlineJob, now int64) {
	if s.head(j) != nil {
		return
	}
	for _, o := range s.jobs {
		if o.queues(j) && o.State == backend.Blocked && !o.gated {
			o.Job = o.Ready(now)
			return
		}
	}
}

// show returns a recorded job as lists show it.
func (s *Inline) show(j *inlineJob, now int64) backend.Info {
	info := j.info
	j.Fill(&info)
	if k := s.keys[j.unique()]; k.Job == info.ID && k.Until > now {
		info.KeyUntil = lifecycle.Time(k.Until)
	}
	if head := s.head(j); j.State == backend.Blocked && !j.gated && head != nil {
		info.BlockedBy = head.info.ID
	}
	return info
}

// Get implements [backend.Reader].
func (s *Inline) Get(_ context.Context, id int64) (backend.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(id); j != nil {
		return s.show(j, micros()), nil
	}
	return backend.Info{}, fmt.Errorf("get %d: %w", id, backend.ErrNotFound)
}

// List implements [backend.Reader].
func (s *Inline) List(_ context.Context, req backend.ListRequest) (backend.Page, error) {
	limit, err := check.List(req)
	if err != nil {
		return backend.Page{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var page backend.Page
	now := micros()
	for _, j := range slices.Backward(s.jobs) {
		info := s.show(j, now)
		if req.Before != 0 && info.ID >= req.Before || !lifecycle.Matches(req.Filter, &info) {
			continue
		}
		if len(page.Jobs) == limit {
			page.Next = page.Jobs[limit-1].ID
			break
		}
		page.Jobs = append(page.Jobs, info)
	}
	return page, nil
}

// Count implements [backend.Reader].
func (s *Inline) Count(context.Context) (counts []backend.Count, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		i := slices.IndexFunc(counts, func(c backend.Count) bool { return c.Name == j.info.Name && c.State == j.State })
		if i < 0 {
			i, counts = len(counts), append(counts, backend.Count{Name: j.info.Name, State: j.State})
		}
		counts[i].Jobs++
	}
	slices.SortFunc(counts, func(a, b backend.Count) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.State, b.State))
	})
	return counts, nil
}

// Activity implements [backend.Reader]. An inline queue has no workers, which would send it.
func (s *Inline) Activity(context.Context, backend.ActivityRequest) (backend.Activities, error) {
	return backend.Activities{Now: time.Now()}, nil
}

// Workers implements [backend.Reader].
func (s *Inline) Workers(context.Context) ([]backend.WorkerInfo, error) { return nil, nil }
