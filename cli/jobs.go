package cli

import (
	"cmp"
	"context"
	"fmt"
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
		Long: `Jobs lists jobs: those that failed first, then those that run, then the others,
and of each kind the newest first. WHEN says since when a job is in its state, or
until when, and how long its run takes or took, if that was a tenth of a second or
more. "claimed" is a job that a worker has and has not said to have started: of more
jobs than it has slots for, some wait there. A count of more than 10,000 is only looked
for with --exact, unless it is by name and state alone, which costs nothing.`,
		Example: `  jobs
  jobs --state failed --name invoice --since 2h
  jobs --error "connection refused" --json
  jobs --state failed --count`,
		Args: takes(0, 0),
	}
	f.flags(p, c)
	c.Flags().Int64Var(&before, "before", 0, "only jobs with a number below `ID`; those that failed or run do not come first then")
	c.Flags().IntVar(&limit, "limit", 20, "list at most `N` jobs")
	c.Flags().BoolVar(&count, "count", false, "only print how many jobs match")
	c.Flags().BoolVar(&exact, "exact", false, "count beyond 10,000")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		stored, state, err := f.resolve(s.now)
		if err != nil {
			return err
		}
		if limit < 1 || before < 0 {
			return usage("--limit is at least 1, and --before a job's number")
		}
		q, done, err := p.look(ctx)
		if err != nil {
			return err
		}
		defer done()
		stored.State = state
		if count {
			return countJobs(ctx, s, q, stored, exact)
		}
		l := &lister{ctx: ctx, q: q, limit: limit, before: before}
		if err := l.list(stored); err != nil {
			return err
		}
		if len(l.jobs) == 0 {
			return nothing("no job matches%s", l.unknownName(stored.Name))
		}
		return l.print(s, stored, exact)
	})
}

// counts is what --count prints with --json.
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

// number returns a count for people.
func number(n int64, more bool) string {
	if more {
		return fmt.Sprintf("%d+", n)
	}
	return fmt.Sprint(n)
}

// A lister lists jobs.
type lister struct {
	ctx    context.Context
	q      *plainjobs.Queue
	limit  int
	before int64
	jobs   []plainjobs.Info
}

// list finds the jobs. With a state it is one list; without, failed ones and
// those that run, which have an index each, go before the newest of the rest.
func (l *lister) list(f plainjobs.Filter) error {
	if f.State != 0 || l.before != 0 {
		return l.add(f, func(plainjobs.State) bool { return true })
	}
	for _, state := range []plainjobs.State{plainjobs.Failed, plainjobs.Running} {
		f.State = state
		if err := l.add(f, func(plainjobs.State) bool { return true }); err != nil {
			return err
		}
	}
	f.State = 0
	return l.add(f, func(s plainjobs.State) bool { return s != plainjobs.Failed && s != plainjobs.Running })
}

// add adds what is listed in the states that are wanted. Where the queue knows
// how many there are, it looks no further than the last of them.
func (l *lister) add(f plainjobs.Filter, wanted func(plainjobs.State) bool) error {
	left := int64(1<<63 - 1)
	if counted(f) {
		all, err := l.q.Counts(l.ctx)
		if err != nil {
			return err
		}
		left = 0
		for _, c := range all {
			if (f.Name == "" || c.Name == f.Name) && (f.State == 0 || c.State == f.State) && wanted(c.State) {
				left += c.Jobs
			}
		}
	}
	for before := l.before; left > 0 && len(l.jobs) < l.limit; {
		size := l.limit - len(l.jobs)
		if f.State == 0 {
			size *= 2 // some are left out
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

// unknownName says so if there never was a job of the name.
func (l *lister) unknownName(name string) string {
	names, err := known(l.ctx, l.q)
	if name == "" || err != nil || names[name] {
		return ""
	}
	return fmt.Sprintf(": no job is called %s%s", name, didYouMean(name, keys(names)))
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

// since says since when a job is in its state, or until when.
func (s *screen) since(j *plainjobs.Info) string {
	switch {
	case j.State.Terminal() && !j.StartedAt.IsZero():
		return fmt.Sprintf("%s, took %s", s.when(j.FinishedAt), short(j.FinishedAt.Sub(j.StartedAt)))
	case j.State.Terminal():
		return s.when(j.FinishedAt)
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

// known returns the names that the queue's store has heard of.
func known(ctx context.Context, q *plainjobs.Queue) (map[string]bool, error) {
	names := map[string]bool{}
	infos, err := q.Names(ctx)
	for _, n := range infos {
		names[n.Name] = true
	}
	delete(names, "") // the whole queue
	return names, err
}

// order sorts names with trouble first.
func order(a, b *nameStats) int {
	return cmp.Or(
		cmp.Compare(b.of[backend.Failed], a.of[backend.Failed]),
		cmp.Compare(a.name, b.name),
	)
}
