package postgrestest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/worker"
)

var clockJob = plainjobs.Declare[string]("clock")

// testWrongClock performs tasks in a process whose clock is ten minutes behind the
// server's, or ten minutes ahead. At and Before mean the server's time.
func (d Driver) testWrongClock(t *testing.T) {
	for _, wrong := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		t.Run("server "+wrong.String(), func(t *testing.T) {
			s := d.schema(t)
			b := s.open(t, &postgres.Options{Schema: s.name})
			s.moveClock(t, wrong)
			q := plainjobs.New(b, nil)
			get := func(id int64) backend.Info {
				t.Helper()
				info, err := b.Get(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				return info
			}
			first, err := q.Perform(t.Context(), clockJob.With("now"))
			if err != nil {
				t.Fatal(err)
			}
			now := get(first).CreatedAt // the server's time
			passed := plainjobs.Before(now.Add(-5 * time.Minute))
			if _, err := q.Perform(t.Context(), clockJob.With("", passed)); err == nil || !strings.Contains(err.Error(), "has passed") {
				t.Errorf("with a deadline that passed five minutes ago Perform = %v, want an error", err)
			}
			tx, err := s.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			at := now.Add(2 * time.Second).Truncate(time.Microsecond)
			tasks := []plainjobs.Task{
				clockJob.With("at", plainjobs.At(at)),
				clockJob.With("before", plainjobs.Before(now.Add(5*time.Minute))),
				clockJob.With("later", plainjobs.At(now.Add(5*time.Minute))),
			}
			ids, err := q.PerformMany(t.Context(), tasks...)
			if err != nil {
				t.Fatal(err)
			}
			more, err := q.WithTx(tx).PerformMany(t.Context(), tasks...)
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}

			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			plainjobs.Handle(q, clockJob, func(context.Context, string) error { return nil })
			w := worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{clockJob}})
			go func() { ended <- w.Run(ctx) }()
			for _, id := range []int64{first, ids[0], ids[1], more[0], more[1]} {
				until(t, func() bool { return get(id).State == backend.Done })
			}
			stop()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
			for _, id := range []int64{ids[0], more[0]} {
				if info := get(id); !info.RunAt.Equal(at) || info.FinishedAt.Before(at) {
					t.Errorf("the job for %v has the time %v and was done at %v", at, info.RunAt, info.FinishedAt)
				}
			}
			for _, id := range []int64{ids[2], more[2]} {
				if info := get(id); info.State != backend.Scheduled {
					t.Errorf("the job for five minutes from now is %v, want scheduled", info.State)
				}
			}
		})
	}
}
