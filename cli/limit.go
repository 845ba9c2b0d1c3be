package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// limitFlags are the values of the flags of limit, as given.
type limitFlags struct {
	running, rate, concurrency, crashes string
	keepDone, keepFailed                string
	keepRows, keepBytes                 string
	dropDone, dropFailed, reset         bool
	weights                             map[string]int
	by                                  string
}

func (p *program) limitCommand() *cobra.Command {
	var f limitFlags
	c := &cobra.Command{
		Use:   "limit [NAME [flags]]",
		Short: "Show the limits of jobs, or change those of one at run time",
		Long: `Limit shows the limits of each name that has some, those of NAME, or changes the
latter. A change applies instead of what programs define, in all processes, also after
restarts and deploys, until --reset. Claims use it at once, and running workers use
--concurrency within a quarter of their lease. If a limit is below what runs, these
runs continue, and none starts until fewer run. "none" lifts a limit.`,
		Example: `  limit
  limit invoice --max-running 5
  limit invoice --rate 100/2s --concurrency none
  limit invoice --weight acme=3
  limit invoice --keep-done 24h --keep-rows 10000
  limit invoice --reset`,
		Args: takes(0, 1),
	}
	flags := c.Flags()
	flags.StringVar(&f.running, "max-running", "", "at most `N` running in all processes, or none")
	flags.StringVar(&f.rate, "rate", "", "at most `N/PERIOD` starts, such as 100/2s, or none")
	flags.StringVar(&f.concurrency, "concurrency", "", "at most `N` running in each worker, or none")
	flags.StringVar(&f.crashes, "max-crashes", "", "`N` crashes fail a job, or none")
	flags.StringVar(&f.keepDone, "keep-done", "", "keep done jobs for `DURATION`; 0 keeps none")
	flags.StringVar(&f.keepFailed, "keep-failed", "", "keep failed and cancelled jobs for `DURATION`; 0 keeps none")
	flags.StringVar(&f.keepRows, "keep-rows", "", "keep at most `N` finished jobs, or none for no limit")
	flags.StringVar(&f.keepBytes, "keep-bytes", "", "keep finished jobs of `N` bytes at most, as estimated, or none for no limit")
	flags.BoolVar(&f.dropDone, "drop-done", false, "delete the payloads of done jobs, which stay")
	flags.BoolVar(&f.dropFailed, "drop-failed", false, "delete the payloads of failed and cancelled jobs")
	flags.StringToIntVar(&f.weights, "weight", nil, "give a `KEY=N` of FairBy N jobs in each turn")
	flags.BoolVar(&f.reset, "reset", false, "return to what programs define")
	flags.StringVar(&f.by, "by", "", "`WHO` changes it (default: the user)")
	jsonFlag(c)
	completesFirst(c, p.names)
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		opts, err := f.options()
		changes := len(opts) > 0 || f.reset
		switch {
		case err != nil:
			return err
		case changes && len(args) == 0:
			return usage("limit: give the NAME of the jobs to change; usage: %s", c.UseLine())
		case f.reset && len(opts) > 0:
			return usage("limit: --reset takes no limit: first reset, and then set")
		}
		open := p.openReadOnly
		if changes {
			open = p.open
		}
		q, done, err := open(ctx)
		if err != nil {
			return err
		}
		defer done()
		name := ""
		if len(args) > 0 {
			name = args[0]
			names, err := known(ctx, q)
			if err != nil {
				return err
			}
			if !names[name] && engine.Lookup(name) == nil {
				return nothing("no job is named %s%s", name, didYouMean(name, keys(names)))
			}
		}
		if changes {
			if err := q.Override(ctx, name, cmp.Or(f.by, userName()), opts...); err != nil {
				return err
			}
		}
		return s.limits(ctx, q, name)
	})
}

// options returns the options that the flags give.
func (f *limitFlags) options() (opts []plainjobs.DefineOption, err error) {
	number := func(flag, text string, zero int, add func(n int)) {
		if text == "" || err != nil {
			return
		}
		n := -1
		if text != "none" {
			n, err = strconv.Atoi(text)
			if err != nil || n < zero {
				err = usage("limit: --%s %q is neither a number above %d nor none", flag, text, zero-1)
				return
			}
		}
		add(n)
	}
	keep := plainjobs.History{DropDone: f.dropDone, DropFailed: f.dropFailed}
	number("max-running", f.running, 1, func(n int) { opts = append(opts, plainjobs.MaxRunning(n)) })
	number("concurrency", f.concurrency, 1, func(n int) { opts = append(opts, plainjobs.Concurrency(n)) })
	number("max-crashes", f.crashes, 1, func(n int) { opts = append(opts, plainjobs.MaxCrashes(n)) })
	number("keep-rows", f.keepRows, 1, func(n int) { keep.Rows = n })
	number("keep-bytes", f.keepBytes, 1, func(n int) { keep.Bytes = int64(n) })
	retention := func(flag, text string, d *time.Duration) {
		if text == "" || err != nil {
			return
		}
		if *d, err = time.ParseDuration(text); err != nil || *d < 0 {
			err = usage("limit: --%s %q is not a duration such as 24h", flag, text)
		} else if *d == 0 {
			*d = -1
		}
	}
	retention("keep-done", f.keepDone, &keep.Done)
	retention("keep-failed", f.keepFailed, &keep.Failed)
	for _, key := range slices.Sorted(maps.Keys(f.weights)) {
		opts = append(opts, plainjobs.FairWeight(key, f.weights[key]))
	}
	if keep != (plainjobs.History{}) {
		opts = append(opts, plainjobs.Keep(keep))
	}
	switch {
	case err != nil || f.rate == "":
	case f.rate == "none":
		opts = append(opts, plainjobs.RateLimit(-1, 0))
	default:
		count, period, _ := strings.Cut(f.rate, "/")
		n, notNumber := strconv.Atoi(count)
		per, notDuration := time.ParseDuration(period)
		if notNumber != nil || notDuration != nil {
			return nil, usage("limit: --rate %q is neither N/PERIOD, such as 100/2s, nor none", f.rate)
		}
		opts = append(opts, plainjobs.RateLimit(n, per))
	}
	return opts, err
}

