// Package latelog logs to the logger that is slog's default when a record is logged. A
// logger that slog.Default returned before slog.SetDefault was called writes to package
// log. Its records then arrive at the new default with level INFO, and with their level
// and attributes in the message.
package latelog

import (
	"context"
	"log/slog"
)

// Logger returns a logger that uses slog's current default.
func Logger() *slog.Logger { return slog.New(handler{}) }

// handler passes records to the current default's handler, with its attributes and groups.
type handler struct {
	with []func(slog.Handler) slog.Handler
}

func (h handler) target() slog.Handler {
	t := slog.Default().Handler()
	for _, f := range h.with {
		t = f(t)
	}
	return t
}

func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return slog.Default().Enabled(ctx, level)
}

func (h handler) Handle(ctx context.Context, r slog.Record) error { return h.target().Handle(ctx, r) }

func (h handler) and(f func(slog.Handler) slog.Handler) slog.Handler {
	return handler{append(h.with[:len(h.with):len(h.with)], f)}
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(func(t slog.Handler) slog.Handler { return t.WithAttrs(attrs) })
}

func (h handler) WithGroup(name string) slog.Handler {
	return h.and(func(t slog.Handler) slog.Handler { return t.WithGroup(name) })
}
