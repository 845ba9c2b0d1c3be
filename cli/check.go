package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

func (p *program) checkCommand() *cobra.Command {
	var payloads bool
	var ignore []string
	c := &cobra.Command{
		Use:   "check [flags]",
		Short: "Check that this program can do what it is asked to",
		Long: `Check opens the queue, which checks its schema, and looks whether each job that
the program defines has a handler, and each schedule a time zone and a next tick.

With --payloads it decodes all jobs that wait as this build would, and lists the
names that it does not define, all fields that its types do not have, and all
values that do not fit. Run it before a deploy. A field that a type does not have
is passed over by a run; it is a finding all the same, as data are lost.`,
		Example: `  check
  check --payloads
  check --payloads --ignore report,import`,
		Args: takes(0, 0),
	}
	c.Flags().BoolVar(&payloads, "payloads", false, "decode the data of every job that waits")
	c.Flags().StringSliceVar(&ignore, "ignore", nil, "jobs with these `NAMES` are other programs'")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		var r report
		q, done, err := p.setUp(looking(ctx))
		if errors.Is(err, backend.ErrSchemaTooOld) {
			r.bad("store", "migrate, or the first process of this build", "%v", err)
			return s.report(&r)
		}
		if err != nil {
			return err
		}
		defer done()
		r.schema(ctx, q)
		r.handlers(q)
		r.schedules(s)
		if payloads {
			if err := r.payloads(ctx, q, ignore); err != nil {
				return err
			}
		}
		return s.report(&r)
	})
}

// A finding is what a check has found.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	What  string `json:"what"`
	Fix   string `json:"fix,omitempty"`
}

type report struct{ findings []finding }

func (r *report) well(check, format string, args ...any) {
	r.findings = append(r.findings, finding{Check: check, OK: true, What: fmt.Sprintf(format, args...)})
}

func (r *report) bad(check, mend, format string, args ...any) {
	r.findings = append(r.findings, finding{Check: check, What: fmt.Sprintf(format, args...), Fix: mend})
}

var reportHeader = []string{"CHECK", "", "FOUND", "FIX"}

// reportWidth is how many columns a report takes at most.
const reportWidth = 140

// widths returns how wide what was found and what mends it may be.
func (r *report) widths() (int, int) {
	first, found, mend := len(reportHeader[0]), len(reportHeader[2]), len(reportHeader[3])
	for _, f := range r.findings {
		first = max(first, utf8.RuneCountInString(clean(f.Check)))
		found = max(found, utf8.RuneCountInString(clean(f.What)))
		mend = max(mend, utf8.RuneCountInString(clean(f.Fix)))
	}
	most := reportWidth - first - len("  wrong    ")
	if found+mend > most {
		mend = min(mend, max(most-found, most*2/5))
		found = most - mend
	}
	return found, mend
}

// wrapText returns text in lines that are no wider than a width.
func wrapText(text string, width int) (lines []string) {
	line := []rune{}
	for _, word := range strings.Split(clean(text), " ") {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) <= width {
			line = append(append(line, ' '), w...)
			continue
		}
		if len(line) > 0 {
			lines = append(lines, string(line))
		}
		for ; len(w) > width; w = w[width:] {
			lines = append(lines, string(w[:width]))
		}
		line = w
	}
	if len(line) > 0 {
		lines = append(lines, string(line))
	}
	return lines
}

// report prints what was found, and returns an error if anything is wrong.
func (s *screen) report(r *report) error {
	t := &table{header: reportHeader}
	wrong := false
	found, mends := r.widths()
	for _, f := range r.findings {
		wrong = wrong || !f.OK
		if s.json {
			if err := s.object(f); err != nil {
				return err
			}
			continue
		}
		verdict := cell{"ok", green}
		if !f.OK {
			verdict = cell{"wrong", red}
		}
		what, mend := wrapText(f.What, found), wrapText(f.Fix, mends)
		for i := range max(len(what), len(mend)) {
			row := []any{f.Check, verdict, "", ""}
			if i > 0 {
				row[0], row[1] = "", cell{"", normal}
			}
			if i < len(what) {
				row[2] = what[i]
			}
			if i < len(mend) {
				row[3] = mend[i]
			}
			t.add(row...)
		}
	}
	if !s.json {
		if err := s.print(t); err != nil {
			return err
		}
	}
	if wrong {
		return errFailed
	}
	return nil
}

