package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// completes registers the values that the shell offers for a flag.
func completes(c *cobra.Command, flag string, values func() []string) {
	err := c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag does not exist
	}
}

// completesFirst registers the values that the shell offers for the first argument.
func completesFirst(c *cobra.Command, values func() []string) {
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values(), cobra.ShellCompDirectiveNoFileComp
	}
}

// names returns the names of this program's jobs and of jobs in the store, for
// completion. If the store does not answer within completeWait, it returns only the
// program's names.
func (p *program) names() []string {
	all := map[string]bool{}
	for _, d := range engine.Definitions() {
		all[d.Name] = true
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeWait)
	defer cancel()
	stored := make(chan []string, 1)
	go func() { stored <- p.storedNames(ctx) }() // opening the store may take long
	select {
	case names := <-stored:
		for _, name := range names {
			all[name] = true
		}
	case <-ctx.Done():
	}
	// A name with control characters cannot be typed.
	maps.DeleteFunc(all, func(name string, _ bool) bool { return name == "" || clean(name) != name })
	return slices.Sorted(maps.Keys(all))
}

// completeWait is how long completion waits for the store.
const completeWait = time.Second

// storedNames returns the names of jobs in the store, or none if reading them fails.
func (p *program) storedNames(ctx context.Context) (names []string) {
	q, done, err := p.openReadOnly(ctx)
	if err != nil {
		return nil
	}
	defer done()
	known, _ := q.Names(ctx)
	for _, n := range known {
		names = append(names, n.Name)
	}
	return names
}

// definedSchedules returns the names of the schedules that the program defines.
func definedSchedules() (names []string) {
	for _, s := range engine.Schedules() {
		names = append(names, s.Name)
	}
	return names
}
