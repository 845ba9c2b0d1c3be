package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var activityMutants = []mutant{{
	rule:     "heartbeats store no activity",
	rejected: []string{"activity/stored", "activity/kept"},
	make:     alters(altered{beat: func(r *backend.HeartbeatRequest) { r.Activity = nil }}),
}, {
	rule:     "the last heartbeat stores no activity",
	rejected: []string{"activity/unregistered"},
	make: alters(altered{beat: func(r *backend.HeartbeatRequest) {
		if r.Leave {
			r.Activity = nil
		}
	}}),
}, {
	rule:     "a repeated heartbeat counts again",
	rejected: []string{"activity/replaced"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &addsActivity{Backend: m, sent: map[activityID]int64{}}
	},
}, {
	rule:     "activity without a row is stored",
	rejected: []string{"activity/unregistered"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &moreActivity{Backend: m, keeps: func(_ *backend.HeartbeatRequest, _ backend.Activity, err error) bool {
			return errors.Is(err, backend.ErrWorkerGone)
		}}
	},
}, {
	rule:     "every minute is taken",
	rejected: []string{"activity/ignored", "activity/merged"},
	make: func(m *memory.Backend, c *Clock) backend.Backend {
		return &moreActivity{Backend: m, keeps: func(_ *backend.HeartbeatRequest, a backend.Activity, err error) bool {
			return err == nil && !lifecycle.TakesActivity(a.At, c.Now())
		}}
	},
}, {
	rule:     "activity is not checked",
	rejected: []string{"activity/invalid"},
	make: alters(altered{beat: func(r *backend.HeartbeatRequest) {
		if len(r.Activity) > 1 && r.Activity[0].At.Equal(r.Activity[1].At) && r.Activity[0].Name == r.Activity[1].Name {
			r.Activity = r.Activity[:1]
		}
	}}),
}, {
	rule:     "all activity is returned, whatever the time",
	rejected: []string{"activity/past"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return readsActivity{m, func(b *memory.Backend, ctx context.Context, r backend.ActivityRequest) (backend.Activities, error) {
			r.Past = 1000 * time.Hour
			return b.Activity(ctx, r)
		}}
	},
}, {
	rule:     "activity is returned by the minute only",
	rejected: []string{"activity/stored", "activity/merged"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return readsActivity{m, func(b *memory.Backend, ctx context.Context, r backend.ActivityRequest) (backend.Activities, error) {
			r.Hours = false
			return b.Activity(ctx, r)
		}}
	},
}, {
	rule:     "merged minutes are lost",
	rejected: []string{"activity/merged", "activity/kept"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return readsActivity{m, func(b *memory.Backend, ctx context.Context, r backend.ActivityRequest) (backend.Activities, error) {
			hours := r.Hours
			r.Hours = false
			all, err := b.Activity(ctx, r)
			if hours {
				all.Activities = lifecycle.ActivityByHour(all.Activities)
			}
			return all, err
		}}
	},
}, {
	rule:     "merged minutes stay",
	rejected: []string{"activity/merged"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &keepsActivity{Backend: m} },
}, {
	rule:     "hours stay",
	rejected: []string{"activity/kept"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &keepsActivity{Backend: m, hours: true} },
}}

type activityID struct {
	worker int64
	name   string
	at     int64
}

// addsActivity adds to what a worker sent before.
type addsActivity struct {
	*memory.Backend
	sent map[activityID]int64
}

func (b *addsActivity) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	req.Activity = each(req.Activity, func(a *backend.Activity) {
		id := activityID{req.Worker.ID, a.Name, a.At.UnixMicro()}
		a.Done += b.sent[id]
		b.sent[id] = a.Done
	})
	return b.Backend.Heartbeat(ctx, req)
}

// moreActivity returns activity that a store must not keep.
type moreActivity struct {
	*memory.Backend
	keeps func(*backend.HeartbeatRequest, backend.Activity, error) bool
	more  []backend.Activity
}

func (b *moreActivity) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	result, err := b.Backend.Heartbeat(ctx, req)
	for _, a := range req.Activity {
		if b.keeps(&req, a, err) {
			b.more = append(b.more, a)
		}
	}
	return result, err
}

func (b *moreActivity) Activity(ctx context.Context, req backend.ActivityRequest) (backend.Activities, error) {
	all, err := b.Backend.Activity(ctx, req)
	all.Activities = append(all.Activities, b.more...)
	return all, err
}

type readsActivity struct {
	*memory.Backend
	read func(*memory.Backend, context.Context, backend.ActivityRequest) (backend.Activities, error)
}

func (b readsActivity) Activity(ctx context.Context, req backend.ActivityRequest) (backend.Activities, error) {
	return b.read(b.Backend, ctx, req)
}

// keepsActivity keeps the minutes or the hours that a reap deletes.
type keepsActivity struct {
	*memory.Backend
	hours bool
	kept  []backend.Activity
}

func (b *keepsActivity) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	all, err := b.Backend.Activity(ctx, backend.ActivityRequest{Past: 1000 * time.Hour, Hours: b.hours})
	if err != nil {
		return backend.ReapResult{}, err
	}
	b.kept = all.Activities
	return b.Backend.Reap(ctx, req)
}

func (b *keepsActivity) Activity(ctx context.Context, req backend.ActivityRequest) (backend.Activities, error) {
	all, err := b.Backend.Activity(ctx, req)
	if len(all.Activities) == 0 && req.Hours == b.hours {
		all.Activities = b.kept
	}
	return all, err
}
