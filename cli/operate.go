package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// An operation is one of retry, cancel, delete and free.
type operation struct {
	verb, past string
	// states are the states of jobs that the operation applies to. With --all and
	// without --state it applies to those in fallback.
	states, fallback []plainjobs.State
	apply            func(*plainjobs.Queue, context.Context, plainjobs.Filter) (int, error)
}

var (
	waiting  = []plainjobs.State{plainjobs.Scheduled, plainjobs.Blocked, plainjobs.Pending}
	finished = []plainjobs.State{plainjobs.Done, plainjobs.Failed, plainjobs.Cancelled}
)

func (p *program) retryCommand() *cobra.Command {
	var priority int16
	var step string
	c := &cobra.Command{
		Short: "Run finished jobs again, and scheduled jobs now",
		Long: `Retry makes finished jobs pending again, as if they were new, and runs scheduled jobs
at once. With --all and without --state it retries failed jobs. Give thousands of
jobs a low --priority, so that they do not delay new jobs. A failed job with steps
continues after its last step; with --from-step it repeats that step and those
stored after it.`,
		Example: `  retry 42 43
  retry --all --name invoice --error "connection refused"
  retry --all --name invoice --priority -10
  retry --all --state scheduled --name invoice --yes
  retry 42 --from-step charge`,
	}
	c.Flags().StringVar(&step, "from-step", "", "the `NAME` of the first step to repeat; needs IDs")
	c.Flags().Int16Var(&priority, "priority", 0, "the new priority of the jobs (default: unchanged)")
	return p.operateCommand(&operation{
		verb: "retry", past: "retried", states: append([]plainjobs.State{plainjobs.Scheduled}, finished...),
		fallback: []plainjobs.State{plainjobs.Failed},
		apply: func(q *plainjobs.Queue, ctx context.Context, f plainjobs.Filter) (int, error) {
			if step != "" {
				return retryFrom(ctx, q, f, step, c.Flags().Changed("priority"))
			}
			if c.Flags().Changed("priority") {
				return q.Retry(ctx, f, plainjobs.Priority(priority))
			}
			return q.Retry(ctx, f)
		},
	}, c)
}

