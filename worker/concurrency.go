package worker

import (
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A concurrency keeps the runs of jobs with an option Concurrency within it. The mutex
// of the dispatcher guards it.
type concurrency struct {
	jobs   map[string]*engine.Definition
	names  []string
	used   bool                       // a job has the option
	inUse  map[*engine.Definition]int // claimed runs that have not ended
	freed  int                        // how often a run has ended, in all
	claims int                        // in all, see apply
	// claimable are all names of which one may be claimed, as apply found them.
	claimable []string
}

func newConcurrency(s *setup) concurrency {
	c := concurrency{jobs: s.jobs, names: s.names, inUse: map[*engine.Definition]int{}}
	for _, d := range s.jobs {
		c.used = c.used || d.Concurrency > 0
	}
	return c
}

// take counts a claimed run.
func (c *concurrency) take(r *run) {
	if r.def.Concurrency > 0 {
		r.counted = true
		c.inUse[r.def]++
	}
}

// free uncounts a run and reports whether it was counted.
func (c *concurrency) free(r *run) bool {
	if !r.counted {
		return false
	}
	r.counted = false
	c.inUse[r.def]--
	c.freed++
	return true
}

// apply restricts a claim to what may run. If such a job has several names, each claim
// asks for the next of them, so that together they stay within the limit.
func (c *concurrency) apply(req *backend.ClaimRequest) {
	if !c.used {
		return
	}
	req.MaxPerName, req.Names, c.claimable = map[string]int{}, nil, nil
	for _, name := range c.names {
		d := c.jobs[name]
		if d.Concurrency > 0 {
			left := d.Concurrency - c.inUse[d]
			if left <= 0 {
				continue
			}
			c.claimable = append(c.claimable, name)
			if n := c.claims % (1 + len(d.Aliases)); n == 0 && name != d.Name || n > 0 && name != d.Aliases[n-1] {
				continue
			}
			req.MaxPerName[name] = left
		} else {
			c.claimable = append(c.claimable, name)
		}
		req.Names = append(req.Names, name)
	}
}
