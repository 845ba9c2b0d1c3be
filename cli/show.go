package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) showCommand() *cobra.Command {
	var decrypt, follow bool
	c := &cobra.Command{
		Use:   "show ID [flags]",
		Short: "Show a job: its payload, times, attempts and errors",
		Long: `Show prints everything that the store has about a job, and what the job waits for.
With --decrypt it decrypts what is encrypted, with the keys of this program. With --follow
it then prints what the job's handler logs, as workers store it with their heartbeats,
until the job has finished.`,
		Example: `  show 42
  show 42 --follow
  show 42 --decrypt
  show 42 --json | jq .payload`,
		Args: takes(1, 1),
	}
	jsonFlag(c)
	c.Flags().BoolVar(&follow, "follow", false, "print what the handler logs until the job has finished")
	c.Flags().BoolVar(&decrypt, "decrypt", false, "decrypt payloads, results, steps and errors")
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		return p.withJob(ctx, args[0], func(q *plainjobs.Queue, i *plainjobs.Info) error {
			if decrypt {
				decrypted, err := q.Decrypt(*i)
				if err != nil {
					return err
				}
				*i = decrypted
			}
			if s.json && !follow {
				return s.object(recordOf(i))
			}
			if s.json {
				return usage("show: --follow prints text: leave out --json")
			}
			why, err := q.Why(ctx, i.ID)
			if err != nil {
				return err
			}
			steps, err := q.Steps(ctx, i.ID)
			if err != nil && !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
			if decrypt {
				if err := decryptSteps(q, i.Name, steps); err != nil {
					return err
				}
			}
			if err := s.show(i, why, steps); err != nil || !follow {
				return err
			}
			return s.follow(ctx, q, i, decrypt)
		})
	})
}

// decryptSteps decrypts the results of steps.
func decryptSteps(q *plainjobs.Queue, name string, steps []backend.Step) (err error) {
	for i := range steps {
		if steps[i].Result, err = (*engine.Handle)(q).Queue().Decrypt(engine.KindStep, name, steps[i].Result); err != nil {
			return fmt.Errorf("step %s: %w", steps[i].Name, err)
		}
	}
	return nil
}

// withJob calls f with the job whose ID is arg.
func (p *program) withJob(ctx context.Context, arg string, f func(*plainjobs.Queue, *plainjobs.Info) error) error {
	ids, err := parseIDs([]string{arg})
	if err != nil {
		return err
	}
	q, done, err := p.openReadOnly(ctx)
	if err != nil {
		return err
	}
	defer done()
	i, err := q.Get(ctx, ids[0])
	if errors.Is(err, plainjobs.ErrNotFound) {
		return nothing("job #%d does not exist, or was deleted", ids[0])
	}
	if err != nil {
		return err
	}
	return f(q, &i)
}

// show prints a job as a table, its payload and its stacks.
func (s *screen) show(i *plainjobs.Info, why string, steps []backend.Step) error {
	t := &table{header: []string{"JOB", fmt.Sprintf("%s #%d", clean(i.Name), i.ID)}}
	t.add("state", stateCell(i))
	t.add("attempt", attempt(i))
	if i.Priority != 0 {
		t.add("priority", i.Priority)
	}
	t.add("stored", s.stamp(i.CreatedAt))
	if !i.RunAt.Equal(i.CreatedAt) && (i.FairKey == "" || i.State == plainjobs.Scheduled) {
		t.add("run at", s.stamp(i.RunAt))
	}
	if !i.ExpiresAt.IsZero() {
		t.add("expires", s.stamp(i.ExpiresAt))
	}
	for n, e := range i.Errors {
		if n > 0 && e.Attempt < i.Errors[n-1].Attempt {
			t.add("", "retried by an operator: attempts count from 1 again")
		}
		t.add(fmt.Sprintf("attempt %d", e.Attempt), fmt.Sprintf("%s  %s", s.stamp(e.At), e.Error))
		if e.Worker != "" {
			took := "less than 0.1 s" // workers store no less
			if e.Took > 0 {
				took = e.Took.Round(time.Millisecond).String()
			}
			t.add("", fmt.Sprintf("on %s, for %s", e.Worker, took))
		}
	}
	for _, step := range steps {
		t.add("step "+step.Name, s.stamp(step.At)+"  "+string(step.Result))
	}
	s.showRun(t, i)
	if i.Crashes > 0 {
		t.add("crashes", i.Crashes)
	}
	if i.ProgressTotal > 0 {
		t.add("progress", fmt.Sprintf("%d of %d", i.ProgressDone, i.ProgressTotal))
	}
	if i.UniqueKey != "" {
		t.add("unique key", i.UniqueKey)
	}
	if i.SerialKey != "" {
		t.add("serial key", i.SerialKey)
	}
	if i.FairKey != "" {
		t.add("fair key", i.FairKey)
	}
	if len(i.Groups) > 0 {
		t.add("in group", strings.Trim(fmt.Sprint(i.Groups), "[]"))
	}
	if i.CallbackOf != 0 {
		t.add("callback", fmt.Sprintf("%s of group %d", i.CallbackOn, i.CallbackOf))
	}
	for _, key := range keys(i.Metadata) {
		t.add("metadata", key+" = "+i.Metadata[key])
	}
	t.add("why", why)
	if err := s.print(t); err != nil {
		return err
	}
	if i.Dropped {
		s.block("payload", "dropped when the job ended")
	} else {
		s.block("payload", pretty(i.Payload))
	}
	if i.Result != nil {
		s.block("result", pretty(i.Result))
	}
	for _, l := range i.Logs {
		s.block(titleOf("log", l.Attempt, l.At), l.Text)
	}
	for _, e := range i.Errors {
		if e.Stack != "" {
			s.block(titleOf("stack", e.Attempt, e.At), e.Stack)
		}
	}
	return nil
}

// showRun adds when the latest run started and ended, and how long it took.
func (s *screen) showRun(t *table, i *plainjobs.Info) {
	if !i.StartedAt.IsZero() {
		t.add("started", s.stamp(i.StartedAt))
	}
	if !i.FinishedAt.IsZero() {
		t.add(i.State, s.stamp(i.FinishedAt))
	}
	switch {
	case i.StartedAt.IsZero():
	case i.State == plainjobs.Running:
		t.add("running", "for "+short(s.now.Sub(i.StartedAt)))
	case !i.FinishedAt.IsZero():
		t.add("took", short(i.FinishedAt.Sub(i.StartedAt)))
	}
}

// block prints an indented text below a title.
func (s *screen) block(title, text string) {
	fmt.Fprintf(s.out, "\n%s\n", title)
	for line := range strings.Lines(strings.TrimSpace(text)) {
		fmt.Fprintf(s.out, "  %s\n", strings.TrimRight(cleanLines(line), "\n"))
	}
}

// pretty indents JSON. It returns other data unchanged.
func pretty(data []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, data, "", "  ") != nil {
		return string(data)
	}
	return b.String()
}
