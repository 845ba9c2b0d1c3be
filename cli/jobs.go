package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

func (p *program) jobsCommand() *cobra.Command {
	var f filter
	var before int64
	var limit int
	var count, exact bool
	c := &cobra.Command{
		Use:   "jobs [flags]",
		Short: "List jobs, failed ones first",
		Long: `Jobs lists failed jobs first, then running jobs, then all others, each newest first.
WHEN shows how long a job has been in its state, or when it leaves it, and the
duration of a run of 100 ms or more. A job is "claimed" until its worker reports that
it has started; prefetched jobs also wait there for a slot. Counts stop at 10,000
without --exact, except counts by name and state, which cost nothing.`,
		Example: `  jobs
  jobs --state failed,cancelled --name invoice,reminder --since 2h
  jobs --metadata tenant=acme
  jobs --error "connection refused" --json
  jobs --state failed --count`,
		Args: takes(0, 0),
	}
	f.flags(p, c)
	c.Flags().Int64Var(&before, "before", 0, "only jobs with an ID below `ID`, newest first, whatever their state")
	c.Flags().IntVar(&limit, "limit", 20, "list at most `N` jobs")
	c.Flags().BoolVar(&count, "count", false, "only print the number of matching jobs")
	c.Flags().BoolVar(&exact, "exact", false, "count beyond 10,000")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		stored, err := f.resolve(s.now)
		if err != nil {
			return err
		}
		switch {
		case limit < 1:
			return usage("--limit %d is out of range: give at least 1", limit)
		case before < 0:
			return usage("--before %d is not a job ID: give a positive number", before)
		}
		q, done, err := p.openReadOnly(ctx)
		if err != nil {
			return err
		}
		defer done()
		if count {
			return countJobs(ctx, s, q, stored, exact)
		}
		l := &lister{ctx: ctx, q: q, limit: limit, before: before}
		if err := l.list(stored); err != nil {
			return err
		}
		if len(l.jobs) == 0 {
			return nothing("no job matches%s", l.unknownName(stored.Names))
		}
		return l.print(s, stored, exact)
	})
}

// counts is the output of --count with --json.
type counts struct {
	Jobs int64 `json:"jobs"`
	More bool  `json:"more"`
}

func countJobs(ctx context.Context, s *screen, q *plainjobs.Queue, f plainjobs.Filter, exact bool) error {
	n, more, err := q.Count(ctx, f, exact)
	switch {
	case err != nil:
		return err
	case s.json:
		return s.object(counts{n, more})
	}
	_, err = fmt.Fprintln(s.out, number(n, more))
	return err
}

// number formats a count. More means that the count is a lower bound.
func number(n int64, more bool) string {
	if more {
		return fmt.Sprintf("%d+", n)
	}
	return fmt.Sprint(n)
}

// A lister collects jobs.
type lister struct {
	ctx    context.Context
	q      *plainjobs.Queue
	limit  int
	before int64
	jobs   []plainjobs.Info
}

// list collects the jobs. Without a state, failed and running jobs come first: each of
// these states has an index.
func (l *lister) list(f plainjobs.Filter) error {
	if len(f.States) > 0 || l.before != 0 {
		return l.add(f, func(plainjobs.State) bool { return true })
	}
	for _, state := range []plainjobs.State{plainjobs.Failed, plainjobs.Running} {
		f.States = []plainjobs.State{state}
		if err := l.add(f, func(plainjobs.State) bool { return true }); err != nil {
			return err
		}
	}
	f.States = nil
	return l.add(f, func(s plainjobs.State) bool { return s != plainjobs.Failed && s != plainjobs.Running })
}

// add appends jobs in the wanted states. If the counts tell how many jobs match, it
// stops after the last of them.
func (l *lister) add(f plainjobs.Filter, wanted func(plainjobs.State) bool) error {
	left := int64(1<<63 - 1)
	if counted(f) {
		all, err := l.q.Counts(l.ctx)
		if err != nil {
			return err
		}
		left = 0
		for _, c := range all {
			if (len(f.Names) == 0 || slices.Contains(f.Names, c.Name)) && (len(f.States) == 0 || slices.Contains(f.States, c.State)) && wanted(c.State) {
				left += c.Jobs
			}
		}
	}
	for before := l.before; left > 0 && len(l.jobs) < l.limit; {
		size := l.limit - len(l.jobs)
		if len(f.States) == 0 {
			size *= 2 // some of them are not wanted
		}
		page, next, err := l.q.List(l.ctx, f, before, min(size, 1000))
		if err != nil {
			return err
		}
		for _, j := range page {
			if wanted(j.State) && len(l.jobs) < l.limit {
				l.jobs = append(l.jobs, j)
				left--
			}
		}
		if before = next; before == 0 {
			break
		}
	}
	return nil
}

