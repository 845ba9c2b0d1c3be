package worker

import (
	"maps"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// A concurrency keeps the runs of jobs with an option Concurrency, or an override of it,
// within it. The mutex of the dispatcher guards it.
type concurrency struct {
	jobs   map[string]*engine.Definition
	names  []string
	most   map[*engine.Definition]int // of limited jobs; empty if there are none
	inUse  map[*engine.Definition]int // claimed runs of limited jobs that have not ended
	freed  int                        // how often a run has ended, in all
	claims int                        // in all, see apply
	// claimable are all names of which one may be claimed, as apply found them.
	claimable []string
	overrides map[string]int // by name, as the last heartbeat returned them
}

func newConcurrency(s *setup) concurrency {
	c := concurrency{jobs: s.jobs, names: s.names, inUse: map[*engine.Definition]int{}}
	c.resolve()
	return c
}

// resolve computes what is limited from the options and the overrides.
func (c *concurrency) resolve() {
	c.most = map[*engine.Definition]int{}
	for _, d := range c.jobs {
		n := d.Concurrency
		if d.Batch {
			n = 0 // it is the number of slots
		}
		if o := c.overrides[d.Name]; o != 0 {
			n = o * max(1, d.MaxBatch) // full batches
		}
		if n > 0 {
			c.most[d] = n
		}
	}
}

// used reports whether a job is limited.
func (c *concurrency) used() bool { return len(c.most) > 0 }

// override replaces the overrides and reports whether that changes them. The runs that
// have not ended are counted again, because those of an unlimited job were not. A limit
// below them starts no further run until fewer are left.
func (c *concurrency) override(of map[string]int, unended func(func(*run) bool)) bool {
	if maps.Equal(c.overrides, of) {
		return false
	}
	c.overrides = of
	c.resolve()
	clear(c.inUse)
	for r := range unended {
		r.counted = false
		c.take(r)
	}
	c.freed++
	return true
}

// take counts a claimed run.
func (c *concurrency) take(r *run) {
	if c.used() && c.most[r.def] > 0 {
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
	if !c.used() {
		return
	}
	req.MaxPerName, req.Names, c.claimable = map[string]int{}, nil, nil
	for _, name := range c.names {
		d := c.jobs[name]
		if most := c.most[d]; most > 0 {
			left := most - c.inUse[d]
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
