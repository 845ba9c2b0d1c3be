package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/dashboard"
)

// BenchmarkMillion measures the commands of an operator on a queue of a million jobs in
// SQLite: most are done, some failed, some waiting. The figures include opening the file.
//
//	go test ./cli -run '^$' -bench Million -benchtime 20x
func BenchmarkMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "jobs.db")
	million(b, path)
	w := &world{at: noon}
	w.program = newProgram(App{Dashboard: dashboard.Handler, Open: func(context.Context) (*plainjobs.Queue, error) {
		store, err := modernc.Open(path, nil)
		if err != nil {
			return nil, err
		}
		return plainjobs.New(store, nil), nil
	}})
	for _, args := range [][]string{
		{"stats"}, {"jobs"}, {"jobs", "--limit", "100"}, {"jobs", "--state", "pending"}, {"jobs", "--name", "job-7"},
		{"jobs", "--count", "--key", "none"}, {"top"}, {"workers"}, {"show", "500000"}, {"why", "999999"},
	} {
		b.Run(fmt.Sprint(args), func(b *testing.B) {
			for b.Loop() {
				if status := Execute(w.root(io.Discard, io.Discard, args...)); status != 0 {
					b.Fatalf("it exited with %d", status)
				}
			}
		})
	}
}

// million stores a million jobs with ten names: 95 % done, 2 % failed, 3 % waiting.
func million(b *testing.B, path string) {
	b.Helper()
	ctx := context.Background()
	store, err := modernc.Open(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	self := backend.Worker{ID: 1, Host: "mill", PID: 1, Lease: 24 * 60 * 60 * 1e9}
	register := true
	const batch = 10_000
	for range 100 {
		jobs := make([]backend.NewJob, batch)
		var names []string
		for i := range jobs {
			jobs[i] = backend.NewJob{Name: fmt.Sprint("job-", i%10), Payload: []byte(`{"to":"ada@example.com"}`), MaxAttempts: 1}
		}
		for i := range 10 {
			names = append(names, fmt.Sprint("job-", i))
		}
		_, err := store.Push(ctx, jobs)
		check(err)
		for left := batch - 3*batch/100; left > 0; {
			claimed, err := store.Claim(ctx, backend.ClaimRequest{Worker: self, Register: register, Names: names, Limit: min(left, 1000)})
			check(err)
			register = false
			left -= len(claimed)
			var done []backend.Completion
			var failed []backend.Failure
			for i := range claimed {
				if i%50 == 0 {
					failed = append(failed, backend.Failure{Lease: claimed[i].Lease, Ending: backend.EndFailed, Error: "it did not work"})
				} else {
					done = append(done, backend.Completion{Lease: claimed[i].Lease})
				}
			}
			_, err = store.Complete(ctx, done)
			check(err)
			_, err = store.Fail(ctx, failed)
			check(err)
		}
	}
}
