package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// runs tracks the running jobs of this process.
type runs struct {
	s     *screen
	now   func() time.Time
	lines bool // print a line for each run that ends

	mu    sync.Mutex
	begun map[int64]begun
	width int // of the longest name so far
}

type begun struct {
	name string
	at   time.Time
}

func newRuns(s *screen, now func() time.Time, lines bool) *runs {
	return &runs{s: s, now: now, lines: lines, begun: map[int64]begun{}}
}

// observe records an event, and prints a line for a run that has ended.
func (r *runs) observe(e plainjobs.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.begun[e.Job.ID]
	switch e.Kind {
	case plainjobs.EventPushed, plainjobs.EventActed:
		return
	case plainjobs.EventStarted:
		r.begun[e.Job.ID] = begun{e.Job.Name, r.now()}
		return
	case plainjobs.EventStuck:
	default:
		delete(r.begun, e.Job.ID)
	}
	if r.lines {
		fmt.Fprintln(r.s, r.line(e, run.at))
	}
}

// line formats an event for a terminal.
func (r *runs) line(e plainjobs.Event, started time.Time) string {
	name := fmt.Sprintf("%s #%d", clean(e.Job.Name), e.Job.ID)
	r.width = max(r.width, len(name))
	var say []string
	mark, c := "✗", red
	switch e.Kind {
	case plainjobs.EventDone:
		mark, c = "✓", green
	case plainjobs.EventRetried:
		mark, c = "✗", yellow
		say = append(say, fmt.Sprintf("attempt %d/%d, retry in %s", e.Job.Attempt, e.Job.MaxAttempts, short(e.In)))
	case plainjobs.EventFailed:
		say = append(say, fmt.Sprintf("failed after attempt %d", e.Job.Attempt))
	case plainjobs.EventSnoozed:
		mark, c = "…", yellow
		say = append(say, "snoozed for "+short(e.In))
	default:
		c = yellow
		say = append(say, e.Kind.String())
	}
	if e.Err != nil && e.Kind != plainjobs.EventSnoozed {
		text, _, _ := strings.Cut(clean(strings.TrimSpace(e.Err.Error())), `\n`)
		say = append(say, cut(text, 200))
		if where := engine.PanicAt(e.Err); where != "" {
			say = append(say, "at "+place(where))
		}
	}
	what := strings.Join(say, ": ")
	if !started.IsZero() && e.Kind == plainjobs.EventDone {
		since := e.Job.RunAt
		if since.Before(e.Job.CreatedAt) { // the turn of a fair key
			since = e.Job.CreatedAt
		}
		if waited := started.Sub(since); waited >= time.Millisecond {
			what = "waited " + short(waited)
		}
	}
	if r.s.vivid {
		mark = c.paint(mark)
	}
	line := fmt.Sprintf("%s %s %-*s %6s  %s", r.now().Format("15:04:05"), mark, r.width, name, short(e.Took), what)
	return strings.TrimRight(line, " ")
}

// waits describes the running jobs that a stopping worker waits for.
func (r *runs) waits() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.begun)
	if n == 0 {
		return "stopping"
	}
	ids := slices.SortedFunc(maps.Keys(r.begun), cmp.Compare[int64])
	var names []string
	for _, id := range ids[:min(n, 5)] {
		names = append(names, fmt.Sprintf("%s #%d", r.begun[id].name, id))
	}
	if n > len(names) {
		names = append(names, fmt.Sprintf("%d more", n-len(names)))
	}
	return fmt.Sprintf("stopping: waiting for %d running (send a second signal to release them): %s", n, strings.Join(names, ", "))
}
