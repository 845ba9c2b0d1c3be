package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/doctor"
	"github.com/plainjobs/plainjobs/internal/engine"
	"github.com/plainjobs/plainjobs/internal/payload"
)

func (p *program) checkCommand() *cobra.Command {
	var payloads bool
	var ignore []string
	c := &cobra.Command{
		Use:   "check [flags]",
		Short: "Check that this program can run its jobs and schedules",
		Long: `Check opens the queue, which checks its schema. It reports jobs without a handler,
and schedules with an unknown time zone or without a next tick.

With --payloads it also decodes the payload of each unfinished job as this build
would. It reports names that the program does not define, fields that a job's type
does not have, and values that do not fit. Run it before a deployment. A worker
ignores unknown fields; check reports them because their data is lost.`,
		Example: `  check
  check --payloads
  check --payloads --ignore report,import`,
		Args: takes(0, 0),
	}
	c.Flags().BoolVar(&payloads, "payloads", false, "decode the payload of each unfinished job")
	c.Flags().StringSliceVar(&ignore, "ignore", nil, "skip jobs with these `NAMES`, e.g. those of other programs")
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		var r report
		q, done, err := p.setUp(readOnly(ctx))
		if errors.Is(err, backend.ErrSchemaTooOld) {
			r.Bad("store", "run migrate, or start a process of this build", "%v", err)
			return s.report(&r.Report)
		}
		if err != nil {
			return err
		}
		defer done()
		r.Schema(ctx, q)
		r.handlers(q)
		r.schedules(q, s)
		if payloads {
			if err := r.payloads(ctx, q, ignore); err != nil {
				return err
			}
		}
		return s.report(&r.Report)
	})
}

// A report is a report of doctor to which check adds findings.
type report struct{ doctor.Report }

var reportHeader = []string{"CHECK", "", "FOUND", "FIX"}

// reportWidth is the maximum width of a report, in columns.
const reportWidth = 140

// widths returns the widths of the columns FOUND and FIX.
func widths(r *doctor.Report) (int, int) {
	first, found, fix := len(reportHeader[0]), len(reportHeader[2]), len(reportHeader[3])
	for _, f := range r.Findings {
		first = max(first, utf8.RuneCountInString(clean(f.Check)))
		found = max(found, utf8.RuneCountInString(clean(f.What)))
		fix = max(fix, utf8.RuneCountInString(clean(f.Fix)))
	}
	most := reportWidth - first - len("  wrong    ")
	if found+fix > most {
		fix = min(fix, max(most-found, most*2/5))
		found = most - fix
	}
	return found, fix
}

// wrapText breaks text into lines of at most width runes.
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

// report prints the findings, and returns an error if one of them is wrong.
func (s *screen) report(r *doctor.Report) error {
	t := &table{header: reportHeader}
	wrong := false
	foundWidth, fixWidth := widths(r)
	for _, f := range r.Findings {
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
		what, fix := wrapText(f.What, foundWidth), wrapText(f.Fix, fixWidth)
		for i := range max(len(what), len(fix)) {
			row := []any{f.Check, verdict, "", ""}
			if i > 0 {
				row[0], row[1] = "", cell{"", normal}
			}
			if i < len(what) {
				row[2] = what[i]
			}
			if i < len(fix) {
				row[3] = fix[i]
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

func (r *report) handlers(q *plainjobs.Queue) {
	bound := 0
	for _, d := range engine.Definitions() {
		if (*engine.Handle)(q).Queue().Handler(d) != nil {
			bound++
			continue
		}
		r.Bad("handlers", "bind one with plainjobs.Handle in cli.App.Setup", "%s, declared at %s, has no handler", d.Name, place(d.Where))
	}
	if all := len(engine.Definitions()); bound == all {
		r.Well("handlers", "bound: %d of %d", bound, all)
	}
}

func (r *report) schedules(q *plainjobs.Queue, s *screen) {
	well, schedules := 0, (*engine.Handle)(q).Queue().Schedules()
	for _, d := range schedules {
		pl := &plan{name: d.Name, spec: d.Spec, zone: d.Zone, defined: d}
		pl.look(s.now, 1, nil)
		switch {
		case pl.problem != nil:
			r.Bad("schedules", "import time/tzdata if the system has no time zone database", "%s, defined at %s: %v", d.Name, place(d.Where), pl.problem)
		case len(pl.ticks) == 0:
			r.Bad("schedules", "", "%s, defined at %s, has no next tick", d.Name, place(d.Where))
		default:
			well++
		}
	}
	if all := len(schedules); well == all {
		r.Well("schedules", "with a next tick: %d of %d", well, all)
	}
}

// A mismatched is a reason why this build cannot decode the payloads of a name.
type mismatched struct {
	name, what string
}

// affected counts the jobs with one mismatch.
type affected struct {
	jobs  int64
	first int64 // the lowest ID
}

// payloads decodes the payloads of unfinished jobs.
func (r *report) payloads(ctx context.Context, q *plainjobs.Queue, ignore []string) error {
	reader, err := storeOf[backend.Reader](q, "check --payloads")
	if err != nil {
		return err
	}
	counts, err := q.Counts(ctx)
	if err != nil {
		return err
	}
	found := map[mismatched]*affected{}
	jobs := int64(0)
	for _, state := range append(waiting[:3:3], plainjobs.Running) {
		if !slices.ContainsFunc(counts, func(c plainjobs.Count) bool { return c.State == state }) {
			continue
		}
		req := backend.ListRequest{Filter: backend.Filter{States: []backend.State{state}}, Limit: 1000, Payloads: true}
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
				for _, what := range unfit(q, j) {
					key := mismatched{j.Name, what}
					if found[key] == nil {
						found[key] = &affected{first: j.ID}
					}
					found[key].jobs++
					found[key].first = min(found[key].first, j.ID)
				}
			}
		}
	}
	for _, key := range inOrder(found) {
		m := found[key]
		r.Bad("payloads", "", "%s: %s: %s, first #%d", key.name, key.what, plural(m.jobs, "job"), m.first)
	}
	r.Well("payloads", "examined %s", plural(jobs, "job"))
	return nil
}

func inOrder(found map[mismatched]*affected) (all []mismatched) {
	for key := range found {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b mismatched) int { return strings.Compare(a.name+"\x00"+a.what, b.name+"\x00"+b.what) })
	return all
}

// unfit returns the reasons why this build cannot decode a job's payload.
func unfit(q *plainjobs.Queue, j *backend.Info) []string {
	d := engine.Lookup(j.Name)
	if d == nil {
		return []string{"not defined by this program"}
	}
	data, err := (*engine.Handle)(q).Queue().Decrypt(engine.KindPayload, j.Name, j.Payload)
	if err != nil {
		return []string{err.Error()}
	}
	if data == nil {
		data = []byte{}
	}
	return payload.Mismatches(d, data)
}
