package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
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

// addErrors reads the last errors of jobs, if they have any. If it takes long, some stay unknown.
// Redact sees the whole jobs.
func (h *handler) addErrors(ctx context.Context, jobs []plainjobs.Info) error {
	at, ids := map[int64]*plainjobs.Info{}, []int64{}
	for i := range jobs {
		if j := &jobs[i]; j.Errors == nil && (j.Failures > 0 || j.State == plainjobs.Cancelled) && j.State != plainjobs.Done {
			at[j.ID], ids = j, append(ids, j.ID)
		}
	}
	reader, ok := h.backend.(backend.Reader)
	if len(ids) == 0 || !ok {
		return nil
	}
	if h.opts.Redact == nil {
		page, err := reader.List(ctx, backend.ListRequest{Filter: backend.Filter{IDs: ids}, Limit: len(ids), LastError: true})
		for i := range page.Jobs {
			at[page.Jobs[i].ID].Errors = page.Jobs[i].Errors
		}
		return err
	}
	deadline := time.Now().Add(errorWait)
	for _, id := range ids {
		if time.Now().After(deadline) {
			return nil
		}
		whole, err := h.queue.Get(ctx, id)
		switch {
		case err == nil:
			*at[id] = whole
		case !errors.Is(err, plainjobs.ErrNotFound): // else it was deleted
			return err
		}
	}
	return nil
}
