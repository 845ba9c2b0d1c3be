package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

func (p *program) statsCommand() *cobra.Command {
	var watch bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "stats [flags]",
		Short: "Count the jobs of each name and state",
		Long: `Stats counts the jobs of each name and state, names with the most failed jobs first.
The counts are exact and cheap, however many jobs there are. RUNNING includes jobs
that a worker has claimed and not started; jobs shows them as "claimed".`,
		Example: `  stats
  stats --watch --every 5s
  stats --json | jq 'select(.failed > 0)'`,
		Args: takes(0, 0),
	}
	c.Flags().BoolVar(&watch, "watch", false, "repeat until interrupted")
	c.Flags().DurationVar(&every, "every", 2*time.Second, "the `INTERVAL` of --watch")
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
		print := func(to io.Writer) error {
			stats, err := statsOf(ctx, q)
			switch {
			case err != nil:
				return err
			case !s.json:
				return stats.table(0).write(to, s.live)
			}
			for _, n := range stats.names {
				if err := s.object(n); err != nil {
					return err
				}
			}
			return nil
		}
		if !watch {
			return print(s.out)
		}
		return s.again(ctx, every, print)
	})
}

// stats has the counts of all names.
type stats struct {
	names []*nameStats
	sum   nameStats
}

// nameStats has the counts and settings of one name.
type nameStats struct {
	name string
	of   map[backend.State]int64
	info plainjobs.NameInfo
}

// MarshalJSON implements [json.Marshaler].
func (n *nameStats) MarshalJSON() ([]byte, error) {
	fields := map[string]any{"name": n.name, "paused": n.info.Paused}
	for _, s := range backend.States() {
		fields[s.String()] = n.of[s]
	}
	if n.info.MaxRunning > 0 {
		fields["max_running"] = n.info.MaxRunning
	}
	if n.info.Rate > 0 {
		fields["rate"], fields["per_seconds"] = n.info.Rate, n.info.Per.Seconds()
	}
	if n.info.MaxCrashes != 0 {
		fields["max_crashes"] = n.info.MaxCrashes
	}
	if !n.info.Override.Zero() {
		fields["overridden"] = true
	}
	if n.info.Differ {
		fields["differ"] = true
	}
	return json.Marshal(fields)
}

// statsOf reads the counts and settings of each name.
func statsOf(ctx context.Context, q *plainjobs.Queue) (*stats, error) {
	counts, err := q.Counts(ctx)
	if err != nil {
		return nil, err
	}
	infos, err := q.Names(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]*nameStats{}
	of := func(name string) *nameStats {
		if all[name] == nil {
			all[name] = &nameStats{name: name, of: map[backend.State]int64{}}
		}
		return all[name]
	}
	st := &stats{sum: nameStats{of: map[backend.State]int64{}}}
	for _, i := range infos {
		if i.Name == "" {
			st.sum.info = i
			continue
		}
		of(i.Name).info = i
	}
	for _, c := range counts {
		of(c.Name).of[c.State] = c.Jobs
		st.sum.of[c.State] += c.Jobs
	}
	st.names = slices.SortedFunc(maps.Values(all), order)
	return st, nil
}

// table returns the first most names, or all names if most is zero, and the sum.
func (st *stats) table(most int) *table {
	t := &table{header: []string{"NAME"}}
	for _, s := range backend.States() {
		t.header = append(t.header, strings.ToUpper(s.String()))
	}
	t.header = append(t.header, "NOTE")
	line := func(n *nameStats, name string) {
		row := []any{name}
		for _, s := range backend.States() {
			c := cell{text: fmt.Sprint(n.of[s])}
			if n.of[s] > 0 {
				c.colour = stateColours[s]
			} else {
				c.text = "."
			}
			row = append(row, c)
		}
		t.add(append(row, n.note())...)
	}
	shown := st.names
	if most > 0 && len(shown) > most {
		shown = shown[:most]
	}
	for _, n := range shown {
		line(n, n.name)
	}
	sum := "all"
	if left := len(st.names) - len(shown); left > 0 {
		sum = fmt.Sprintf("all, and %d more names", left)
	}
	line(&st.sum, sum)
	return t
}

// note describes the pause and the limits of a name.
func (n *nameStats) note() string {
	var notes []string
	if n.info.Paused {
		notes = append(notes, "paused")
	}
	if most := n.info.MaxRunning; most > 0 {
		notes = append(notes, fmt.Sprintf("%d at once", most))
	}
	if n.info.Rate > 0 {
		notes = append(notes, fmt.Sprintf("%d in %v", n.info.Rate, n.info.Per))
	}
	switch most := n.info.MaxCrashes; {
	case most > 0:
		notes = append(notes, fmt.Sprintf("fails at %d crashes", most))
	case most < 0:
		notes = append(notes, "any number of crashes")
	}
	if !n.info.Override.Zero() {
		notes = append(notes, "overridden")
	}
	if n.info.Differ {
		notes = append(notes, "workers differ")
	}
	return strings.Join(notes, ", ")
}
