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
	// oldestWait bounds the search for the oldest waiting job, which reads oldestPage jobs at
	// once.
	oldestWait = 10 * time.Millisecond
	oldestPage = 500
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

// oldest returns the pending job that has waited longest, of those that it can look at in
// oldestWait. If it cannot look at all, it searches for the lowest ID and looks at the jobs with
// the next IDs, so that the answer is rarely wrong by much.
func (c *checkup) oldest(ctx context.Context) (oldest *plainjobs.Info, partly bool, err error) {
	pending := plainjobs.Filter{States: []plainjobs.State{plainjobs.Pending}}
	left, _, err := c.queue.Count(ctx, pending, false)
	if err != nil || left == 0 {
		return nil, false, err
	}
	look := func(before int64) (next int64, err error) {
		jobs, next, err := c.queue.List(ctx, pending, before, oldestPage)
		left -= int64(len(jobs))
		for i := range jobs {
			if oldest == nil || jobs[i].RunAt.Before(oldest.RunAt) {
				oldest = &jobs[i]
			}
		}
		return next, err
	}
	begin := time.Now()
	high, err := look(0)
	for err == nil && left > 0 && high != 0 && time.Since(begin) < oldestWait/2 {
		high, err = look(high)
	}
	if err != nil || left <= 0 || high == 0 {
		return oldest, false, err
	}
	for low := int64(0); high-low > oldestPage && time.Since(begin) < oldestWait; {
		middle := low + (high-low)/2
		jobs, _, err := c.queue.List(ctx, pending, middle, 1)
		switch {
		case err != nil:
			return nil, false, err
		case len(jobs) == 0:
			low = middle
		default:
			high = jobs[0].ID + 1
		}
	}
	_, err = look(high)
	return oldest, true, err
}
