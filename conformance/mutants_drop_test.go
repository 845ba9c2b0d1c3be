package conformance

import (
	"context"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var dropMutants = []mutant{{
	rule:     "DropDone is ignored",
	rejected: []string{"drop/done", "drop/keys", "drop/settings", "drop/retry"},
	make:     alters(altered{set: func(s *backend.Settings) { s.History.DropDone = false }}),
}, {
	rule:     "DropFailed is ignored",
	rejected: []string{"drop/failed", "drop/settings", "drop/retry"},
	make:     alters(altered{set: func(s *backend.Settings) { s.History.DropFailed = false }}),
}, {
	rule:     "DropDone drops the payloads of failed jobs",
	rejected: []string{"drop/done"},
	make:     alters(altered{set: func(s *backend.Settings) { s.History.DropFailed = s.History.DropFailed || s.History.DropDone }}),
}, {
	rule:     "DropFailed drops the payloads of done jobs",
	rejected: []string{"drop/failed"},
	make:     alters(altered{set: func(s *backend.Settings) { s.History.DropDone = s.History.DropDone || s.History.DropFailed }}),
}, {
	rule:     "DropDone of one name is that of all",
	rejected: []string{"drop/done"},
	make: func(m *memory.Backend, _ *Clock) backend.Backend {
		return &altered{Backend: m, set: func(s *backend.Settings) {
			if s.History.DropDone {
				_, _ = m.Set(context.Background(), 0, []backend.Settings{{Name: "b", History: backend.History{DropDone: true}}})
			}
		}}
	},
}, {
	rule:     "Get does not say that a payload was dropped",
	rejected: []string{"drop/done", "drop/failed"},
	make:     alters(altered{get: func(i *backend.Info) { i.Dropped = false }}),
}, {
	rule:     "a dropped job has no metadata",
	rejected: []string{"drop/done"},
	make: alters(altered{get: func(i *backend.Info) {
		if i.Dropped {
			i.Metadata = nil
		}
	}}),
}, {
	rule:     "a retry does not list the jobs whose payloads were dropped",
	rejected: []string{"drop/retry"},
	make:     func(m *memory.Backend, _ *Clock) backend.Backend { return &silentRetry{Backend: m} },
	sound:    func(m *memory.Backend, _ *Clock) backend.Backend { return &silentRetry{Backend: m, sound: true} },
}, {
	rule:     "a dropped job is imported without its mark",
	rejected: []string{"drop/import"},
	make:     carries(carrier{in: func(r *backend.Record) { r.Dropped = false }}),
}}

type silentRetry struct {
	*memory.Backend
	sound bool
}

func (b *silentRetry) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	r, err := b.Backend.Operate(ctx, req)
	if !b.sound {
		r.Dropped = nil
	}
	return r, err
}
