// Package doctor examines a queue and its workers, for package cli and the dashboard.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A Finding is the result of one check.
type Finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	What  string `json:"what"`
	Fix   string `json:"fix,omitempty"`
}

// A Report collects findings.
type Report struct{ Findings []Finding }

// Well adds that all is well.
func (r *Report) Well(check, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Check: check, OK: true, What: fmt.Sprintf(format, args...)})
}

// Bad adds a problem and its fix.
func (r *Report) Bad(check, fix, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Check: check, What: fmt.Sprintf(format, args...), Fix: fix})
}

// stoppedWait is how long Examine reads from a store that a problem stops.
const stoppedWait = 2 * time.Second

// Examine adds the findings about the store, its environment, workers, schedules and
// groups.
func (r *Report) Examine(ctx context.Context, q *plainjobs.Queue, req backend.ExamineRequest) error {
	r.Schema(ctx, q)
	stops := false
	if e, ok := storeOf(q).(backend.Inspector); ok {
		found, err := e.Examine(ctx, req)
		for _, f := range found {
			what := f.Value
			if f.Problem != "" {
				what += ": " + f.Problem
			}
			stops = stops || f.Stops
			r.Findings = append(r.Findings, Finding{Check: f.Name, OK: f.Problem == "", What: what, Fix: f.Fix})
		}
		if err != nil {
			return err
		}
	}
	look, cancel := context.WithCancel(ctx)
	defer cancel()
	if stops { // the problem may block reads too
		look, cancel = context.WithTimeout(ctx, stoppedWait)
		defer cancel()
	}
	if err := errors.Join(r.environment(look, q), r.workers(look, q), r.ticks(look, q), r.groups(look, q), r.keys(look, q)); err != nil && !stops {
		return err
	}
	return nil
}

// Schema adds which store is open. Opening it was the check.
func (r *Report) Schema(ctx context.Context, q *plainjobs.Queue) {
	what := Describe(q)
	if m, ok := storeOf(q).(backend.Inspector); ok {
		schema, err := m.Schema(ctx)
		if err != nil {
			r.Bad("store", "", "%s: %v", what, err)
			return
		}
		what = fmt.Sprintf("%s, schema version %d of %d", what, schema.Stored, schema.Known)
	}
	r.Well("store", "%s", what)
}

// Describe returns the name of a queue's store.
func Describe(q *plainjobs.Queue) string {
	if d, ok := storeOf(q).(backend.Describer); ok {
		return d.Describe().Store
	}
	return fmt.Sprintf("%T", storeOf(q))
}

func storeOf(q *plainjobs.Queue) backend.Backend { return (*engine.Handle)(q).Queue().Backend }
