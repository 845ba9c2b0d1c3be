package child

import (
	"context"
	"errors"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// A scene is the state in which a bench starts.
type scene struct {
	start  time.Time
	leases []backend.Lease
	failed int64 // a job with an error
	ids    []int64
}

var (
	benchWorker = backend.Worker{ID: 7, Host: "bench", Lease: time.Hour, Schedules: []string{"bench"}}
	benchNames  = []string{"bench/a", "bench/b"}
)

// prepare brings a new store into the state of the scene.
func (s *scene) prepare(b *sqlite.Backend) error {
	ctx := context.Background()
	job := func(name string) backend.NewJob {
		return backend.NewJob{Name: name, Payload: []byte("{}"), MaxAttempts: 3}
	}
	var jobs []backend.NewJob
	for range 7 {
		jobs = append(jobs, job("bench/a"))
	}
	if _, err := b.Push(ctx, jobs); err != nil {
		return err
	}
	claim := func(w backend.Worker, limit int) ([]backend.Job, error) {
		return b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: benchNames, Limit: limit})
	}
	claimed, err := claim(benchWorker, 6)
	if err != nil {
		return err
	}
	for i := range claimed {
		s.leases = append(s.leases, claimed[i].Lease)
	}
	s.failed = s.leases[5].ID
	if _, err := b.Complete(ctx, []backend.Completion{{Lease: s.leases[4], Result: []byte("1")}}); err != nil {
		return err
	}
	if _, err := b.Fail(ctx, []backend.Failure{{Lease: s.leases[5], Ending: backend.EndFailed, Error: "bench"}}); err != nil {
		return err
	}
	if _, err := claim(backend.Worker{ID: 8, Host: "dead", Lease: time.Millisecond}, 1); err != nil {
		return err
	}
	later := job("bench/b")
	later.Delay = time.Minute
	pushed, err := b.Push(ctx, []backend.NewJob{job("bench/a"), job("bench/b"), job("bench/b"), later, job("bench/idle")})
	if err != nil {
		return err
	}
	for _, p := range pushed {
		s.ids = append(s.ids, p.ID)
	}
	_, err = b.Set(ctx, 0, []backend.Settings{{Name: "bench/b", MaxRunning: 5, Rate: 100, Per: time.Hour}})
	return errors.Join(err,
		b.Pause(ctx, "bench/idle", true),
		b.Define(ctx, []backend.Schedule{{Name: "bench", Definition: "d", Next: s.start}}))
}

// batch returns an export of another store.
func (s *scene) batch() backend.Batch {
	job := func(id int64, key string) backend.Record {
		return backend.Record{Info: backend.Info{
			ID: id, Name: "bench/new", State: backend.Pending, Payload: []byte("{}"), MaxAttempts: 3,
			CreatedAt: s.start, RunAt: s.start, UniqueKey: key, SerialKey: "s",
		}}
	}
	return backend.Batch{
		LastID: 2000, Jobs: []backend.Record{job(1000, ""), job(1001, "k"), job(1002, "l")},
		Schedules: []backend.Schedule{{Name: "bench3", Definition: "d", Next: s.start}},
	}
}
