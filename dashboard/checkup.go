package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/doctor"
)

const (
	// checkupEvery is how old the findings may be that a page shows. They cost more than
	// everything else on it, and an examination waits where the store is locked.
	checkupEvery = 15 * time.Second
	// checkupWait is how long a page waits for the first findings.
	checkupWait = 50 * time.Millisecond
	// oldestWait bounds the search for the oldest waiting job.
	oldestWait = 100 * time.Millisecond
)

// A checkup has the latest findings about the queue. A page that needs newer ones starts
// an examination and shows the ones before.
type checkup struct {
	queue *plainjobs.Queue

	mu     sync.Mutex
	ended  chan struct{} // of the examination in progress, or nil
	latest findings
}

// findings are what an examination has found.
type findings struct {
	at      time.Time // zero if there was none
	problem []doctor.Finding
	oldest  *plainjobs.Info // the pending job that has waited longest
	partly  bool            // there are more pending jobs than were looked at
	err     error
}

// get returns the latest findings.
func (c *checkup) get(ctx context.Context) findings {
	c.mu.Lock()
	latest, ended := c.latest, c.ended
	if ended == nil && time.Since(latest.at) > checkupEvery {
		ended = make(chan struct{})
		c.ended = ended
		go c.examine()
	}
	c.mu.Unlock()
	if !latest.at.IsZero() || ended == nil {
		return latest
	}
	wait := time.NewTimer(checkupWait)
	defer wait.Stop()
	select {
	case <-ended:
	case <-wait.C:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

func (c *checkup) examine() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*readWait)
	defer cancel()
	var r doctor.Report
	f := findings{err: r.Examine(ctx, c.queue, backend.ExamineRequest{})}
	for _, one := range r.Findings {
		if !one.OK {
			f.problem = append(f.problem, one)
		}
	}
	if f.err == nil {
		f.oldest, f.partly, f.err = c.oldest(ctx)
	}
	f.at = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = f
	close(c.ended)
	c.ended = nil
}

// oldest returns the pending job that has waited longest, of those that it can look at
// in oldestWait, the newest first.
func (c *checkup) oldest(ctx context.Context) (oldest *plainjobs.Info, partly bool, err error) {
	left := int64(0)
	counts, err := c.queue.Counts(ctx)
	for _, n := range counts {
		if n.State == plainjobs.Pending {
			left += n.Jobs
		}
	}
	deadline := time.Now().Add(oldestWait)
	for before := int64(0); err == nil && left > 0; {
		if time.Now().After(deadline) {
			return oldest, true, nil
		}
		var jobs []plainjobs.Info
		if jobs, before, err = c.queue.List(ctx, plainjobs.Filter{States: []plainjobs.State{plainjobs.Pending}}, before, 1000); before == 0 {
			left = 0
		}
		left -= int64(len(jobs))
		for i := range jobs {
			if oldest == nil || jobs[i].RunAt.Before(oldest.RunAt) {
				oldest = &jobs[i]
			}
		}
	}
	return oldest, false, err
}
