// Package latelog logs to the default of package slog as it is at the time of a
// record. A logger that slog.Default returned before a program called
// slog.SetDefault writes to package log, which then turns each of its records into
// another one: of level INFO, with the level and the attributes in its message.
package latelog

import (
	"context"
	"log/slog"
)

// Logger returns a logger to the default of package slog.
func Logger() *slog.Logger { return slog.New(handler{}) }

// handler hands records on to the default's handler, with what it was given.
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
