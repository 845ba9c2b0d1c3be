package pgx_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	native "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/internal/postgrestest"
)

// A tracer keeps the last query that it saw.
type tracer struct {
	mu   sync.Mutex
	last native.TraceQueryStartData
}

func (r *tracer) TraceQueryStart(ctx context.Context, _ *native.Conn, data native.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.Contains(data.SQL, "ORDER BY j.id DESC LIMIT") {
		r.last = data
	}
	return ctx
}

func (r *tracer) TraceQueryEnd(context.Context, *native.Conn, native.TraceQueryEndData) {}

// A list reads an index or a bounded range of IDs, whatever its filter.
func TestFilterPlans(t *testing.T) {
	dsn, schema := postgrestest.Schema(t, "pgx")
	config, err := native.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	queries := &tracer{}
	config.Tracer = queries
	db := stdlib.OpenDB(*config)
	defer db.Close()
	b, err := postgres.New(db, &postgres.Options{Schema: schema, NoListen: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Push(t.Context(), []backend.NewJob{{Name: "a", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: 1e12}, Register: true, Names: []string{"a"}, Limit: 1}); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		fmt.Sprintf(`INSERT INTO %s.job (created_at, run_at, finished_at, max_attempts, state, priority, name, payload, metadata, seed)
			SELECT 0, 0, 0, 1, CASE i %% 1000 WHEN 0 THEN 6 WHEN 1 THEN 7 WHEN 2 THEN 1 ELSE 5 END, 0, CASE i %% 3 WHEN 0 THEN 'a' ELSE 'b' END, '{}', '{"x":"y"}', 7
			FROM generate_series(1, 100000) AS i`, schema),
		"ANALYZE " + schema + ".job",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	const failed, cancelled, running = backend.Failed, backend.Cancelled, backend.Running
	both, pairs := []string{"a", "b"}, map[string]string{"tenant": "acme", "x": "y"}
	for want, filters := range map[string][]backend.Filter{
		"job_pkey": {
			{}, {Names: []string{"a"}}, {Names: both}, {Metadata: pairs}, {States: []backend.State{backend.Done, backend.Pending}},
			{States: []backend.State{running}}, {States: []backend.State{running, failed}, Names: both},
			{IDs: []int64{1, 2}, Names: both, States: []backend.State{failed, backend.Done}},
		},
		"job_ended": {
			{States: []backend.State{failed}}, {States: []backend.State{failed}, Names: both}, {States: []backend.State{failed, cancelled}},
			{States: []backend.State{failed, cancelled}, Names: both, Metadata: pairs},
		},
	} {
		for _, f := range filters {
			if _, err := b.List(t.Context(), backend.ListRequest{Filter: f}); err != nil {
				t.Fatal(err)
			}
			queries.mu.Lock()
			query := queries.last
			queries.mu.Unlock()
			args := query.Args
			if len(args) > 0 {
				if _, formats := args[0].(native.QueryResultFormats); formats {
					args = args[1:]
				}
			}
			args = slices.DeleteFunc(slices.Clone(args), func(a any) bool { _, ok := a.(native.QueryExecMode); return ok })
			plan := explain(t, db, query.SQL, args)
			if !strings.Contains(plan, want) || strings.Contains(plan, "Seq Scan on job ") {
				t.Errorf("the plan of %+v is\n%s", f, plan)
			}
		}
	}
}

// explain returns the plan of a query.
func explain(t *testing.T, db *sql.DB, query string, args []any) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
