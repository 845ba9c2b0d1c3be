package sqlite_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// No statement reads a whole table or partial index, also with the planner's statistics,
// which have made it do so.
func TestPlans(t *testing.T) {
	b, s := open(t, nil)
	db := sqlOpen(t, b)
	worker := me
	for range 20 {
		jobs := slices.Repeat([]backend.NewJob{newJob("a"), newJob("b")}, 100)
		jobs = append(jobs, backend.NewJob{Name: "a", MaxAttempts: 1, Delay: time.Hour})
		if _, err := b.Push(t.Context(), jobs); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("ANALYZE"); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 { // as many heads, each with one behind it
		key := fmt.Sprint("k", i)
		keyed := backend.NewJob{
			Name: "keyed", MaxAttempts: 2, Serial: key, Unique: backend.Unique{Key: key, Scope: backend.UntilStarted, For: time.Minute},
			Expires: time.Hour, MaxPending: 1 << 20,
		}
		if _, err := b.Push(t.Context(), []backend.NewJob{keyed, {Name: "keyed", MaxAttempts: 1, Serial: key}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("ANALYZE"); err != nil {
		t.Fatal(err)
	}
	s.set(nil)
	lifeOfKeyedJobs(t, b)
	// Run all statements in the life of a job.
	for range 3 {
		jobs, err := claim(b, 50, "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := claim(b, 10, "a"); err != nil {
			t.Fatal(err)
		}
		var done []backend.Completion
		for _, j := range jobs[10:] {
			done = append(done, backend.Completion{Lease: j.Lease})
		}
		if _, err := b.Complete(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		for _, e := range []backend.Ending{backend.EndRetry, backend.EndFailed} {
			if _, err := b.Fail(t.Context(), []backend.Failure{{Lease: jobs[e].Lease, Ending: e, Delay: time.Hour, Error: "x"}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: worker}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Reap(t.Context(), backend.ReapRequest{Expired: true}); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	calls := slices.Clone(s.calls)
	s.mu.Unlock()
	slices.Sort(calls)
	looked := 0
	for _, query := range slices.Compact(calls) {
		verb, _, _ := strings.Cut(query, " ")
		if verb != "SELECT" && verb != "UPDATE" && verb != "DELETE" || sqlite.IsAudit(b, query) {
			continue
		}
		looked++
		args := make([]any, strings.Count(query, "?"))
		for i := range args {
			args[i] = 1
		}
		for n := range 20 { // numbered ones are not as many as question marks
			if strings.Contains(query, fmt.Sprint("?", n)) {
				args = args[:n]
			}
		}
		rows, err := db.Query("EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(query, "GROUP BY gate") { // of the members that a call completes
				continue
			}
			if (strings.HasPrefix(detail, "SCAN") && !small(detail)) || strings.Contains(detail, "TEMP B-TREE") {
				t.Errorf("%s\n\t%s", query, detail)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if looked < 15 {
		t.Errorf("only %d statements were checked", looked)
	}
}

// A list reads an index or a bounded range of IDs, in their order, whatever its filter.
func TestFilterPlans(t *testing.T) {
	b, s := open(t, nil)
	db := sqlOpen(t, b)
	jobs := slices.Repeat([]backend.NewJob{newJob("a"), newJob("b")}, 500)
	for range 5 {
		if _, err := b.Push(t.Context(), jobs); err != nil {
			t.Fatal(err)
		}
		all, err := claim(b, 500, "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		var failures []backend.Failure
		for i, j := range all[:400] {
			failures = append(failures, backend.Failure{Lease: j.Lease, Ending: []backend.Ending{backend.EndFailed, backend.EndCancelled}[i%2]})
		}
		if _, err := b.Fail(t.Context(), failures); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("ANALYZE"); err != nil {
		t.Fatal(err)
	}
	const ids, ended = "USING INTEGER PRIMARY KEY", "plainjobs_job_ended"
	pairs := map[string]string{"tenant": "acme", "x": "y"}
	for want, filters := range map[string][]backend.Filter{
		ids: {
			{}, {Names: []string{"a"}}, {Names: []string{"a", "b"}}, {Metadata: pairs}, {States: []backend.State{backend.Done, backend.Pending}},
			{States: []backend.State{backend.Running}}, {States: []backend.State{backend.Running, backend.Failed}, Names: []string{"a", "b"}},
			{IDs: []int64{1, 2}, Names: []string{"a", "b"}, States: []backend.State{backend.Failed, backend.Done}},
		},
		ended: {
			{States: []backend.State{backend.Failed}}, {States: []backend.State{backend.Failed, backend.Cancelled}},
			{States: []backend.State{backend.Failed, backend.Cancelled}, Names: []string{"a", "b"}, Metadata: pairs},
		},
	} {
		for _, f := range filters {
			s.set(nil)
			if _, err := b.List(t.Context(), backend.ListRequest{Filter: f}); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			calls := slices.Clone(s.calls)
			s.mu.Unlock()
			plan := planOf(t, db, calls[len(calls)-1])
			if !strings.Contains(plan, want) || strings.Contains(plan, "SCAN j\n") || strings.Contains(plan, "TEMP B-TREE") {
				t.Errorf("the plan of %+v is\n%s", f, plan)
			}
		}
	}
}

// planOf returns the plan of a query, a step in each line.
func planOf(t *testing.T, db *sql.DB, query string) (plan string) {
	t.Helper()
	args := slices.Repeat([]any{1}, strings.Count(query, "?"))
	rows, err := db.Query("EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan += detail + "\n"
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}

// lifeOfKeyedJobs runs the statements for keys, limits, schedules and operations.
func lifeOfKeyedJobs(t *testing.T, b *sqlite.Backend) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.Set(ctx, 0, []backend.Settings{{Name: "keyed", MaxRunning: 1000, Rate: 1000, Per: time.Hour}})
	check(err)
	jobs, err := claim(b, 50, "keyed")
	check(err)
	_, err = b.Complete(ctx, []backend.Completion{{Lease: jobs[0].Lease, Result: []byte("1")}})
	check(err)
	check(b.StoreProgress(ctx, []backend.Progress{{Lease: jobs[1].Lease, Done: 1, Total: 2}}))
	for i, e := range []backend.Ending{backend.EndRetry, backend.EndSnooze, backend.EndRelease, backend.EndFailed, backend.EndCancelled} {
		_, err := b.Fail(ctx, []backend.Failure{{Lease: jobs[2+i].Lease, Ending: e, Delay: time.Hour, Error: "x"}})
		check(err)
	}
	for _, op := range []backend.Op{backend.OpCancel, backend.OpRetry, backend.OpDelete} {
		_, err := b.Operate(ctx, backend.OperateRequest{Op: op, Filter: backend.Filter{IDs: []int64{jobs[20].ID, jobs[6].ID, jobs[0].ID, jobs[0].ID + 1}}})
		check(err)
	}
	now := time.Now()
	check(b.Define(ctx, []backend.Schedule{{Name: "s", Definition: "d", Next: now}}))
	_, err = b.Tick(ctx, backend.Tick{Name: "s", Definition: "d", Due: now, Next: now.Add(time.Hour), Jobs: []backend.NewJob{newJob("a")}})
	check(err)
	check(b.PauseSchedule(ctx, "s", true))
	stored := backend.StoredSchedule{Name: "t", Definition: "d", Next: now, Look: now, Job: newJob("a")}
	for _, next := range []*backend.StoredSchedule{&stored, nil, &stored} {
		check(b.ChangeSchedule(ctx, nil, "t", func(time.Time, *backend.StoredSchedule) (*backend.StoredSchedule, error) { return next, nil }))
	}
	for _, req := range []backend.StoredRequest{{}, {Prefix: "t"}, {Due: true}} {
		_, err = b.StoredSchedules(ctx, req)
		check(err)
	}
	_, err = b.TickStored(ctx, []backend.Tick{{Name: "t", Definition: "d", Due: now, Next: now.Add(time.Hour), Jobs: []backend.NewJob{newJob("a")}}})
	check(err)
	lifeOfGates(t, b)
	check(b.Pause(ctx, "nothing", true))
}

// lifeOfGates runs the statements for gates.
func lifeOfGates(t *testing.T, b *sqlite.Backend) {
	t.Helper()
	ctx := t.Context()
	member := newJob("gated")
	member.Gating = &backend.Gating{Gates: []int64{-1, -2}}
	waiter := newJob("gated")
	waiter.Gating = &backend.Gating{Gate: -1, When: backend.WhenEnded}
	jobs := []backend.NewJob{waiter, member, waiter}
	for range 20 {
		jobs = append(jobs, member)
	}
	created, err := b.CreateGates(ctx, nil, backend.GateRequest{Gates: []backend.NewGate{{Sealed: true}, {Parent: -1, Deadline: time.Microsecond}}, Jobs: jobs})
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := claim(b, 10, "gated")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]backend.Job{claimed[:9], claimed[9:]} {
		var done []backend.Completion
		for _, j := range part {
			done = append(done, backend.Completion{Lease: j.Lease})
		}
		if _, err := b.Complete(ctx, done); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []backend.Filter{{Gate: created.Gates[1]}, {Behind: created.Gates[0]}} {
		if _, err := b.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: f}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, err := b.Reap(ctx, backend.ReapRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Gates(ctx, backend.GateQuery{IDs: created.Gates, Parent: created.Gates[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.DeleteGates(ctx, created.Gates); err != nil {
		t.Fatal(err)
	}
}

// small reports whether a plan reads a whole small table.
func small(detail string) bool {
	for _, table := range []string{
		"SCAN plainjobs_worker", "SCAN plainjobs_job_count", "SCAN plainjobs_job_setting", "SCAN plainjobs_schedule",
		"SCAN w", "SCAN e VIRTUAL TABLE", // the workers' schedules
		"SCAN json_each VIRTUAL TABLE", // the IDs that were asked for
		"SCAN plainjobs_claim", "SCAN c", "SCAN CONSTANT ROW",
		"SCAN plainjobs_job_gate USING COVERING INDEX plainjobs_job_gate_paused", "SCAN j USING INDEX plainjobs_job_held",
	} {
		if strings.HasPrefix(detail, table) {
			return true
		}
	}
	return false
}
