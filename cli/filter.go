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

// A filter holds the flags that select jobs.
type filter struct {
	states, names           []string
	key, text, since, until string
	metadata                map[string]string
	ids                     []int64
	hasKey                  bool
	group                   int64
}

func (f *filter) flags(p *program, c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.states, "state", nil, "only jobs in one of these `STATES`: "+strings.Join(stateNames(), ", "))
	flags.StringSliceVar(&f.names, "name", nil, "only jobs with one of these `NAMES`")
	flags.StringToStringVar(&f.metadata, "metadata", nil, "only jobs whose metadata has these `PAIRS`, e.g. tenant=acme")
	flags.StringVar(&f.key, "key", "", "only jobs with the unique or serial `KEY`")
	flags.BoolVar(&f.hasKey, "has-key", false, "only jobs that hold a unique key now")
	flags.StringVar(&f.text, "error", "", "only jobs whose last error contains `TEXT`")
	flags.StringVar(&f.since, "since", "", "only jobs that finished, or were stored if unfinished, since `TIME`: a time, or a duration before now, e.g. 2h or 7d")
	flags.StringVar(&f.until, "until", "", "like --since, but before `TIME`")
	flags.Int64Var(&f.group, "group", 0, "only members of the group with this `ID`")
	flags.Int64SliceVar(&f.ids, "id", nil, "only jobs with one of these `IDS`")
	for _, name := range []string{"id", "metadata"} {
		flags.Lookup(name).DefValue = "" // help would say "default []"
	}
	completes(c, "state", stateNames)
	completes(c, "name", p.names)
}

// resolve returns the filter.
func (f *filter) resolve(now time.Time) (plainjobs.Filter, error) {
	stored := plainjobs.Filter{IDs: f.ids, Names: f.names, Metadata: f.metadata, Key: f.key, HasKey: f.hasKey, Error: f.text, Group: f.group}
	if f.group < 0 {
		return stored, usage("--group %d is not a group ID: give a positive number", f.group)
	}
	var err error
	if stored.Since, err = ago(f.since, now); err != nil {
		return stored, fmt.Errorf("--since: %w", err)
	}
	if stored.Until, err = ago(f.until, now); err != nil {
		return stored, fmt.Errorf("--until: %w", err)
	}
	if !stored.Since.IsZero() && !stored.Until.IsZero() && !stored.Since.Before(stored.Until) {
		return stored, usage("--since %s is not before --until %s: nothing matches", f.since, f.until)
	}
	if slices.Contains(f.states, anyState) {
		return stored, nil
	}
	for _, name := range f.states {
		state, err := parseState(name)
		if err != nil {
			return stored, err
		}
		stored.States = append(stored.States, state)
	}
	return stored, nil
}

// counted reports whether the maintained counts tell how many jobs match.
func counted(f plainjobs.Filter) bool {
	return f.IDs == nil && f.Key == "" && !f.HasKey && f.Error == "" && f.Since.IsZero() && f.Until.IsZero() && f.Group == 0 && len(f.Metadata) == 0
}

// anyState is the --state that selects all states.
const anyState = "any"

func stateNames() (names []string) {
	for _, s := range backend.States() {
		names = append(names, s.String())
	}
	return names
}

func parseState(text string) (backend.State, error) {
	if s, err := plainjobs.ParseState(text); err == nil {
		return s, nil
	}
	return 0, usage("--state %s: unknown state; use one of %s%s", text, strings.Join(stateNames(), ", "), didYouMean(text, stateNames()))
}

// parseIDs parses job IDs, with or without a leading #.
func parseIDs(args []string) (ids []int64, err error) {
	for _, arg := range args {
		id, err := strconv.ParseInt(strings.TrimPrefix(arg, "#"), 10, 64)
		if err != nil || id <= 0 {
			return nil, usage("%q is not a job ID: give a positive number, e.g. 42", arg)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