// retryFrom retries the jobs with the filter's IDs from a step.
func retryFrom(ctx context.Context, q *plainjobs.Queue, f plainjobs.Filter, step string, priority bool) (n int, err error) {
	if len(f.IDs) == 0 || priority {
		return 0, errors.New("--from-step needs the IDs of jobs, and takes no --priority")
	}
	for _, id := range f.IDs {
		if err := q.RetryFrom(ctx, id, step); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (p *program) priorityCommand() *cobra.Command {
	var priority int16
	c := &cobra.Command{
		Short: "Change the priority of waiting jobs",
		Long: `Priority gives waiting jobs another priority: of the jobs that wait, those of the
highest priority run first. Jobs keep their place among those of the same priority.`,
		Example: `  priority 42 --to 10
  priority --all --name import --to -10`,
	}
	c.Flags().Int16Var(&priority, "to", 0, "the new `PRIORITY`, from -32768 to 32767")
	_ = c.MarkFlagRequired("to") // the flag exists
	return p.operateCommand(&operation{
		verb: "priority", past: "given another priority", states: waiting, fallback: waiting,
		apply: func(q *plainjobs.Queue, ctx context.Context, f plainjobs.Filter) (int, error) {
			return q.Prioritize(ctx, f, priority)
		},
	}, c)
}

func (p *program) cancelCommand() *cobra.Command {
	op := &operation{
		verb: "cancel", past: "cancelled", states: append(waiting[:3:3], plainjobs.Running),
		fallback: append(waiting[:3:3], plainjobs.Running), apply: (*plainjobs.Queue).Cancel,
	}
	return p.operateCommand(op, &cobra.Command{
		Short: "Cancel waiting or running jobs",
		Long: `Cancel cancels waiting jobs at once. It cancels the contexts of running jobs: their
workers learn of it with their next heartbeat.`,
		Example: `  cancel 42
  cancel --all --name import --dry-run
  cancel --all --group 7
  cancel --all --name import --state running --yes`,
	})
}

func (p *program) deleteCommand() *cobra.Command {
	op := &operation{
		verb: "delete", past: "deleted", states: append(waiting[:3:3], finished...), apply: (*plainjobs.Queue).Delete,
	}
	return p.operateCommand(op, &cobra.Command{
		Short: "Delete jobs that are not running",
		Long: `Delete deletes jobs that are not running. This cannot be undone, so --all requires
a --state, which may be "any".`,
		Example: `  delete 42
  delete --all --state failed --until 30d
  delete --all --state any --name import --yes`,
	})
}

func (p *program) freeCommand() *cobra.Command {
	states := []plainjobs.State{plainjobs.Running, plainjobs.Done, plainjobs.Failed}
	op := &operation{verb: "free", past: "freed", states: states, fallback: states, apply: (*plainjobs.Queue).FreeKeys}
	return p.operateCommand(op, &cobra.Command{
		Short: "Release unique keys that jobs hold for a time",
		Long: `Free releases unique keys that jobs hold only because their For has not ended, so that
new jobs can use the keys. It applies to jobs that are done or failed, and to running
jobs that are unique until they start. The jobs stay. "jobs --has-key" lists the jobs
that hold keys.`,
		Example: `  free 42
  free --all --name invoice --key order-7`,
	})
}

// A choice selects the jobs of an operation.
type choice struct {
	filter
	all, yes, dryRun bool
}

func (p *program) operateCommand(op *operation, c *cobra.Command) *cobra.Command {
	var ch choice
	c.Use = op.verb + " ID… | --all [flags]"
	ch.flags(p, c)
	c.Flags().BoolVar(&ch.all, "all", false, "all jobs that the other flags select, instead of IDs")
	c.Flags().BoolVarP(&ch.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&ch.dryRun, "dry-run", false, "only print how many jobs would be "+op.past)
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		ids, err := parseIDs(args)
		if err != nil {
			return err
		}
		f, err := ch.resolve(s.now)
		if err != nil {
			return err
		}
		selective := len(ch.states) > 0 || !f.All && !allOf(f)
		switch {
		case len(ids) > 0 && (ch.all || selective):
			return usage("%s: give job IDs, or --all and flags that select jobs, not both", op.verb)
		case len(ids) == 0 && !ch.all:
			return usage("%s: no jobs selected: give job IDs, or --all and flags that select jobs; usage: %s", op.verb, c.UseLine())
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		if len(ids) > 0 {
			return op.onIDs(ctx, s, q, ids, ch.dryRun)
		}
		states, err := op.chosen(ch.states, f.States)
		if err != nil {
			return err
		}
		return op.onAll(ctx, s, q, f, states, &ch)
	})
}

func allOf(f plainjobs.Filter) bool { return counted(f) && len(f.Names) == 0 }

// chosen returns the states that --all applies to.
func (op *operation) chosen(given []string, states []plainjobs.State) ([]plainjobs.State, error) {
	switch {
	case slices.Contains(given, anyState):
		return op.states, nil
	case len(given) > 0:
		for _, s := range states {
			if !op.takes(s) {
				return nil, usage("%s: %v jobs cannot be %s", op.verb, s, op.past)
			}
		}
		return states, nil
	case op.fallback == nil:
		return nil, usage("%s --all: no state selected: give --state STATE, or --state any", op.verb)
	}
	return op.fallback, nil
}

// An outcome is the output of an operation with --json.
type outcome struct {
	Operation string `json:"operation"`
	Matched   int64  `json:"matched"`
	Affected  int    `json:"affected"`
	DryRun    bool   `json:"dry_run"`
}

func (op *operation) report(s *screen, o outcome) error {
	o.Operation = op.verb
	switch {
	case s.json:
		return s.object(o)
	case o.DryRun:
		s.say("would be %s: %d; nothing has changed", op.past, o.Matched)
	default:
		s.say("%s: %d", op.past, o.Affected)
	}
	return nil
}

// onIDs applies the operation to single jobs. It prints why it cannot apply to others.
func (op *operation) onIDs(ctx context.Context, s *screen, q *plainjobs.Queue, ids []int64, dryRun bool) error {
	var right []int64
	for _, id := range ids {
		i, err := q.Get(ctx, id)
		switch {
		case errors.Is(err, plainjobs.ErrNotFound):
			s.say("job #%d does not exist", id)
		case err != nil:
			return err
		case !op.takes(i.State):
			s.say("job #%d is %v and cannot be %s", id, i.State, op.past)
		default:
			right = append(right, id)
		}
	}
	if len(right) == 0 {
		return nothing("no job was %s", op.past)
	}
	o := outcome{Matched: int64(len(right)), DryRun: dryRun}
	var err error
	if !dryRun {
		o.Affected, err = op.apply(q, ctx, plainjobs.Filter{IDs: right})
	}
	if err := errors.Join(err, op.report(s, o)); err != nil {
		return err
	}
	if len(right) < len(ids) {
		return errFailed
	}
	return nil
}

func (op *operation) takes(state plainjobs.State) bool {
	for _, s := range op.states {
		if s == state {
			return true
		}
	}
	return false
}

// onAll applies the operation to all matching jobs, after a confirmation.
func (op *operation) onAll(ctx context.Context, s *screen, q *plainjobs.Queue, f plainjobs.Filter, states []plainjobs.State, ch *choice) error {
	var matched int64
	more := false
	for _, state := range states {
		f.States = []plainjobs.State{state}
		n, cut, err := q.Count(ctx, f, false)
		if err != nil {
			return err
		}
		matched, more = matched+n, more || cut
	}
	if matched == 0 {
		l := &lister{ctx: ctx, q: q}
		return nothing("no job matches%s", l.unknownName(f.Names))
	}
	if ch.dryRun {
		return op.report(s, outcome{Matched: matched, DryRun: true})
	}
	if !ch.yes {
		jobs := "jobs"
		if matched == 1 && !more {
			jobs = "job"
		}
		do := fmt.Sprintf("%s %s %s (%s)", op.verb, number(matched, more), jobs, either(states))
		if err := s.ask(ctx, do, confirmYes+", or --dry-run to preview"); err != nil {
			return err
		}
	}
	o := outcome{Matched: matched}
	var failed error
	for _, state := range states {
		f.States = []plainjobs.State{state}
		n, err := op.apply(q, ctx, f)
		o.Affected += n
		if err != nil && !errors.Is(err, backend.ErrDuplicate) && !errors.Is(err, backend.ErrDropped) {
			s.say("%s: %d", op.past, o.Affected)
			return err
		}
		failed = errors.Join(failed, err)
	}
	return errors.Join(op.report(s, o), failed)
}

func either(states []plainjobs.State) string {
	var names []string
	for _, s := range states {
		names = append(names, s.String())
	}
	if n := len(names) - 1; n > 0 {
		return strings.Join(names[:n], ", ") + " or " + names[n]
	}
	return names[0]
}

// confirmYes tells how to confirm an action without a terminal.
const confirmYes = "pass --yes to confirm"

// ask returns nil if the user confirms an action, e.g. "overwrite FILE". Without a
// terminal it returns an error with a hint.
func (s *screen) ask(ctx context.Context, action, hint string) error {
	if !s.prompts {
		return usage("would %s, but standard input is not a terminal: %s", action, hint)
	}
	fmt.Fprintf(s.err, "%s? [y/N] ", clean(action))
	answers := make(chan string, 1)
	go func() { // without an answer it ends with the program
		line, _ := bufio.NewReader(s.in).ReadString('\n')
		answers <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.err)
		return fmt.Errorf("interrupted; nothing has changed: %w", ctx.Err())
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
		return &statusError{statusFailed, errors.New("not confirmed; nothing has changed")}
	}
}
