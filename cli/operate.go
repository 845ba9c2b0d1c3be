package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// An operation is what retry, cancel and delete do.
type operation struct {
	verb, past string
	// states are those in which it means something, and fallback those that
	// --all takes if no state is given.
	states, fallback []plainjobs.State
	apply            func(*plainjobs.Queue, context.Context, plainjobs.Filter) (int, error)
}

var (
	waiting  = []plainjobs.State{plainjobs.Scheduled, plainjobs.Blocked, plainjobs.Pending}
	finished = []plainjobs.State{plainjobs.Done, plainjobs.Failed, plainjobs.Cancelled}
)

func (p *program) retryCommand() *cobra.Command {
	var priority int16
	c := &cobra.Command{
		Short: "Have finished jobs run again, and scheduled ones now",
		Long: `Retry makes finished jobs wait again as if they were new, and has scheduled ones
run at once. With --all it takes the failed ones, if no --state is given. Give
thousands of them a low --priority, and they hold up nothing that is new.`,
		Example: `  retry 42 43
  retry --all --name invoice --error "connection refused"
  retry --all --name invoice --priority -10
  retry --all --state scheduled --name invoice --yes`,
	}
	c.Flags().Int16Var(&priority, "priority", 0, "priority of the jobs from then on (default their own)")
	return p.operateCommand(&operation{
		verb: "retry", past: "retried", states: append([]plainjobs.State{plainjobs.Scheduled}, finished...),
		fallback: []plainjobs.State{plainjobs.Failed},
		apply: func(q *plainjobs.Queue, ctx context.Context, f plainjobs.Filter) (int, error) {
			if c.Flags().Changed("priority") {
				return q.Retry(ctx, f, plainjobs.Priority(priority))
			}
			return q.Retry(ctx, f)
		},
	}, c)
}

func (p *program) cancelCommand() *cobra.Command {
	op := &operation{
		verb: "cancel", past: "cancelled", states: append(waiting[:3:3], plainjobs.Running),
		fallback: append(waiting[:3:3], plainjobs.Running), apply: (*plainjobs.Queue).Cancel,
	}
	return p.operateCommand(op, &cobra.Command{
		Short: "End jobs that wait or run",
		Long: `Cancel ends jobs that wait, and the contexts of those that run: their workers
hear of it within a heartbeat.`,
		Example: `  cancel 42
  cancel --all --name import --dry-run
  cancel --all --name import --state running --yes`,
	})
}

func (p *program) deleteCommand() *cobra.Command {
	op := &operation{
		verb: "delete", past: "deleted", states: append(waiting[:3:3], finished...), apply: (*plainjobs.Queue).Delete,
	}
	return p.operateCommand(op, &cobra.Command{
		Short: "Delete jobs that do not run",
		Long: `Delete deletes jobs that do not run. With --all it wants a --state, which may be
"any": what is deleted cannot be had back.`,
		Example: `  delete 42
  delete --all --state failed --until 30d
  delete --all --state any --name import --yes`,
	})
}

func (p *program) freeCommand() *cobra.Command {
	states := []plainjobs.State{plainjobs.Running, plainjobs.Done, plainjobs.Failed}
	op := &operation{verb: "free", past: "freed", states: states, fallback: states, apply: (*plainjobs.Queue).FreeKeys}
	return p.operateCommand(op, &cobra.Command{
		Short: "Give back unique keys that jobs keep for a time",
		Long: `Free gives back the unique keys that jobs keep by For alone, so that a new job
may have them: of jobs that are done or failed, or that run and are unique until they
start. The jobs stay. "jobs --has-key" lists the jobs that have keys.`,
		Example: `  free 42
  free --all --name invoice --key order-7`,
	})
}

// A choice is which jobs an operation is for, and how it goes about it.
type choice struct {
	filter
	all, yes, dryRun bool
}