// unknownName returns a hint if the store has never had a job of one of the names.
func (l *lister) unknownName(given []string) string {
	names, err := known(l.ctx, l.q)
	for _, name := range given {
		if err == nil && !names[name] {
			return fmt.Sprintf(": no job is named %s%s", name, didYouMean(name, keys(names)))
		}
	}
	return ""
}

func (l *lister) print(s *screen, f plainjobs.Filter, exact bool) error {
	t := &table{header: []string{"ID", "NAME", "STATE", "ATTEMPT", "WHEN", "LAST ERROR"}}
	for i := range l.jobs {
		j := &l.jobs[i]
		if j.Failures > 0 || j.State == plainjobs.Cancelled {
			whole, err := l.q.Get(l.ctx, j.ID)
			if err == nil {
				j.Errors = whole.Errors
			}
		}
		if s.json {
			if err := s.object(recordOf(j)); err != nil {
				return err
			}
			continue
		}
		t.add(j.ID, j.Name, stateCell(j), attempt(j), s.since(j), cut(lastError(j), 60))
	}
	if s.json {
		return nil
	}
	if err := s.print(t); err != nil {
		return err
	}
	n, more, err := l.q.Count(l.ctx, f, exact)
	if err == nil && (more || n > int64(len(l.jobs))) && l.before == 0 {
		s.say("%d of %s jobs; --limit shows more", len(l.jobs), number(n, more))
	}
	return err
}

var stateColours = map[plainjobs.State]colour{
	plainjobs.Failed: red, plainjobs.Cancelled: yellow, plainjobs.Running: green,
}

func stateCell(j *plainjobs.Info) cell {
	text := j.State.String()
	if j.Cancelling {
		text += ", cancelled"
	}
	return cell{text, stateColours[j.State]}
}

func attempt(j *plainjobs.Info) string {
	if j.State == plainjobs.Done {
		return fmt.Sprint(j.Attempt)
	}
	return fmt.Sprintf("%d/%d", j.Attempt, j.MaxAttempts)
}

// since returns how long a job has been in its state, or when it leaves it.
func (s *screen) since(j *plainjobs.Info) string {
	switch {
	case j.State.Terminal() && !j.StartedAt.IsZero():
		return fmt.Sprintf("%s, took %s", s.when(j.FinishedAt), short(j.FinishedAt.Sub(j.StartedAt)))
	case j.State.Terminal():
		return s.when(j.FinishedAt)
	case j.State == plainjobs.Blocked && j.BlockedBy == 0 && j.CallbackOf != 0:
		return fmt.Sprintf("after group %d", j.CallbackOf)
	case j.State == plainjobs.Blocked && j.BlockedBy == 0 && len(j.Groups) > 0:
		return fmt.Sprintf("after others of flow %d", j.Groups[0])
	case j.State == plainjobs.Blocked:
		return fmt.Sprintf("after #%d", j.BlockedBy)
	case j.State == plainjobs.Running && j.ProgressTotal > 0:
		text := fmt.Sprintf("%d%%", 100*j.ProgressDone/j.ProgressTotal)
		if !j.StartedAt.IsZero() {
			text += " in " + short(s.now.Sub(j.StartedAt))
		}
		return text
	case j.State == plainjobs.Running && j.StartedAt.IsZero():
		return "claimed"
	case j.State == plainjobs.Running:
		return "for " + short(s.now.Sub(j.StartedAt))
	}
	if j.RunAt.Before(j.CreatedAt) { // the turn of a fair key
		return s.when(j.CreatedAt)
	}
	return s.when(j.RunAt)
}

// lastError returns the first line of a job's last error.
func lastError(j *plainjobs.Info) string {
	if len(j.Errors) == 0 || j.State == plainjobs.Done {
		return ""
	}
	line, _, _ := strings.Cut(j.Errors[len(j.Errors)-1].Error, "\n")
	return line
}

// known returns the names that the queue's store has.
func known(ctx context.Context, q *plainjobs.Queue) (map[string]bool, error) {
	names := map[string]bool{}
	infos, err := q.Names(ctx)
	for _, n := range infos {
		names[n.Name] = true
	}
	delete(names, "") // the whole queue
	return names, err
}

// order puts the names with the most failed jobs first.
func order(a, b *nameStats) int {
	return cmp.Or(
		cmp.Compare(b.of[backend.Failed], a.of[backend.Failed]),
		cmp.Compare(a.name, b.name),
	)
}
