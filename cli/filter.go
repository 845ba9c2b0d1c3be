package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// A filter is the flags that select jobs.
type filter struct {
	state, name, key, text, since, until string
	ids                                  []int64
	hasKey                               bool
}

func (f *filter) flags(p *program, c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.state, "state", "", "only jobs that are `STATE`: "+strings.Join(stateNames(), ", "))
	flags.StringVar(&f.name, "name", "", "only jobs called `NAME`")
	flags.StringVar(&f.key, "key", "", "only jobs with the unique or serial `KEY`")
	flags.BoolVar(&f.hasKey, "has-key", false, "only jobs that have a unique key now")
	flags.StringVar(&f.text, "error", "", "only jobs whose last error contains `TEXT`")
	flags.StringVar(&f.since, "since", "", "only jobs that finished, or were stored if they did not, since `TIME`, or so long ago, as 2h")
	flags.StringVar(&f.until, "until", "", "the same for before `TIME`")
	flags.Int64SliceVar(&f.ids, "id", nil, "only jobs with one of these `IDS`")
	completes(c, "state", stateNames)
	completes(c, "name", p.names)
}

// resolve returns the filter without its state, which is returned too.
func (f *filter) resolve(now time.Time) (plainjobs.Filter, backend.State, error) {
	stored := plainjobs.Filter{IDs: f.ids, Name: f.name, Key: f.key, HasKey: f.hasKey, Error: f.text}
	var err error
	if stored.Since, err = ago(f.since, now); err != nil {
		return stored, 0, fmt.Errorf("--since: %w", err)
	}
	if stored.Until, err = ago(f.until, now); err != nil {
		return stored, 0, fmt.Errorf("--until: %w", err)
	}
	if !stored.Since.IsZero() && !stored.Until.IsZero() && !stored.Since.Before(stored.Until) {
		return stored, 0, usage("nothing is since %s and before %s", f.since, f.until)
	}
	if f.state == "" || f.state == anyState {
		return stored, 0, nil
	}
	state, err := parseState(f.state)
	return stored, state, err
}

// counted reports whether a queue knows how many jobs match without a look at
// them.
func counted(f plainjobs.Filter) bool {
	return f.IDs == nil && f.Key == "" && !f.HasKey && f.Error == "" && f.Since.IsZero() && f.Until.IsZero()
}

// anyState is the --state that is none.
const anyState = "any"

func stateNames() (names []string) {
	for _, s := range backend.States() {
		names = append(names, s.String())
	}
	return names
}

func parseState(text string) (backend.State, error) {
	for _, s := range backend.States() {
		if s.String() == text {
			return s, nil
		}
	}
	return 0, usage("--state %s: a job is %s%s", text, strings.Join(stateNames(), ", "), didYouMean(text, stateNames()))
}

// parseIDs reads the numbers of jobs, as they are or as they are printed.
func parseIDs(args []string) (ids []int64, err error) {
	for _, arg := range args {
		id, err := strconv.ParseInt(strings.TrimPrefix(arg, "#"), 10, 64)
		if err != nil || id <= 0 {
			return nil, usage("%q is no number of a job", arg)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
