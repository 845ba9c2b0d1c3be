// Package drifttest tests that a store corrects its derived data after other programs
// have changed jobs by SQL.
package drifttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A Backend is a store under test.
type Backend interface {
	backend.Backend
	backend.Reader
	backend.SettingsStore
	backend.Operator
	backend.Heartbeater
	backend.Inspector
}

// A Store opens a store and runs SQL on its database. In a query each table has the
// prefix "T.".
type Store struct {
	Open func(tb testing.TB) Backend // another handle
	Exec func(tb testing.TB, query string)
	Rows func(tb testing.TB, query string) int // returns a number
}

// Run tests a store. newStore creates an empty one.
func Run(t *testing.T, newStore func(tb testing.TB) Store) {
	for _, test := range []struct {
		name string
		run  func(*scene)
	}{{"Reap", reaps}, {"Repair", repairs}, {"WhileWorkersRun", whileWorkersRun}, {"Sound", sound}, {"Gates", gates}} {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			test.run(&scene{TB: t, Store: s, b: s.Open(t), w: backend.Worker{ID: 7, Host: "h", PID: 1, Lease: time.Hour}})
		})
	}
}

type scene struct {
	testing.TB
	Store
	b Backend
	w backend.Worker
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) push(jobs ...backend.NewJob) []backend.Pushed {
	s.Helper()
	for i := range jobs {
		jobs[i].MaxAttempts = 3
	}
	pushed, err := s.b.Push(s.Context(), jobs)
	s.must(err)
	return pushed
}

func (s *scene) claim(b Backend, names ...string) []backend.Job {
	s.Helper()
	jobs, err := b.Claim(s.Context(), backend.ClaimRequest{Worker: s.w, Register: true, Names: names, Limit: 100})
	s.must(err)
	return jobs
}

func (s *scene) wantClaimed(b Backend, name string, ids ...int64) []backend.Job {
	s.Helper()
	jobs := s.claim(b, name)
	var got []int64
	for _, j := range jobs {
		got = append(got, j.ID)
	}
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		s.Errorf("a claim of %s returned %v, want %v", name, got, ids)
	}
	return jobs
}

// examine returns the finding about derived state.
func (s *scene) examine(repair bool) backend.Finding {
	s.Helper()
	all, err := s.b.Examine(s.Context(), backend.ExamineRequest{Derived: true, Repair: repair})
	s.must(err)
	for _, f := range all {
		if f.Name == "derived state" {
			return f
		}
	}
	s.Fatalf("no finding about derived state: %+v", all)
	return backend.Finding{}
}

// wantExact compares counts with the jobs.
func (s *scene) wantExact() {
	s.Helper()
	counts, err := s.b.Count(s.Context())
	s.must(err)
	counted := map[backend.Count]int64{}
	for before := int64(0); ; {
		page, err := s.b.List(s.Context(), backend.ListRequest{Before: before, Limit: 1000})
		s.must(err)
		for _, j := range page.Jobs {
			counted[backend.Count{Name: j.Name, State: j.State}]++
		}
		if before = page.Next; before == 0 {
			break
		}
	}
	for _, c := range counts {
		k := backend.Count{Name: c.Name, State: c.State}
		if counted[k] != c.Jobs {
			s.Errorf("%d jobs of %s are %v, but the count is %d", counted[k], c.Name, c.State, c.Jobs)
		}
		delete(counted, k)
	}
	if len(counted) > 0 {
		s.Errorf("not counted: %v", counted)
	}
}

// ids formats IDs for a query.
func ids(list ...int64) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

// fill stores jobs that hold everything that other jobs may wait for.
func (s *scene) fill() (limited, serial, bounded []backend.Pushed, unique backend.Pushed) {
	s.Helper()
	_, err := s.b.Set(s.Context(), 0, []backend.Settings{{Name: "limited", MaxRunning: 1}})
	s.must(err)
	limited = s.push(backend.NewJob{Name: "limited"}, backend.NewJob{Name: "limited"})
	serial = s.push(backend.NewJob{Name: "serial", Serial: "k"}, backend.NewJob{Name: "serial", Serial: "k"}, backend.NewJob{Name: "serial", Serial: "k"})
	bounded = s.push(backend.NewJob{Name: "bounded", MaxPending: 2}, backend.NewJob{Name: "bounded", MaxPending: 2, Delay: time.Hour})
	unique = s.push(backend.NewJob{Name: "unique", Unique: backend.Unique{Key: "k", For: time.Hour}})[0]
	s.wantClaimed(s.b, "limited", limited[0].ID)
	s.wantClaimed(s.b, "serial", serial[0].ID)
	return limited, serial, bounded, unique
}

