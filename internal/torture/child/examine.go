package child

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// An Exam is the result of using a database that may be damaged.
type Exam struct {
	// Kinds of the errors, by operation. Operations that succeeded are not in
	// it.
	Kinds map[string]string `json:",omitempty"`
	// Texts of the errors without a kind.
	Texts []string `json:",omitempty"`
	// Jobs is the list of jobs, if Listed is set.
	Jobs []Job
	// Listed is set if the jobs could be listed.
	Listed bool
}

// examine opens the database at path and uses it as programs do. Each call has
// a deadline, which should never pass.
func (s *server) examine(ctx context.Context, path string) (e Exam) {
	e.Kinds = map[string]string{}
	try := func(op string, f func(ctx context.Context) error) bool {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		err := f(ctx)
		if err == nil {
			return true
		}
		e.Kinds[op] = Kind(err)
		if e.Kinds[op] == "other" {
			e.Texts = append(e.Texts, op+": "+err.Error())
		}
		return false
	}
	var b *sqlite.Backend
	if !try("open", func(context.Context) (err error) { b, err = s.Open(path, nil); return err }) {
		return e
	}
	defer func() { try("close", func(context.Context) error { return b.Close() }) }()

	e.Listed = try("list", func(ctx context.Context) (err error) { e.Jobs, err = list(ctx, b); return err })
	try("count", func(ctx context.Context) error { _, err := b.Count(ctx); return err })
	w := backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "exam", Lease: time.Minute}
	req := backend.ClaimRequest{Worker: w, Register: true, Names: []string{even.Name(), odd.Name()}, Limit: 20, Suspects: true}
	var jobs []backend.Job
	if !try("claim", func(ctx context.Context) (err error) { jobs, err = b.Claim(ctx, req); return err }) {
		jobs = nil
	}
	var done []backend.Completion
	var failures []backend.Failure
	for i := range jobs {
		if i%2 == 0 {
			done = append(done, backend.Completion{Lease: jobs[i].Lease})
		} else {
			failures = append(failures, backend.Failure{Lease: jobs[i].Lease, Ending: backend.EndRetry, Error: "exam"})
		}
	}
	lost := errors.New("a lease that was just claimed is lost")
	try("complete", func(ctx context.Context) error {
		l, err := b.Complete(ctx, done)
		if err == nil && len(l) > 0 {
			err = lost
		}
		return err
	})
	try("fail", func(ctx context.Context) error {
		l, err := b.Fail(ctx, failures)
		if err == nil && len(l) > 0 {
			err = lost
		}
		return err
	})
	try("heartbeat", func(ctx context.Context) error {
		_, err := b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: w})
		return err
	})
	try("push", func(ctx context.Context) error {
		_, err := b.Push(ctx, []backend.NewJob{{Name: even.Name(), Payload: []byte("{}"), MaxAttempts: 1}})
		return err
	})
	try("reap", func(ctx context.Context) error { _, err := b.Reap(ctx, backend.ReapRequest{Expired: true}); return err })
	return e
}