// schema says what was opened: that it could be opened is the check.
func (r *report) schema(ctx context.Context, q *plainjobs.Queue) {
	what := describe(q)
	if m, ok := (*engine.Handle)(q).Queue().Backend.(backend.Inspector); ok {
		schema, err := m.Schema(ctx)
		if err != nil {
			r.bad("store", "", "%s: %v", what, err)
			return
		}
		what = fmt.Sprintf("%s, schema version %d of %d", what, schema.Stored, schema.Known)
	}
	r.well("store", "%s", what)
}

func (r *report) handlers(q *plainjobs.Queue) {
	bound := 0
	for _, d := range engine.Definitions() {
		if (*engine.Handle)(q).Queue().Handler(d) != nil {
			bound++
			continue
		}
		r.bad("handlers", "bind one with plainjobs.Handle in cli.App.Setup", "%s, declared at %s, has no handler", d.Name, place(d.Where))
	}
	if all := len(engine.Definitions()); bound == all {
		r.well("handlers", "all have one: %d", all)
	}
}

func (r *report) schedules(s *screen) {
	well := 0
	for _, d := range engine.Schedules() {
		pl := &plan{name: d.Name, spec: d.Spec, zone: d.Zone, defined: d}
		pl.look(s.now, 1, nil)
		switch {
		case pl.problem != nil:
			r.bad("schedules", "import time/tzdata where there is no time zone database", "%s, defined at %s: %v", d.Name, place(d.Where), pl.problem)
		case len(pl.ticks) == 0:
			r.bad("schedules", "", "%s, defined at %s, never ticks again", d.Name, place(d.Where))
		default:
			well++
		}
	}
	if all := len(engine.Schedules()); well == all {
		r.well("schedules", "all tick: %d", all)
	}
}

// A trouble is why this build does not run jobs of a name as they were meant.
type trouble struct {
	name, what string
}

// troubled are the jobs that have a trouble.
type troubled struct {
	jobs  int
	first int64 // the lowest number
}

// payloads decodes what waits or runs.
func (r *report) payloads(ctx context.Context, q *plainjobs.Queue, ignore []string) error {
	reader, err := storeOf[backend.Reader](q, "check --payloads")
	if err != nil {
		return err
	}
	counts, err := q.Counts(ctx)
	if err != nil {
		return err
	}
	found := map[trouble]*troubled{}
	jobs := 0
	for _, state := range append(waiting[:3:3], plainjobs.Running) {
		if !slices.ContainsFunc(counts, func(c plainjobs.Count) bool { return c.State == state }) {
			continue
		}
		req := backend.ListRequest{Filter: backend.Filter{State: state}, Limit: 1000, Payloads: true}
		for more := true; more; more = req.Before != 0 {
			page, err := reader.List(ctx, req)
			if err != nil {
				return err
			}
			req.Before = page.Next
			for i := range page.Jobs {
				j := &page.Jobs[i]
				if slices.Contains(ignore, j.Name) {
					continue
				}
				jobs++
				for _, what := range unfit(j) {
					key := trouble{j.Name, what}
					if found[key] == nil {
						found[key] = &troubled{first: j.ID}
					}
					found[key].jobs++
					found[key].first = min(found[key].first, j.ID)
				}
			}
		}
	}
	for _, key := range inOrder(found) {
		m := found[key]
		r.bad("payloads", "", "%s: %s: in %d of the jobs, the first is #%d", key.name, key.what, m.jobs, m.first)
	}
	r.well("payloads", "decoded: %d", jobs)
	return nil
}

func inOrder(found map[trouble]*troubled) (all []trouble) {
	for key := range found {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b trouble) int { return strings.Compare(a.name+"\x00"+a.what, b.name+"\x00"+b.what) })
	return all
}

// unfit returns why this build does not take a job as it is: nothing, or each
// reason.
func unfit(j *backend.Info) []string {
	d := engine.Lookup(j.Name)
	if d == nil {
		return []string{"this program does not define it"}
	}
	data := j.Payload
	if data == nil {
		data = []byte{}
	}
	return mismatches(d, data)
}