// limits prints the limits of a name, or with an empty name of all that have some.
func (s *screen) limits(ctx context.Context, q *plainjobs.Queue, name string) error {
	infos, err := q.Names(ctx)
	if err != nil {
		return err
	}
	t := &table{header: []string{"NAME", "LIMIT", "VALUE", "DEFINED", "NOTE"}}
	for i := range infos {
		n := &infos[i]
		if name != "" && n.Name != name || n.Name == "" {
			continue
		}
		limits := engine.Limits(n)
		switch {
		case s.json && (name != "" || len(limits) > 0):
			if err := s.object(limitRecordOf(n)); err != nil {
				return err
			}
		case len(limits) == 0 && name != "":
			limits = []engine.Limit{{Name: "none"}}
		}
		for i, l := range limits {
			shown := ""
			if i == 0 {
				shown = clean(n.Name)
			}
			t.add(shown, l.Name, cmp.Or(l.Value, "-"), cmp.Or(l.Defined, "-"), s.limitNote(n, l, i == 0))
		}
	}
	if s.json {
		return nil
	}
	return t.write(s.out, s.live)
}

// limitNote says whether a limit is overridden, and in the first line of a name by whom.
func (s *screen) limitNote(n *plainjobs.NameInfo, l engine.Limit, first bool) string {
	var notes []string
	if l.Overridden {
		notes = append(notes, "overridden")
	}
	if o := n.Override; first && !o.Zero() {
		notes = append(notes, fmt.Sprintf("last change: %s, %s", clean(cmp.Or(o.By, "unknown")), s.when(o.At)))
	}
	if first && n.Differ {
		notes = append(notes, "workers define different limits")
	}
	return strings.Join(notes, "; ")
}

// limitRecord is the output of limit with --json.
type limitRecord struct {
	Name      string     `json:"name"`
	Limits    limitsOf   `json:"limits"`
	Defined   limitsOf   `json:"defined"`
	Override  *limitsOf  `json:"override,omitempty"`
	By        string     `json:"by,omitempty"`
	ChangedAt *time.Time `json:"changed_at,omitempty"`
	Differ    bool       `json:"differ,omitempty"`
}

// limitsOf are limits in a limitRecord. Negative ones lift a limit.
type limitsOf struct {
	MaxRunning  int     `json:"max_running,omitempty"`
	Rate        int     `json:"rate,omitempty"`
	PerSeconds  float64 `json:"per_seconds,omitempty"`
	Concurrency int     `json:"concurrency,omitempty"`
	MaxCrashes  int     `json:"max_crashes,omitempty"`
	KeepDone    float64 `json:"keep_done_seconds,omitempty"`
	KeepFailed  float64 `json:"keep_failed_seconds,omitempty"`
	KeepRows    int     `json:"keep_rows,omitempty"`
	KeepBytes   int64   `json:"keep_bytes,omitempty"`
	DropDone    bool    `json:"drop_done,omitempty"`
	DropFailed  bool    `json:"drop_failed,omitempty"`
	// Weights are those of fair keys.
	Weights map[string]int `json:"weights,omitempty"`
}

// limitsIn returns the limits in s.
func limitsIn(s backend.Settings) limitsOf {
	return limitsOf{
		MaxRunning: s.MaxRunning, Rate: s.Rate, PerSeconds: s.Per.Seconds(), MaxCrashes: s.MaxCrashes,
		KeepDone: seconds(s.History.Done), KeepFailed: seconds(s.History.Failed), KeepRows: s.History.Rows, KeepBytes: s.History.Bytes,
		DropDone: s.History.DropDone, DropFailed: s.History.DropFailed,
	}
}

// seconds returns a retention in seconds, -1 if jobs are not kept.
func seconds(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return d.Seconds()
}

func limitRecordOf(n *plainjobs.NameInfo) limitRecord {
	r := limitRecord{
		Name: n.Name, Limits: limitsIn(n.Settings), Defined: limitsIn(n.Defined), By: n.Override.By, Differ: n.Differ,
	}
	if o := n.Override; !o.Zero() {
		of := limitsIn(o.Settings)
		of.Concurrency, of.Weights = o.Concurrency, o.Weights
		r.Override, r.ChangedAt = &of, &o.At
	}
	return r
}

// userName returns the user who runs this program.
func userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "local user"
}
