package engine

import (
	"context"
	"errors"
	"log/slog"
)

// A LogKeeper is a run of a worker that stores what its handler logs.
type LogKeeper interface {
	// LogHandler returns the handler for the stored log, or nil if nothing is stored.
	LogHandler() slog.Handler
}

// Tee returns a handler for both.
func Tee(a, b slog.Handler) slog.Handler { return tee{a, b} }

type tee [2]slog.Handler

// Enabled implements [slog.Handler].
func (t tee) Enabled(ctx context.Context, level slog.Level) bool {
	return t[0].Enabled(ctx, level) || t[1].Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (t tee) Handle(ctx context.Context, r slog.Record) error {
	var errs error
	for _, h := range t {
		if h.Enabled(ctx, r.Level) {
			errs = errors.Join(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errs
}

// WithAttrs implements [slog.Handler].
func (t tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tee{t[0].WithAttrs(attrs), t[1].WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (t tee) WithGroup(name string) slog.Handler {
	return tee{t[0].WithGroup(name), t[1].WithGroup(name)}
}
