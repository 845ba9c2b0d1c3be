package dashboard

import (
	"context"
	"net/url"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// storedRows is how many stored schedules a page shows.
const storedRows = 20

// stored adds a page of stored schedules, with the last jobs that their ticks pushed.
func (h *handler) stored(ctx context.Context, rq *request, store backend.Scheduler, q url.Values, p *schedulesPage) error {
	p.Prefix = q.Get("prefix")
	found, err := store.StoredSchedules(ctx, backend.StoredRequest{Prefix: p.Prefix, After: q.Get("after"), Limit: storedRows})
	if err != nil {
		return err
	}
	runs, err := h.runsOf(ctx, rq, found.Schedules)
	if err != nil {
		return err
	}
	for i := range found.Schedules {
		s := &found.Schedules[i]
		if !rq.maySee(s.Job.Name) {
			continue
		}
		timing, _, _ := engine.TimingOf(s.Definition)
		as := &backend.Schedule{Name: s.Name, Next: s.Next, Last: s.Last, Paused: s.Paused}
		row := rq.schedule(s.Name, s.Job.Name, timing, as, visible(s.Problem))
		row.Job, row.Stored = visible(row.Job), true
		if rq.may(RunNow, s.Job.Name) {
			row.Acts = append(row.Acts, rq.runAct(s.Name))
		}
		for _, id := range s.Runs {
			if r, ok := runs[id]; ok {
				row.Runs = append(row.Runs, r)
			}
		}
		p.Schedules = append(p.Schedules, row)
	}
	if n := len(found.Schedules); n == storedRows {
		p.Next = "schedules?" + url.Values{"prefix": {p.Prefix}, "after": {found.Schedules[n-1].Name}}.Encode()
	}
	return nil
}

// runsOf returns the last jobs of schedules that the store has, by ID.
func (h *handler) runsOf(ctx context.Context, rq *request, all []backend.StoredSchedule) (map[int64]jobRow, error) {
	f := plainjobs.Filter{}
	for i := range all {
		f.IDs = append(f.IDs, all[i].Runs...)
	}
	rows := map[int64]jobRow{}
	if len(f.IDs) == 0 {
		return rows, nil
	}
	s := search{handler: h, rq: rq, filter: f, most: len(f.IDs)}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	found, err := s.rows(ctx)
	for _, r := range found {
		rows[r.ID] = r
	}
	return rows, err
}

// storedJob returns the name of the job of a stored schedule, or an empty text.
func storedJob(ctx context.Context, store backend.Scheduler, name string) (string, error) {
	found, err := store.StoredSchedules(ctx, backend.StoredRequest{Prefix: name, Limit: 1})
	if err != nil || len(found.Schedules) == 0 || found.Schedules[0].Name != name {
		return "", err
	}
	return found.Schedules[0].Job.Name, nil
}
