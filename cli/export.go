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
		Short: "Write jobs to a file, as lines of JSON",
		Long: `Export writes jobs to a file, or to standard output, for import. Jobs are complete,
with payload, attempts, keys and errors. Without flags that select jobs, export
also writes limits, pauses and schedules. Each line ends with a checksum, and the
last line has the totals.

Workers may run meanwhile. To export the queue as of one moment, run pause --all
first. Only the file's owner may read it, because payloads may be secret.`,
		Example: `  export backup.jsonl
  export --state failed --name invoice failed.jsonl
  export | gzip > backup.jsonl.gz`,
		Args: takes(0, 1),
	}
	f.flags(p, c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "overwrite an existing file without asking")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		selected, err := f.resolve(s.now)
		if err != nil {
			return err
		}
		toFile := len(args) == 1 && args[0] != "-"
		switch {
		case !toFile && s.json:
			return usage("export: --json prints a summary to standard output, where the jobs go: give a FILE")
		case !toFile && p.terminal(s.out):
			return usage("export: standard output is a terminal: give a FILE, or redirect the output with | or >")
		}
		q, done, err := p.openReadOnly(ctx)
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
			return nothing("no job matches%s", l.unknownName(selected.Names))
		}
		if err := out.keep(); err != nil {
			return err
		}
		return s.transferred("exported", "to "+out.name, &t)
	})
}

// A file is the target of an export.
type file struct {
	io.Writer
	name   string
	f      *os.File // nil for standard output, or after keep
	rename bool     // keep renames f to name
}

// create creates a file that other users cannot read. If the file exists, create asks
// first, and the old content stays until keep.
func (s *screen) create(ctx context.Context, name string, yes bool) (*file, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		return &file{f, name, f, false}, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("export: %s exists and is not a regular file: choose another name", name)
	}
	if !yes {
		if err := s.ask(ctx, "overwrite "+name, confirmYes); err != nil {
			return nil, err
		}
	}
	f, err = os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // with mode 0600
	if err != nil {
		return nil, err
	}
	return &file{f, name, f, true}, nil
}

// keep syncs and closes the file and gives it its name.
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

// discard removes the file, unless keep was called.
func (o *file) discard() {
	if o.f != nil {
		_ = o.f.Close()
		_ = os.Remove(o.f.Name())
	}
}

// A transferRecord is the output of export, import and move with --json.
type transferRecord struct {
	Jobs       int64  `json:"jobs"`
	Schedules  int64  `json:"schedules"`
	Settings   int64  `json:"settings"`
	Groups     int64  `json:"groups"`
	Signals    int64  `json:"signals"`
	Present    int64  `json:"present"`
	Superseded int64  `json:"superseded"`
	Pruned     int64  `json:"pruned"`
	Sum        string `json:"sha256"`
}

// transferred prints the totals of a transfer.
func (s *screen) transferred(past, where string, t *plainjobs.Transfer) error {
	if s.json {
		return s.object(transferRecord{t.Jobs, t.Schedules, t.Settings, t.Groups, t.Signals, t.Present, t.Superseded, t.Pruned, t.Sum})
	}
	s.say("%s %s %s; sha256 %s", past, totals(t), where, t.Sum)
	if n := t.Present; n > 0 {
		s.say("already present, left unchanged: %d", n)
	}
	if n := t.Superseded; n > 0 {
		s.say("cancelled because other jobs have their unique keys: %d", n)
	}
	if n := t.Pruned; n > 0 {
		s.say("skipped because their retention has ended: %d", n)
	}
	running := int64(0)
	for _, c := range t.Counts {
		if c.State == plainjobs.Running {
			running += c.Jobs
		}
	}
	if running > 0 {
		s.say("%s running; import makes such jobs pending", wasOrWere(running))
	}
	return nil
}

// totals returns the numbers of jobs, schedules, settings and groups, as text.
func totals(t *plainjobs.Transfer) string {
	parts := []string{plural(t.Jobs, "job")}
	for _, p := range []struct {
		n    int64
		what string
	}{{t.Schedules, "schedule"}, {t.Settings, "setting"}, {t.Groups, "group"}, {t.Signals, "signal"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

func wasOrWere(n int64) string {
	if n == 1 {
		return "1 job was"
	}
	return fmt.Sprintf("%d jobs were", n)
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
