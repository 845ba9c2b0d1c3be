package mysqltest

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/mysql"
	"github.com/plainjobs/plainjobs/internal/mycluster"
)

// The numbers of jobs of the benchmarks.
const (
	benchJobs  = 12_800
	benchBatch = 128
	benchPush  = 1000
)

// durable starts a server that syncs each commit.
func durable(b *testing.B) string {
	b.Helper()
	mycluster.Connect(b) // skips the benchmark if there is no server to start
	c := mycluster.Fresh(b, "--innodb-flush-method=fsync", "--innodb-flush-log-at-trx-commit=1")
	return c.DSN()
}

func fill(b *testing.B, s *mysql.Backend, jobs, priorities int) {
	b.Helper()
	for n := 0; n < jobs; n += benchPush {
		batch := make([]backend.NewJob, benchPush)
		for i := range batch {
			batch[i] = newJob("bench")
			batch[i].Payload = make([]byte, 60)
			batch[i].Priority = int16(i % priorities) //nolint:gosec // small
		}
		if _, err := s.Push(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

func benchStore(b *testing.B, dsn, prefix string) *mysql.Backend {
	b.Helper()
	s, err := mysql.Open(dsn, &mysql.Options{Prefix: prefix})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// cycle claims jobs and completes them.
func cycle(b *testing.B, s *mysql.Backend, batch int) (claimed int, took time.Duration) {
	b.Helper()
	start := time.Now()
	jobs, err := s.Claim(b.Context(), backend.ClaimRequest{
		Worker: backend.Worker{ID: 1, Lease: time.Hour}, Register: true, Names: []string{"bench"}, Limit: batch,
	})
	took = time.Since(start)
	if err == nil {
		done := make([]backend.Completion, len(jobs))
		for i, j := range jobs {
			done[i].Lease = j.Lease
		}
		_, err = s.Complete(b.Context(), done)
	}
	if err != nil {
		b.Fatal(err)
	}
	return len(jobs), took
}

// BenchDrain alternates between claiming and completing all jobs with the store, and with a loop
// of the bare statements on the same tables. It reports the rate, and how it compares.
func BenchDrain(b *testing.B) {
	dsn := durable(b)
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	var ours, bare []float64
	for n := range b.N {
		s := benchStore(b, dsn, fmt.Sprintf("ours%d_", n))
		fill(b, s, benchJobs, 1)
		start := time.Now()
		for left := true; left; {
			claimed, _ := cycle(b, s, benchBatch)
			left = claimed > 0
		}
		ours = append(ours, benchJobs/time.Since(start).Seconds())

		prefix := fmt.Sprintf("bare%d_", n)
		fill(b, benchStore(b, dsn, prefix), benchJobs, 1)
		conn, err := db.Conn(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		start = time.Now()
		for left := true; left; {
			if left, err = bareCycle(b.Context(), conn, prefix); err != nil {
				b.Fatal(err)
			}
		}
		bare = append(bare, benchJobs/time.Since(start).Seconds())
		_ = conn.Close()
	}
	slices.Sort(ours)
	slices.Sort(bare)
	b.ReportMetric(ours[len(ours)/2], "jobs/s")
	b.ReportMetric(ours[len(ours)/2]/bare[len(bare)/2], "of-bare")
}

// bareCycle claims and completes jobs by the statements of the store, and nothing else.
func bareCycle(ctx context.Context, conn *sql.Conn, prefix string) (left bool, err error) {
	exec := func(query string, args ...any) {
		if err == nil {
			_, err = conn.ExecContext(ctx, fmt.Sprintf(strings.ReplaceAll(query, "{t}", prefix), args...))
		}
	}
	exec("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
	exec("START TRANSACTION")
	if err != nil {
		return false, err
	}
	var keys []string
	first, last, jobs := int64(0), int64(0), 0
	err = eachRow(ctx, conn, "SELECT run_at, last, first FROM "+prefix+"ready FORCE INDEX (PRIMARY) WHERE name = 'bench' AND suspect = 0 "+
		"ORDER BY prio, run_at, last LIMIT 1 FOR UPDATE SKIP LOCKED", func(rows *sql.Rows) error {
		at := int64(0)
		err := rows.Scan(&at, &last, &first)
		keys = append(keys, fmt.Sprintf("[%d,%d]", at, last))
		return err
	})
	if err != nil || len(keys) == 0 {
		exec("COMMIT")
		return false, err
	}
	exec("DELETE r FROM JSON_TABLE('[%s]', '$[*]' COLUMNS (t bigint PATH '$[0]', l bigint PATH '$[1]')) v STRAIGHT_JOIN {t}ready r FORCE INDEX (PRIMARY) "+
		"ON r.name = 'bench' AND r.suspect = 0 AND r.prio = 0 AND r.run_at = v.t AND r.last = v.l", strings.Join(keys, ","))
	if err != nil {
		return false, err
	}
	seed := int64(0)
	err = eachRow(ctx, conn, fmt.Sprintf("SELECT seed, payload FROM %sjob WHERE id BETWEEN %d AND %d AND state = 3", prefix, first, last), func(rows *sql.Rows) error {
		var payload []byte
		jobs++
		return rows.Scan(&seed, &payload)
	})
	exec("INSERT INTO {t}claim (seed, first, last, worker) VALUES (%d, %d, %d, 1)", seed, first, last)
	exec("INSERT INTO {t}count_change (name, state, jobs) VALUES ('bench', 3, %d), ('bench', 4, %d)", -jobs, jobs)
	exec("COMMIT")
	exec("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
	exec("START TRANSACTION")
	exec("UPDATE {t}job FORCE INDEX (PRIMARY) SET state = 5, ending = 0, finished_at = 7, suspect = 0, crashes = 0 WHERE id BETWEEN %d AND %d AND seed = %d AND state = 3", first, last, seed)
	exec("INSERT IGNORE INTO {t}finished (name, state, finished_at, job) SELECT name, 5, finished_at, id FROM {t}job FORCE INDEX (PRIMARY) WHERE id BETWEEN %d AND %d", first, last)
	exec("DELETE FROM {t}claim WHERE seed = %d AND first = %d", seed, first)
	exec("INSERT INTO {t}count_change (name, state, jobs) VALUES ('bench', 4, %d), ('bench', 5, %d)", -jobs, jobs)
	exec("COMMIT")
	return true, err
}

func eachRow(ctx context.Context, conn *sql.Conn, query string, row func(*sql.Rows) error) error {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// BenchPush alternates between pushes by one goroutine and by 64, each of one job.
func BenchPush(b *testing.B) {
	s := benchStore(b, durable(b), "push_")
	rate := func(goroutines, each int) float64 {
		start := time.Now()
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range each {
					if _, err := s.Push(b.Context(), []backend.NewJob{newJob("bench")}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return float64(goroutines*each) / time.Since(start).Seconds()
	}
	var one, many []float64
	for range b.N {
		one, many = append(one, rate(1, 50)), append(many, rate(64, 20))
	}
	slices.Sort(one)
	slices.Sort(many)
	b.ReportMetric(many[len(many)/2], "jobs/s")
	b.ReportMetric(many[len(many)/2]/one[len(one)/2], "of-one-by-one")
}

// BenchDepth alternates between claims of 10 jobs, each in a span of its own, among 10 thousand
// and among a million.
func BenchDepth(b *testing.B) {
	mycluster.Connect(b)            // skips the benchmark if there is no server to start
	dsn := mycluster.Fresh(b).DSN() // which does not sync: filling takes long enough
	stores := []*mysql.Backend{benchStore(b, dsn, "few_"), benchStore(b, dsn, "many_")}
	fill(b, stores[0], 10_000, 7)
	fill(b, stores[1], 1_000_000, 7)
	var took [2][]time.Duration
	for range max(b.N, 100) {
		for i, s := range stores {
			_, t := cycle(b, s, 10)
			took[i] = append(took[i], t)
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	few, many := took[0][len(took[0])/2], took[1][len(took[1])/2]
	b.ReportMetric(float64(many.Microseconds()), "claim-p50-µs")
	b.ReportMetric(float64(many)/float64(few), "of-10-thousand")
}
