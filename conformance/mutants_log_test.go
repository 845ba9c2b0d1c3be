package conformance

import (
	"context"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var logMutants = []mutant{{
	rule:     "a log is progress of zero",
	rejected: []string{"log/runs"},
	make: logs(func(m *memory.Backend, p *backend.Progress) {
		if p.Log != "" {
			_ = m.StoreProgress(context.Background(), []backend.Progress{{Lease: p.Lease}})
		}
	}),
}, {
	rule:     "a run keeps its first log",
	rejected: []string{"log/runs", "log/bounded"},
	make: logs(func(m *memory.Backend, p *backend.Progress) {
		if info, _ := m.Get(context.Background(), p.ID); len(info.Logs) > 0 {
			p.Log = info.Logs[0].Text
		}
	}),
}, {
	rule:     "a log keeps its beginning",
	rejected: []string{"log/bounded"},
	make: logs(func(_ *memory.Backend, p *backend.Progress) {
		p.Log = p.Log[:min(len(p.Log), backend.MaxLog)]
	}),
}, {
	rule:     "a log is cut at a NUL",
	rejected: []string{"log/runs"},
	make: logs(func(_ *memory.Backend, p *backend.Progress) {
		p.Log, _, _ = strings.Cut(p.Log, "\x00")
	}),
}, {
	rule:     "a job has only its last log",
	rejected: []string{"log/runs"},
	make:     alters(altered{get: func(i *backend.Info) { i.Logs = i.Logs[max(0, len(i.Logs)-1):] }}),
}, {
	rule:     "a dropped job has a log",
	rejected: []string{"log/deleted"},
	make: alters(altered{get: func(i *backend.Info) {
		if i.Dropped {
			i.Logs = []backend.RunLog{{Attempt: 1, At: i.FinishedAt, Text: "secret"}}
		}
	}}),
}}

// logs returns a store that changes the progress that it gets.
func logs(change func(*memory.Backend, *backend.Progress)) func(*memory.Backend, *Clock) backend.Backend {
	return func(m *memory.Backend, _ *Clock) backend.Backend { return logger{m, change} }
}

type logger struct {
	*memory.Backend
	change func(*memory.Backend, *backend.Progress)
}

func (b logger) StoreProgress(ctx context.Context, all []backend.Progress) error {
	for i := range all {
		b.change(b.Backend, &all[i])
	}
	return b.Backend.StoreProgress(ctx, all)
}
