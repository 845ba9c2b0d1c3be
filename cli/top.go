package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// topRows is how many lines top gives each of its parts.
const topRows = 10

func (p *program) topCommand() *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use:   "top [flags]",
		Short: "Watch the queue",
		Long: `Top shows the names with the most trouble, the workers, what runs and what failed
last, and goes on until it is interrupted. Off a terminal it does so once. What it
shows is in stats, workers and jobs, which have --json.`,
		Example: `  top
  top --every 5s
  NO_COLOR=1 top`,
		Args: takes(0, 0),
	}
	c.Flags().DurationVar(&every, "every", time.Second, "the pause between looks")
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		if every < 10*time.Millisecond {
			return usage("--every %v is less than 10ms", every)
		}
		q, done, err := p.look(ctx)
		if err != nil {
			return err
		}
		defer done()
		var t top
		if !p.terminal(s.out) {
			return t.print(ctx, s, q, s.out)
		}
		return s.again(ctx, every, func(to io.Writer) error {
			s.now = p.now()
			return t.print(ctx, s, q, to)
		})
	})
}

// top remembers the last look.
type top struct {
	at   time.Time
	done int64
}

func (t *top) print(ctx context.Context, s *screen, q *plainjobs.Queue, to io.Writer) error {
	st, err := statsOf(ctx, q)
	if err != nil {
		return err
	}
	workers, err := q.Workers(ctx)
	if err != nil {
		return err
	}
	alive := 0
	for _, w := range workers {
		alive += count(w.Alive)
	}
	ended := st.sum.of[backend.Done]
	fmt.Fprintf(to, "%s  %s  workers %d of %d alive", s.now.UTC().Format("2006-01-02 15:04:05 MST"), clean(describe(q)), alive, len(workers))
	if st.sum.info.Paused {
		fmt.Fprint(to, "  ALL PAUSED")
	}
	if span := s.now.Sub(t.at); !t.at.IsZero() && span > 0 {
		// Fewer than before are there when old ones were pruned.
		fmt.Fprintf(to, "  %.0f done/s", float64(max(0, ended-t.done))/span.Seconds())
	}
	fmt.Fprintln(to)
	t.at, t.done = s.now, ended
	tables := []*table{st.table(topRows)}
	for _, state := range []plainjobs.State{plainjobs.Running, plainjobs.Failed} {
		l := &lister{ctx: ctx, q: q, limit: topRows}
		if err := l.list(plainjobs.Filter{State: state}); err != nil {
			return err
		}
		if len(l.jobs) == 0 {
			continue
		}
		title := map[plainjobs.State]string{plainjobs.Running: "RUNNING", plainjobs.Failed: "FAILED"}[state]
		part := &table{header: []string{title, "NAME", "ATTEMPT", "WHEN", "LAST ERROR"}}
		for i := range l.jobs {
			j := &l.jobs[i]
			if whole, err := q.Get(ctx, j.ID); err == nil {
				*j = whole // with its errors and progress
			}
			part.add(j.ID, j.Name, attempt(j), s.since(j), cut(lastError(j), 60))
		}
		tables = append(tables, part)
	}
	for _, part := range tables {
		fmt.Fprintln(to)
		if err := part.write(to, s.live); err != nil {
			return err
		}
	}
	return nil
}
