package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
)

// latest is the number of failures on the first page.
const latest = 5

// failures are the newest failed jobs, by the names that were read.
type failures struct {
	mu   sync.Mutex
	last map[string]failedJobs
}

// failedJobs are the newest failed jobs of some names.
type failedJobs struct {
	read   time.Time
	failed int64 // how many there were
	jobs   []plainjobs.Info
}

// latestFailures returns the newest failed jobs that the sender may see. An update reads them
// if their number has changed, and every few seconds.
func (h *handler) latestFailures(ctx context.Context, rq *request, counts []plainjobs.Count) ([]jobRow, error) {
	f := plainjobs.Filter{States: []plainjobs.State{plainjobs.Failed}}
	failed, hides := int64(0), false
	for _, c := range counts {
		switch {
		case c.State != plainjobs.Failed:
		case rq.maySee(c.Name):
			f.Names = append(f.Names, c.Name)
			failed += c.Jobs
		default:
			hides = true
		}
	}
	if failed == 0 {
		return nil, nil
	}
	if !hides {
		f.Names = nil
	}
	key, err := json.Marshal(f.Names)
	if err != nil {
		return nil, err
	}
	h.failures.mu.Lock()
	last := h.failures.last[string(key)]
	h.failures.mu.Unlock()
	if !rq.live || last.failed != failed || time.Since(last.read) >= seldomEvery {
		last = failedJobs{read: time.Now(), failed: failed}
		if last.jobs, _, err = h.queue.List(ctx, f, 0, latest); err != nil {
			return nil, err
		}
		if err := h.addErrors(ctx, last.jobs); err != nil {
			return nil, err
		}
		h.failures.keep(string(key), last)
	}
	var rows []jobRow
	for _, j := range last.jobs {
		if rq.maySee(j.Name) { // an alias may have it under another name
			j.Metadata = maps.Clone(j.Metadata) // Redact may change it
			rq.redact(&j)
			rows = append(rows, rq.row(&j))
		}
	}
	return rows, nil
}

// keep replaces what was read for a key, and what is too old to be shown.
func (f *failures) keep(key string, jobs failedJobs) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := map[string]failedJobs{key: jobs}
	for other, last := range f.last {
		if other != key && time.Since(last.read) < seldomEvery {
			next[other] = last
		}
	}
	f.last = next
}

// addErrors reads the errors of failed jobs. Redact sees the whole jobs.
func (h *handler) addErrors(ctx context.Context, jobs []plainjobs.Info) error {
	for i := range jobs {
		whole, err := h.queue.Get(ctx, jobs[i].ID)
		switch {
		case errors.Is(err, plainjobs.ErrNotFound): // it was deleted
		case err != nil:
			return err
		case h.opts.Redact != nil:
			jobs[i] = whole
		default:
			jobs[i].Errors = whole.Errors
		}
	}
	return nil
}
