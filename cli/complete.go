package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// completes has the shell complete a flag's value.
func completes(c *cobra.Command, flag string, values func() []string) {
	err := c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag is not there
	}
}

// completesFirst has the shell complete the first argument.
func completesFirst(c *cobra.Command, values func() []string) {
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values(), cobra.ShellCompDirectiveNoFileComp
	}
}

// names returns the names of jobs, of this program and in the store, for
// completion: if the store does not answer soon, only the first.
func (p *program) names() []string {
	all := map[string]bool{}
	for _, d := range engine.Definitions() {
		all[d.Name] = true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if q, done, err := p.open(ctx); err == nil {
		defer done()
		known, _ := q.Names(ctx) // none, if it does not tell
		for _, n := range known {
			if n.Name != "" {
				all[n.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}