// A worker repairs by itself what would block names forever.
func reaps(s *scene) {
	limited, serial, bounded, unique := s.fill()
	s.Exec(s, "DELETE FROM T.jobs WHERE id IN ("+ids(limited[0].ID, serial[0].ID, bounded[0].ID, bounded[1].ID, unique.ID)+")")
	// A unique key is free at once. Push does not return the ID of a missing job.
	if p := s.push(backend.NewJob{Name: "unique", Unique: backend.Unique{Key: "k"}})[0]; p.Duplicate || p.ID == unique.ID {
		s.Errorf("a push with the key of a deleted job returned %+v", p)
	}
	s.wantClaimed(s.b, "limited")
	s.wantClaimed(s.b, "serial")
	_, err := s.b.Push(s.Context(), []backend.NewJob{{Name: "bounded", MaxPending: 2, MaxAttempts: 1}})
	if !errors.Is(err, backend.ErrQueueFull) {
		s.Errorf("a push that only the wrong count forbids: %v", err)
	}
	other := s.Open(s) // another process
	_, err = other.Reap(s.Context(), backend.ReapRequest{})
	s.must(err)
	s.wantClaimed(s.b, "limited", limited[1].ID)
	second := s.wantClaimed(other, "serial", serial[1].ID)
	s.push(backend.NewJob{Name: "bounded", MaxPending: 2})
	s.wantExact()
	_, err = s.b.Complete(s.Context(), []backend.Completion{{Lease: second[0].Lease}})
	s.must(err)
	s.wantClaimed(s.b, "serial", serial[2].ID)
	if f := s.examine(false); f.Problem != "" {
		s.Errorf("after Reap: %+v", f)
	}
	// All of them.
	s.Exec(s, "DELETE FROM T.jobs")
	_, err = s.Open(s).Reap(s.Context(), backend.ReapRequest{})
	s.must(err)
	for _, name := range []string{"limited", "serial"} {
		id := s.push(backend.NewJob{Name: name, Serial: "k"})[0].ID
		s.wantClaimed(s.b, name, id)
	}
}

// An examination finds all differences, and corrects them with Repair.
func repairs(s *scene) {
	limited, serial, _, unique := s.fill()
	done := s.push(backend.NewJob{Name: "done", Fair: "k"}, backend.NewJob{Name: "done"}, backend.NewJob{Name: "done"})
	jobs := s.claim(s.b, "done")
	s.must(s.b.StoreProgress(s.Context(), []backend.Progress{{Lease: jobs[0].Lease, Done: 1, Total: 2}}))
	_, err := s.b.Complete(s.Context(), []backend.Completion{{Lease: jobs[0].Lease, Result: []byte("r")}})
	s.must(err)
	_, err = s.b.Fail(s.Context(), []backend.Failure{{Lease: jobs[1].Lease, Ending: backend.EndFailed, Error: "e"}, {Lease: jobs[2].Lease, Ending: backend.EndRetry, Error: "e"}})
	s.must(err)
	if f := s.examine(false); f.Problem != "" {
		s.Errorf("before: %+v", f)
	}
	_, err = s.b.Reap(s.Context(), backend.ReapRequest{}) // PostgreSQL compacts its counts
	s.must(err)
	for _, test := range []struct{ what, query string }{
		{"finished jobs", "DELETE FROM T.jobs WHERE id IN (" + ids(done[0].ID, done[1].ID) + ")"},
		{"a running job", "UPDATE T.jobs SET state = 5 WHERE id = " + ids(limited[0].ID)},
		{"a head", "DELETE FROM T.jobs WHERE id = " + ids(serial[0].ID)},
		{"a blocked job", "UPDATE T.jobs SET state = 3 WHERE id = " + ids(serial[2].ID)},
		{"a unique key", "DELETE FROM T.keys WHERE job = " + ids(unique.ID)},
		{"a serial key", "DELETE FROM T.serials"},
		{"all counts", "DELETE FROM T.counts"},
		{"an odd head", "INSERT INTO T.serials (name, key, job) SELECT name, 'x', 999 FROM T.jobs WHERE id = " + ids(limited[1].ID)},
		{"an odd key", "INSERT INTO T.keys (name, key, job, until, held) SELECT name, 'x', 999, 0, TRUE FROM T.jobs WHERE id = " + ids(limited[1].ID)},
		{"a pending name", "DELETE FROM T.jobs WHERE id = " + ids(limited[1].ID)},
	} {
		what, query := test.what, test.query
		s.Exec(s, query)
		f := s.examine(false)
		if f.Problem == "" || f.Fix != "doctor --repair" {
			s.Errorf("without %s: %+v", what, f)
		}
		if again := s.examine(false); again != f {
			s.Errorf("an examination without Repair changed %+v to %+v", f, again)
		}
		if f := s.examine(true); f.Problem != "" || !strings.HasPrefix(f.Value, "corrected: ") {
			s.Errorf("repaired without %s: %+v", what, f)
		}
		if f := s.examine(false); f.Problem != "" {
			s.Errorf("after the repair without %s: %+v", what, f)
		}
		s.wantExact()
	}
	for _, table := range []string{"errors", "results", "progress"} {
		if n := s.Rows(s, "SELECT count(*) FROM T."+table+" WHERE job NOT IN (SELECT id FROM T.jobs)"); n != 0 {
			s.Errorf("%d rows of %s belong to missing jobs", n, table)
		}
	}
	if p := s.push(backend.NewJob{Name: "unique", Unique: backend.Unique{Key: "k"}})[0]; !p.Duplicate || p.ID != unique.ID {
		s.Errorf("a push with the key of a waiting job returned %+v", p)
	}
	head := s.claim(s.b, "serial")
	if len(head) != 1 {
		s.Fatalf("%d jobs of the serial key run at once", len(head))
	}
	_, err = s.b.Complete(s.Context(), []backend.Completion{{Lease: head[0].Lease}})
	s.must(err)
	if len(s.claim(s.b, "serial")) != 1 {
		s.Error("the next job of the serial key does not run")
	}
}

