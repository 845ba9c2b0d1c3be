package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
)

func (p *program) exportCommand() *cobra.Command {
	var f filter
	var yes bool
	c := &cobra.Command{
		Use:   "export [FILE] [flags]",
		Short: "Write jobs, whole, as lines of JSON",
		Long: `Export writes jobs to a file, or to standard output, for import: each one whole,
payload bytes, attempts, keys and errors included, and with them the limits,
pauses and schedules, unless flags select jobs. Each line ends with a checksum,
and the last one says how many there are.

The queue may be at work; for an export that is of one time, pause --all first.
The file is only for its owner to read, as payloads may be secret.`,
		Example: `  export backup.jsonl
  export --state failed --name invoice failed.jsonl
  export | gzip > backup.jsonl.gz`,
		Args: takes(0, 1),
	}
	f.flags(p, c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before a file is written over")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		selected, state, err := f.resolve(s.now)
		if err != nil {
			return err
		}
		selected.State = state
		toFile := len(args) == 1 && args[0] != "-"
		switch {
		case !toFile && s.json:
			return usage("export: --json prints what was done, and standard output has the jobs: give a FILE")
		case !toFile && p.terminal(s.out):
			return usage("export: the jobs go to a terminal: give a FILE, or send them on with | or >")
		}
		q, done, err := p.look(ctx)
		if err != nil {
			return err
		}
		defer done()
		out := &file{Writer: s.out, name: "standard output"}
		if toFile {
			if out, err = s.create(ctx, args[0], yes); err != nil {
				return err
			}
			defer out.discard()
		}
		t, err := q.Export(ctx, out, selected)
		if err != nil {
			return err
		}
		if t.Jobs == 0 && !allOf(selected) {
			l := &lister{ctx: ctx, q: q}
			return nothing("no job matches%s", l.unknownName(selected.Name))
		}
		if err := out.keep(); err != nil {
			return err
		}
		return s.transferred("exported", "to "+out.name, &t)
	})
}

// A file is what an export is written to.
type file struct {
	io.Writer
	name   string
	f      *os.File // nil: it was there before
	rename bool     // f takes its place at the end
}

// create makes a file that other users may not read. One that is there is written
// over when that was agreed to, and stays until all is written.
func (s *screen) create(ctx context.Context, name string, yes bool) (*file, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		return &file{f, name, f, false}, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there and is no file", name)
	}
	if !yes {
		if err := s.ask(ctx, name+" is there already: write over it?"); err != nil {
			return nil, err
		}
	}
	f, err = os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // with mode 0600
	if err != nil {
		return nil, err
	}
	return &file{f, name, f, true}, nil
}

// keep ends the file.
func (o *file) keep() error {
	if o.f == nil {
		return nil
	}
	if err := errors.Join(o.f.Sync(), o.f.Close()); err != nil {
		return err
	}
	if o.rename {
		if err := os.Rename(o.f.Name(), o.name); err != nil {
			return err
		}
	}
	o.f = nil
	return nil
}

// discard removes what was not kept.
func (o *file) discard() {
	if o.f != nil {
		_ = o.f.Close()
		_ = os.Remove(o.f.Name())
	}
}

// A carried is what export and import print with --json.
type carried struct {
	Jobs       int64  `json:"jobs"`
	Schedules  int64  `json:"schedules"`
	Settings   int64  `json:"settings"`
	Present    int64  `json:"present"`
	Superseded int64  `json:"superseded"`
	Pruned     int64  `json:"pruned"`
	Sum        string `json:"sha256"`
}

// transferred prints what was done.
func (s *screen) transferred(past, where string, t *plainjobs.Transfer) error {
	if s.json {
		return s.object(carried{t.Jobs, t.Schedules, t.Settings, t.Present, t.Superseded, t.Pruned, t.Sum})
	}
	s.say("%s %s %s; sha256 %s", past, whatWas(t), where, t.Sum)
	if n := t.Present; n > 0 {
		s.say("there already, and left as they were: %d", n)
	}
	if n := t.Superseded; n > 0 {
		s.say("cancelled because other jobs have their unique keys: %d", n)
	}
	if n := t.Pruned; n > 0 {
		s.say("left out because they are past their keep here: %d", n)
	}
	running := int64(0)
	for _, c := range t.Counts {
		if c.State == plainjobs.Running {
			running += c.Jobs
		}
	}
	if running > 0 {
		s.say("of the jobs %d ran: where they are imported, they wait again", running)
	}
	return nil
}

// whatWas says how many of what there were.
func whatWas(t *plainjobs.Transfer) string {
	parts := []string{plural(t.Jobs, "job")}
	for _, p := range []struct {
		n    int64
		what string
	}{{t.Schedules, "schedule"}, {t.Settings, "setting"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
