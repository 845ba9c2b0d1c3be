// Package jobs has the jobs of the program. A file here is a job: importing the
// package makes it known. Their handlers are methods of services, which perform
// jobs in turn; so they are declared here, and bound where the program starts.
package jobs

import (
	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/examples/signup/schema"
)

// DoubleOptIn asks a contact to confirm. At most one job per contact is unfinished.
var DoubleOptIn = plainjobs.Declare[schema.Contact](plainjobs.Filename(), plainjobs.MaxAttempts(5),
	plainjobs.UniqueBy(func(c schema.Contact) string { return c.Email }))
