package conformance_test

import (
	"fmt"

	"github.com/plainjobs/plainjobs/conformance"
)

// The rules can be read without a failing run.
func ExampleRules() {
	for _, r := range conformance.Rules() {
		if r.Name == "complete/stale" || r.Name == "claim/exclusive" {
			fmt.Printf("%s: %s\n", r.Name, r.Text)
		}
	}
	// Output:
	// claim/exclusive: two claims never hold one job, not even in different processes
	// complete/stale: completing with a lease that was reaped and claimed again changes nothing and returns it as lost
}
