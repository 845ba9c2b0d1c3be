package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

const years = 50 * 365 * 24 * time.Hour

var keyMutants = []mutant{{
	rule:     "a unique key is read and then inserted",
	rejected: []string{"unique/race"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &ownUnique{Backend: m, flaw: true} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &ownUnique{Backend: m} },
}, {
	rule:     "unique keys are ignored",
	rejected: []string{"unique/taken", "unique/batch", "unique/one-live", "schedule/keep-first"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Unique = backend.Unique{} }}),
}, {
	rule:     "a unique key is kept when its job has ended",
	rejected: []string{"unique/until-finished", "unique/until-started"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Unique.Key != "" && j.Unique.Conflict != backend.Replace {
			j.Unique.For = years
		}
	}}),
}, {
	rule:     "a unique key is given back when its job starts",
	rejected: []string{"unique/until-finished"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Unique.Key != "" {
			j.Unique.Scope = backend.UntilStarted
		}
	}}),
}, {
	rule:     "a unique key is kept no longer than its job",
	rejected: []string{"unique/for", "unique/for-history", "operate/free"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Unique.For = 0 }}),
}, {
	rule:     "a unique key outlives its job that is cancelled or deleted",
	rejected: []string{"unique/for-cancelled", "operate/delete-keys", "expiry/keys"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &keysOutlive{Backend: m, ids: map[string]int64{}}
	},
}, {
	rule:     "a key is freed by deleting its job",
	rejected: []string{"operate/free"},
	make: alters(altered{operate: func(r *backend.OperateRequest) {
		if r.Op == backend.OpFree {
			r.Op = backend.OpDelete
		}
	}}),
}, {
	rule:     "a retry forgets its unique key",
	rejected: []string{"unique/retaken", "unique/superseded"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &forgetsKey{Backend: m, started: map[string]int{}, keys: map[int64]string{}}
	},
}, {
	rule:     "of two jobs that wait again the one pushed first has the key",
	rejected: []string{"unique/latest"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return earliestWins{m} },
}, {
	rule:     "a superseded job is revived",
	rejected: []string{"unique/superseded"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return revivesSuperseded{m} },
}, {
	rule:     "Replace keeps the first",
	rejected: []string{"unique/replace", "unique/replace-batch", "unique/replace-started", "unique/replace-blocked"},
	make: alters(altered{push: func(j *backend.NewJob) {
		if j.Unique.Conflict == backend.Replace {
			j.Unique.Conflict = backend.KeepFirst
		}
	}}),
}, {
	rule:     "Reject keeps the first",
	rejected: []string{"unique/reject"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Unique.Conflict = backend.KeepFirst }}),
}, {
	rule:     "what precedes a refused job in its batch is stored",
	rejected: []string{"unique/reject", "unique/replace-started", "limit/max-pending"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return storesHalf{m} },
}, {
	rule:     "serial keys are ignored",
	rejected: []string{"serial/order", "serial/push-race", "serial/one-head", "wait/blocked"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Serial = "" }}),
}, {
	rule:     "a serial key is read and then taken",
	rejected: []string{"serial/push-race"},
	make:     newOwnSerial(looksFirst),
	sound:    newOwnSerial(sound),
}, {
	rule:     "a serial key is given back before the job ends, so that two run",
	rejected: []string{"serial/one-head"},
	make:     newOwnSerial(freesFirst),
	sound:    newOwnSerial(sound),
}, {
	rule:     "the next job with a serial key is any of them",
	rejected: []string{"serial/order", "serial/priority"},
	make:     newOwnSerial(anyNext),
	sound:    newOwnSerial(sound),
}, {
	rule:     "a serial key is given back when its job waits again",
	rejected: []string{"serial/head-waits"},
	make:     newOwnSerial(freesRetry),
}, {
	rule:     "an expired job is claimed",
	rejected: []string{"expiry/claim", "expiry/many", "expiry/reap", "expiry/keys"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Expires = 0 }}),
}, {
	rule:     "metadata is lost",
	rejected: []string{"push/metadata", "read/payloads"},
	make:     alters(altered{push: func(j *backend.NewJob) { j.Metadata = nil }}),
}}

