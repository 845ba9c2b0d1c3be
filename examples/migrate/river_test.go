package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/plainjobs/plainjobs/backend/postgres"
	store "github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/internal/adopt"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

type args struct {
	I    int    `json:"i"`
	What string `json:"-"`
}

func (a args) Kind() string { return a.What }

// A riverDB is a database with River's tables.
type riverDB struct {
	pool  *pgxpool.Pool
	db    *sql.DB
	store *postgres.Backend
	dsn   string
}

func newRiver(t *testing.T) *riverDB {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	server := pgcluster.Connect(t)
	admin, err := pgx.Connect(ctx, server)
	check(err)
	defer admin.Close(ctx)
	name := strings.ToLower("adopt_" + t.Name())
	_, err = admin.Exec(ctx, "DROP DATABASE IF EXISTS "+name)
	check(err)
	_, err = admin.Exec(ctx, "CREATE DATABASE "+name)
	check(err)

	config, err := pgxpool.ParseConfig(server)
	check(err)
	config.ConnConfig.Database = name
	r := &riverDB{db: stdlib.OpenDB(*config.ConnConfig), dsn: pgcluster.With(server, "dbname", name)}
	r.pool, err = pgxpool.NewWithConfig(ctx, config)
	check(err)
	r.store, err = postgres.New(r.db, &postgres.Options{Listen: store.Listen(config.ConnConfig)})
	check(err)
	t.Cleanup(func() {
		_ = r.store.Close()
		_ = r.db.Close()
		r.pool.Close()
		admin, err := pgx.Connect(context.Background(), server)
		if err == nil {
			_, err = admin.Exec(context.Background(), "DROP DATABASE "+name)
			_ = admin.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	migrator, err := rivermigrate.New(riverpgxv5.New(r.pool), nil)
	check(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	check(err)
	return r
}

func (r *riverDB) insert(t *testing.T, client *river.Client[pgx.Tx], what string, n int, opts *river.InsertOpts) {
	t.Helper()
	var all []river.InsertManyParams
	for i := range n {
		own := river.InsertOpts{}
		if opts != nil {
			own = *opts
		}
		if what == "mail" {
			own.Priority = i%4 + 1
		}
		all = append(all, river.InsertManyParams{Args: args{I: i, What: what}, InsertOpts: &own})
	}
	if _, err := client.InsertMany(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// A riverWorker runs jobs of a kind.
type riverWorker struct {
	river.WorkerDefaults[args]
	run func(context.Context, *river.Job[args]) error
}

// NextRetry is late: River makes a job that is soon retried available at once.
func (w *riverWorker) NextRetry(*river.Job[args]) time.Time { return time.Now().Add(time.Hour) }

func (w *riverWorker) Work(ctx context.Context, job *river.Job[args]) error { return w.run(ctx, job) }

// client returns a client that runs jobs of one kind.
func (r *riverDB) client(t *testing.T, kind string, run func(context.Context, *river.Job[args]) error) *river.Client[pgx.Tx] {
	t.Helper()
	workers := river.NewWorkers()
	river.AddWorkerArgs(workers, args{What: kind}, &riverWorker{run: run})
	client, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{
		Queues: map[string]river.QueueConfig{kind: {MaxWorkers: 20}}, Workers: workers, JobTimeout: -1,
		FetchCooldown: time.Millisecond, FetchPollInterval: 10 * time.Millisecond, TestOnly: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestRiver(t *testing.T) {
	ctx := t.Context()
	r := newRiver(t)
	inserter, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.insert(t, inserter, "mail", 700, &river.InsertOpts{Tags: []string{"news", "weekly"}})
	r.insert(t, inserter, "later", 300, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour), MaxAttempts: 7})
	r.insert(t, inserter, "held", 4, &river.InsertOpts{Pending: true})
	r.insert(t, inserter, "done", 5, &river.InsertOpts{Queue: "done"})
	r.insert(t, inserter, "failing", 3, &river.InsertOpts{Queue: "failing", MaxAttempts: 5})
	r.insert(t, inserter, "discarded", 2, &river.InsertOpts{Queue: "discarded", MaxAttempts: 1})
	r.insert(t, inserter, "cancelled", 2, &river.InsertOpts{Queue: "cancelled"})
	r.insert(t, inserter, "slow", 1, &river.InsertOpts{Queue: "slow"})

	refused := errors.New("refused")
	for kind, c := range map[string]struct {
		err   error
		state string
		n     int
	}{"done": {nil, "completed", 5}, "failing": {refused, "retryable", 3}, "discarded": {refused, "discarded", 2}, "cancelled": {river.JobCancel(refused), "cancelled", 2}} {
		client := r.client(t, kind, func(context.Context, *river.Job[args]) error { return c.err })
		if err := client.Start(ctx); err != nil {
			t.Fatal(err)
		}
		waitPast(t, r.db, fmt.Sprintf("SELECT %d - count(*) FROM river_job WHERE kind = '%s' AND state = '%s'", c.n, kind, c.state))
		if err := client.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	running := make(chan bool)
	client := r.client(t, "slow", func(ctx context.Context, _ *river.Job[args]) error {
		running <- true
		<-ctx.Done()
		return ctx.Err()
	})
	if err := client.Start(ctx); err != nil {
		t.Fatal(err)
	}
	<-running
	defer func() { _ = client.StopAndCancel(context.WithoutCancel(ctx)) }()
	before := count(t, r.db, "SELECT count(*) FROM river_job")

	report := adoptBroken(t, r.db, r.store, "river", adopt.Options{})
	equal(t, "adopted", report.Adopted, map[string]int64{"mail": 700, "later": 300, "failing": 3})
	equal(t, "left", report.Left, map[string]int64{
		"in state completed": 5, "in state discarded": 2, "in state cancelled": 2, "in state pending": 4, "in state running": 1,
	})
	all := stored(t, r.store)
	if left := count(t, r.db, "SELECT count(*) FROM river_job"); left != 14 || len(all)+left != before {
		t.Errorf("of %d jobs, %d are left and %d are moved", before, left, len(all))
	}
	numbers(t, all, "mail", 700)
	numbers(t, all, "later", 300)
	numbers(t, all, "failing", 3)
	for i, priority := range []int16{0, -1, -2, -3} {
		if j := find(t, all, "mail", i); j.Priority != priority || j.MaxAttempts != 25 || j.State.String() != "pending" || j.Metadata["adopted_tags"] != "news,weekly" {
			t.Errorf("mail %d is %+v", i, j)
		}
	}
	if j := find(t, all, "failing", 1); j.MaxAttempts != 4 || !near(j.RunAt, time.Now().Add(time.Hour)) {
		t.Errorf("failing 1 has %d attempts and runs at %v", j.MaxAttempts, j.RunAt)
	}
	if j := find(t, all, "later", 1); j.MaxAttempts != 7 || !near(j.RunAt, time.Now().Add(time.Hour)) {
		t.Errorf("later 1 has %d attempts and runs at %v", j.MaxAttempts, j.RunAt)
	}
}

// River's workers run while its jobs are moved: each job is run by River or moved.
func TestRiverRuns(t *testing.T) {
	ctx := t.Context()
	r := newRiver(t)
	var mu sync.Mutex
	ran := map[int]int{}
	client := r.client(t, "busy", func(_ context.Context, job *river.Job[args]) error {
		mu.Lock()
		defer mu.Unlock()
		ran[job.Args.I]++
		return nil
	})
	const jobs = 5000
	r.insert(t, client, "busy", jobs, &river.InsertOpts{Queue: "busy"})
	if err := client.Start(ctx); err != nil {
		t.Fatal(err)
	}
	waitPast(t, r.db, "SELECT (count(*) = 0)::int FROM river_job WHERE state = 'completed'")
	report, err := adopt.Run(ctx, r.db, r.store, "river", adopt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	waitPast(t, r.db, "SELECT count(*) FROM river_job WHERE state <> 'completed'")
	if err := client.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	all := stored(t, r.store)
	t.Logf("River ran %d, %d were moved", jobs-len(all), len(all))
	if len(all) == 0 || int64(len(all)) != report.Adopted["busy"] {
		t.Errorf("moved %d of %d jobs, and reported %v", len(all), jobs, report.Adopted)
	}
	for i := range all {
		ran[number(t, all[i])]++
	}
	for i := range jobs {
		if ran[i] != 1 {
			t.Errorf("job %d ran or was moved %d times", i, ran[i])
		}
	}
}

// River's tables may be in another schema, which the DSN names.
func TestRiverSchema(t *testing.T) {
	ctx := t.Context()
	r := newRiver(t)
	if _, err := r.db.Exec("CREATE SCHEMA old"); err != nil {
		t.Fatal(err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(r.pool), &rivermigrate.Config{Schema: "old"})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	inserter, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{Schema: "old"})
	if err != nil {
		t.Fatal(err)
	}
	r.insert(t, inserter, "mail", 10, nil)
	dsn := pgcluster.With(r.dsn, "search_path", "old")
	s, err := store.Open(dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	report, err := adopt.Run(ctx, db, s, "river", adopt.Options{})
	if err != nil || report.Adopted["mail"] != 10 {
		t.Errorf("adopted %v, %v", report.Adopted, err)
	}
	numbers(t, stored(t, s), "mail", 10)
}
