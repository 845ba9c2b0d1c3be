package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// followLook is how often follow reads the job.
const followLook = 500 * time.Millisecond

// titleOf returns the title of what an attempt left.
func titleOf(what string, attempt int, at time.Time) string {
	return fmt.Sprintf("%s of attempt %d, %s", what, attempt, at.UTC().Format("2006-01-02 15:04:05.000 MST"))
}

// follow prints what is logged after i was read, until the job has finished.
func (s *screen) follow(ctx context.Context, q *plainjobs.Queue, i *plainjobs.Info, decrypt bool) error {
	ticker := time.NewTicker(followLook)
	defer ticker.Stop()
	for shown := *i; !shown.State.Terminal(); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		next, err := q.Get(ctx, i.ID)
		if errors.Is(err, plainjobs.ErrNotFound) {
			return nothing("job #%d was deleted", i.ID)
		}
		if err == nil && decrypt {
			next, err = q.Decrypt(next)
		}
		if err != nil {
			return err
		}
		s.newLogs(shown.Logs, next.Logs)
		if next.State != shown.State {
			s.say("job #%d is %v", next.ID, next.State)
		}
		shown = next
	}
	return nil
}

// newLogs prints what next has and shown has not. Only the last run that was shown can have
// logged more.
func (s *screen) newLogs(shown, next []backend.RunLog) {
	last := len(shown) - 1 // its index in next
	if last >= 0 && len(next) == len(shown) && next[last].Attempt != shown[last].Attempt {
		last-- // the oldest is gone
	}
	for n := max(last, 0); n < len(next); n++ {
		if n > last {
			s.block(titleOf("log", next[n].Attempt, next[n].At), next[n].Text)
			continue
		}
		for line := range strings.Lines(newText(shown[len(shown)-1].Text, next[n].Text)) {
			fmt.Fprintf(s.out, "  %s\n", strings.TrimRight(cleanLines(line), "\n"))
		}
	}
}

// newText returns what a log has after what was shown of it. A store keeps only the end of a log.
func newText(shown, text string) string {
	first, _, _ := strings.Cut(text, "\n")
	for at := 0; ; {
		found := strings.Index(shown[at:], first)
		if found < 0 || first == "" {
			return text
		}
		if at += found; strings.HasPrefix(text, shown[at:]) {
			return text[len(shown)-at:]
		}
		at++
	}
}