// A repair during pushes, claims and completions leaves correct data, also if two
// processes repair at once.
func whileWorkersRun(s *scene) {
	ctx, stop := context.WithCancel(s.Context())
	defer stop()
	var work, repair sync.WaitGroup
	for i := range 2 {
		b, w := s.Open(s), backend.Worker{ID: int64(100 + i), Host: "h", PID: 1, Lease: time.Hour}
		work.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprint(n % 5)
				_, err := b.Push(s.Context(), []backend.NewJob{
					{Name: "a", MaxAttempts: 1}, {Name: "b", MaxAttempts: 1, Serial: key, Unique: backend.Unique{Key: key, Scope: backend.UntilStarted}},
				})
				var jobs []backend.Job
				if err == nil {
					jobs, err = b.Claim(s.Context(), backend.ClaimRequest{Worker: w, Register: true, Names: []string{"a", "b"}, Limit: 10})
				}
				var done []backend.Completion
				for _, j := range jobs {
					done = append(done, backend.Completion{Lease: j.Lease, Result: []byte("r")})
				}
				if err == nil {
					_, err = b.Complete(s.Context(), done)
				}
				if err != nil {
					s.Errorf("during the repair: %v", err)
					return
				}
			}
		})
	}
	for i := range 2 {
		b := s.Open(s)
		repair.Go(func() {
			for n := range 15 {
				if i == 0 && n%3 == 0 {
					s.Exec(s, "DELETE FROM T.jobs WHERE id IN (SELECT id FROM T.jobs WHERE state IN (2, 3, 4, 5) ORDER BY id LIMIT 20)")
				}
				if _, err := b.Examine(s.Context(), backend.ExamineRequest{Derived: true, Repair: true}); err != nil {
					s.Errorf("Examine: %v", err)
				}
			}
		})
	}
	repair.Wait()
	stop()
	work.Wait()
	s.examine(true)
	if f := s.examine(false); f.Problem != "" {
		s.Errorf("after the repair: %+v", f)
	}
	s.wantExact()
}

// Nothing differs if only the store changed the jobs.
func sound(s *scene) {
	s.fill()
	s.push(backend.NewJob{Name: "gap"}, backend.NewJob{Name: "gap", Delay: time.Hour}, backend.NewJob{Name: "gap"})
	if f := s.examine(false); f.Problem != "" {
		s.Errorf("after the pushes: %+v", f)
	}
	high := int16(3)
	for _, op := range []backend.Op{backend.OpPrioritize, backend.OpCancel, backend.OpRetry, backend.OpFree, backend.OpDelete} {
		req := backend.OperateRequest{Op: op}
		if op == backend.OpPrioritize {
			req.Priority = &high
		}
		_, err := s.b.Operate(s.Context(), req)
		s.must(err)
		_, err = s.b.Reap(s.Context(), backend.ReapRequest{Dead: []int64{s.w.ID}})
		s.must(err)
		if f := s.examine(false); f.Problem != "" {
			s.Errorf("after operation %d: %+v", op, f)
		}
	}
}

// gates deletes a member of one gate and another gate. Reap counts the member as cancelled, and
// the jobs that waited behind the two run.
func gates(s *scene) {
	store, ok := s.b.(backend.GateStore)
	if !ok {
		s.Skip("the store has no backend.GateStore")
	}
	job := func(name string, g backend.Gating) backend.NewJob {
		return backend.NewJob{Name: name, MaxAttempts: 1, Gating: &g}
	}
	created, err := store.CreateGates(s.Context(), nil, backend.GateRequest{Gates: []backend.NewGate{{Sealed: true}, {}}, Jobs: []backend.NewJob{
		job("m", backend.Gating{Gates: []int64{-1}}), job("w", backend.Gating{Gate: -1, When: backend.WhenEnded}), job("v", backend.Gating{Gate: -2, When: backend.WhenDone}),
	}})
	s.must(err)
	s.Exec(s, fmt.Sprintf("DELETE FROM T.jobs WHERE id = %d", created.Jobs[0].ID))
	s.Exec(s, fmt.Sprintf("DELETE FROM T.gates WHERE id = %d", created.Gates[1]))
	_, err = s.Open(s).Reap(s.Context(), backend.ReapRequest{})
	s.must(err)
	s.wantClaimed(s.b, "w", created.Jobs[1].ID)
	s.wantClaimed(s.b, "v", created.Jobs[2].ID)
	infos, err := store.Gates(s.Context(), backend.GateQuery{IDs: created.Gates})
	s.must(err)
	if len(infos) != 1 || infos[0].Total != 1 || infos[0].Cancelled != 1 || infos[0].EndedAt.IsZero() {
		s.Errorf("the gates are %+v", infos)
	}
}
