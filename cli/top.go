package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// topRows is the maximum number of rows in each part of top.
const topRows = 10

func (p *program) topCommand() *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use:   "top [flags]",
		Short: "Watch the queue",
		Long: `Top shows the names with the most failed jobs, the number of workers, the running jobs
and the latest failures. On a terminal it updates until it is interrupted; otherwise
it prints once. With --json each update is an object with the counts of all names and
with all workers.`,
		Example: `  top
  top --every 5s
  top --json | jq .running
  NO_COLOR=1 top`,
		Args: takes(0, 0),
	}
	c.Flags().DurationVar(&every, "every", time.Second, "the `INTERVAL` between updates")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		if every < 10*time.Millisecond {
			return usage("--every %v is too short: give at least 10ms", every)
		}
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		var last *snapshot
		print := func(to io.Writer) error {
			l, err := takeSnapshot(ctx, q, p.now(), last)
			if err != nil {
				return err
			}
			last = l
			if s.json {
				return s.object(l)
			}
			return l.print(s, to)
		}
		if !p.terminal(s.out) {
			return print(s.out)
		}
		return s.again(ctx, every, print)
	})
}

// A snapshot is what top shows at one time.
type snapshot struct {
	at              time.Time
	store           string
	stats           *stats
	workers         []plainjobs.Worker
	running, failed []plainjobs.Info
	pace            float64 // jobs done per second since the last snapshot
	paced           bool    // pace is set
}

func takeSnapshot(ctx context.Context, q *plainjobs.Queue, now time.Time, last *snapshot) (*snapshot, error) {
	l := &snapshot{at: now, store: describe(q)}
	var err error
	if l.stats, err = statsOf(ctx, q); err != nil {
		return nil, err
	}
	if l.workers, err = q.Workers(ctx); err != nil {
		return nil, err
	}
	if l.running, err = newest(ctx, q, plainjobs.Running); err != nil {
		return nil, err
	}
	if l.failed, err = newest(ctx, q, plainjobs.Failed); err != nil {
		return nil, err
	}
	if last != nil && now.After(last.at) {
		// Pruning may have reduced the count.
		done := max(0, l.stats.sum.of[backend.Done]-last.stats.sum.of[backend.Done])
		l.pace, l.paced = float64(done)/now.Sub(last.at).Seconds(), true
	}
	return l, nil
}

// newest returns the newest jobs in a state, with errors and progress. It drops payloads
// and results, which may be large.
func newest(ctx context.Context, q *plainjobs.Queue, state plainjobs.State) ([]plainjobs.Info, error) {
	l := &lister{ctx: ctx, q: q, limit: topRows}
	if err := l.list(plainjobs.Filter{States: []plainjobs.State{state}}); err != nil {
		return nil, err
	}
	for i := range l.jobs {
		if whole, err := q.Get(ctx, l.jobs[i].ID); err == nil {
			whole.Payload, whole.Result = nil, nil
			l.jobs[i] = whole
		}
	}
	return l.jobs, nil
}

func (l *snapshot) print(s *screen, to io.Writer) error {
	s.now = l.at
	alive := 0
	for _, w := range l.workers {
		alive += count(w.Alive)
	}
	fmt.Fprintf(to, "%s  %s  workers %d of %d alive", l.at.UTC().Format("2006-01-02 15:04:05 MST"), clean(l.store), alive, len(l.workers))
	if l.stats.sum.info.Paused {
		fmt.Fprint(to, "  ALL PAUSED")
	}
	if l.paced {
		fmt.Fprintf(to, "  %.0f done/s", l.pace)
	}
	fmt.Fprintln(to)
	tables := []*table{l.stats.table(topRows)}
	for _, part := range []struct {
		title string
		jobs  []plainjobs.Info
	}{{"RUNNING", l.running}, {"FAILED", l.failed}} {
		if len(part.jobs) == 0 {
			continue
		}
		t := &table{header: []string{part.title, "NAME", "ATTEMPT", "WHEN", "LAST ERROR"}}
		for i := range part.jobs {
			j := &part.jobs[i]
			t.add(j.ID, j.Name, attempt(j), s.since(j), cut(lastError(j), 60))
		}
		tables = append(tables, t)
	}
	for _, t := range tables {
		fmt.Fprintln(to)
		if err := t.write(to, s.live); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (l *snapshot) MarshalJSON() ([]byte, error) {
	o := struct {
		At      time.Time      `json:"at"`
		Store   string         `json:"store"`
		Paused  bool           `json:"paused"`
		Pace    *float64       `json:"done_per_second,omitempty"`
		Names   []*nameStats   `json:"names"`
		Workers []workerRecord `json:"workers"`
		Running []*record      `json:"running"`
		Failed  []*record      `json:"failed"`
	}{
		At: l.at, Store: l.store, Paused: l.stats.sum.info.Paused, Names: append([]*nameStats{}, l.stats.names...),
		Workers: []workerRecord{}, Running: records(l.running), Failed: records(l.failed),
	}
	if l.paced {
		o.Pace = &l.pace
	}
	for _, w := range l.workers {
		o.Workers = append(o.Workers, workerJSON(w))
	}
	return json.Marshal(o)
}