// keysOutlive remembers who had a key.
type keysOutlive struct {
	*memory.Backend
	mu  sync.Mutex
	ids map[string]int64
}

func (b *keysOutlive) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := jobs[0].Name + "\x00" + jobs[0].Unique.Key
	if id := b.ids[key]; id != 0 {
		if _, err := b.Get(ctx, id); err != nil || jobs[0].Unique.For > 0 || jobs[0].Expires > 0 {
			return []backend.Pushed{{ID: id, Duplicate: true}}, nil
		}
	}
	pushed, err := b.Backend.Push(ctx, jobs)
	if err == nil && jobs[0].Unique.Key != "" {
		b.ids[key] = pushed[0].ID
	}
	return pushed, err
}

// ownUnique finds duplicates of single pushes itself.
type ownUnique struct {
	*memory.Backend
	flaw bool
	gap  gap
	push sync.Mutex // what makes it sound
	mu   sync.Mutex
	ids  map[string]int64
}

func (b *ownUnique) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	jobs = slices.Clone(jobs)
	key := jobs[0].Unique.Key
	jobs[0].Unique = backend.Unique{}
	if !b.flaw {
		b.push.Lock()
		defer b.push.Unlock()
	}
	b.mu.Lock()
	id := b.ids[key]
	b.mu.Unlock()
	if id != 0 {
		return []backend.Pushed{{ID: id, Duplicate: true}}, nil
	}
	if b.flaw {
		b.gap.visit(1)
	}
	pushed, err := b.Backend.Push(ctx, jobs)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids == nil {
		b.ids = map[string]int64{}
	}
	b.ids[key] = pushed[0].ID
	return pushed, err
}

// forgetsKey has another key for what is pushed after a job was started.
type forgetsKey struct {
	*memory.Backend
	started map[string]int
	keys    map[int64]string
}

func (b *forgetsKey) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := b.Backend.Push(ctx, each(jobs, func(j *backend.NewJob) {
		j.Unique.Key = fmt.Sprint(j.Unique.Key, b.started[j.Name+" "+j.Unique.Key])
	}))
	for i, p := range pushed {
		b.keys[p.ID] = jobs[i].Name + " " + jobs[i].Unique.Key
	}
	return pushed, err
}

func (b *forgetsKey) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	jobs, err := b.Backend.Claim(ctx, req)
	for _, j := range jobs {
		b.started[b.keys[j.ID]]++
	}
	return jobs, err
}

// earliestWins ends a job that comes back when another waits with its key.
type earliestWins struct{ *memory.Backend }

func (b earliestWins) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	failures = slices.Clone(failures)
	for i := range failures {
		f := &failures[i]
		info, err := b.Get(ctx, f.ID)
		if err != nil || info.UniqueKey == "" {
			continue
		}
		page, err := b.List(ctx, backend.ListRequest{Filter: backend.Filter{Names: []string{info.Name}, Key: info.UniqueKey}})
		if err != nil {
			return nil, err
		}
		for _, j := range page.Jobs {
			if j.State.Waits() && j.ID < f.ID {
				f.Ending, f.Error = backend.EndCancelled, superseded(j.ID)
			}
		}
	}
	return b.Backend.Fail(ctx, failures)
}

type revivesSuperseded struct{ *memory.Backend }

func (b revivesSuperseded) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	lost, err := b.Backend.Fail(ctx, failures)
	for _, f := range failures {
		info, _ := b.Get(ctx, f.ID)
		if n := len(info.Errors); n > 0 && strings.HasPrefix(info.Errors[n-1].Error, backend.SupersededError) {
			_, err = b.Push(ctx, []backend.NewJob{{Name: info.Name, Payload: info.Payload, MaxAttempts: 1}})
		}
	}
	return lost, err
}

type storesHalf struct{ *memory.Backend }

func (b storesHalf) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	pushed, err := b.Backend.Push(ctx, jobs)
	index := 0
	if d, ok := errors.AsType[*backend.DuplicateError](err); ok {
		index = d.Index
	}
	if f, ok := errors.AsType[*backend.QueueFullError](err); ok {
		index = f.Index
	}
	_, _ = b.Backend.Push(ctx, jobs[:index])
	return pushed, err
}