func (p *program) operateCommand(op *operation, c *cobra.Command) *cobra.Command {
	var ch choice
	c.Use = op.verb + " ID… | --all [flags]"
	ch.flags(p, c)
	c.Flags().BoolVar(&ch.all, "all", false, "every job that the other flags select, instead of IDs")
	c.Flags().BoolVarP(&ch.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&ch.dryRun, "dry-run", false, "only say what would be "+op.past)
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		ids, err := parseIDs(args)
		if err != nil {
			return err
		}
		f, state, err := ch.resolve(s.now)
		if err != nil {
			return err
		}
		selective := ch.state != "" || !f.All && !allOf(f)
		switch {
		case len(ids) > 0 && (ch.all || selective):
			return usage("%s: give the numbers of jobs, or --all with what selects them, not both", op.verb)
		case len(ids) == 0 && !ch.all:
			return usage("%s: which jobs? Give their numbers, or --all and what selects them: usage: %s", op.verb, c.UseLine())
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		if len(ids) > 0 {
			return op.onIDs(ctx, s, q, ids, ch.dryRun)
		}
		states, err := op.chosen(ch.state, state)
		if err != nil {
			return err
		}
		return op.onAll(ctx, s, q, f, states, &ch)
	})
}

func allOf(f plainjobs.Filter) bool { return counted(f) && f.Name == "" }

// chosen returns the states that --all takes.
func (op *operation) chosen(given string, state plainjobs.State) ([]plainjobs.State, error) {
	switch {
	case given == anyState:
		return op.states, nil
	case given != "":
		for _, s := range op.states {
			if s == state {
				return []plainjobs.State{state}, nil
			}
		}
		return nil, usage("%s: jobs that are %v cannot be %s", op.verb, state, op.past)
	case op.fallback == nil:
		return nil, usage("%s --all: say which --state, or --state any", op.verb)
	}
	return op.fallback, nil
}

// An outcome is what an operation prints with --json.
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
		s.say("would be %s: %d; nothing was done", op.past, o.Matched)
	default:
		s.say("%s: %d", op.past, o.Affected)
	}
	return nil
}

// onIDs applies the operation to single jobs, and says of those that it is not
// for why.
func (op *operation) onIDs(ctx context.Context, s *screen, q *plainjobs.Queue, ids []int64, dryRun bool) error {
	var right []int64
	for _, id := range ids {
		i, err := q.Get(ctx, id)
		switch {
		case errors.Is(err, plainjobs.ErrNotFound):
			s.say("there is no job #%d", id)
		case err != nil:
			return err
		case !op.takes(i.State):
			s.say("job #%d is %v and cannot be %s", id, i.State, op.past)
		default:
			right = append(right, id)
		}
	}
	if len(right) == 0 {
		return nothing("nothing was %s", op.past)
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

// onAll applies the operation to all that matches, when that was agreed to.
func (op *operation) onAll(ctx context.Context, s *screen, q *plainjobs.Queue, f plainjobs.Filter, states []plainjobs.State, ch *choice) error {
	var matched int64
	more := false
	for _, state := range states {
		f.State = state
		n, cut, err := q.Count(ctx, f, false)
		if err != nil {
			return err
		}
		matched, more = matched+n, more || cut
	}
	if matched == 0 {
		l := &lister{ctx: ctx, q: q}
		return nothing("no job matches%s", l.unknownName(f.Name))
	}
	if ch.dryRun {
		return op.report(s, outcome{Matched: matched, DryRun: true})
	}
	if !ch.yes {
		question := fmt.Sprintf("%s %s jobs that are %s?", op.verb, number(matched, more), either(states))
		if matched == 1 {
			question = fmt.Sprintf("%s one job that is %s?", op.verb, either(states))
		}
		if err := s.ask(ctx, question); err != nil {
			return err
		}
	}
	o := outcome{Matched: matched}
	var failed error
	for _, state := range states {
		f.State = state
		n, err := op.apply(q, ctx, f)
		o.Affected += n
		if err != nil && !errors.Is(err, backend.ErrDuplicate) {
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

// ask returns nil if the user confirms.
func (s *screen) ask(ctx context.Context, question string) error {
	if !s.prompts {
		return usage("%s There is nobody to answer: say --yes, or --dry-run to see what it is about", question)
	}
	fmt.Fprintf(s.err, "%s [y/N] ", clean(question))
	answers := make(chan string, 1)
	go func() { // it may never come; then the program's end ends this too
		line, _ := bufio.NewReader(s.in).ReadString('\n')
		answers <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.err)
		return fmt.Errorf("interrupted; nothing was done: %w", ctx.Err())
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
		return &statusError{statusFailed, errors.New("nothing was done")}
	}
}
