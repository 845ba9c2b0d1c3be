package postgrestest

import (
	"fmt"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// testDemoted pushes on a server that has become read-only, like a primary that was
// replaced. The store must drop its connections, so that new ones may lead to the
// successor.
func (d Driver) testDemoted(t *testing.T) {
	s, b := d.fresh(t)
	pids := func() (all []int64) {
		const query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'jobs'"
		rows, err := s.db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var pid int64
			if err := rows.Scan(&pid); err != nil {
				t.Fatal(err)
			}
			all = append(all, pid)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return all
	}
	for i, job := range []backend.NewJob{newJob("a"), keyedJob("k")} {
		if _, err := b.Push(t.Context(), []backend.NewJob{job}); err != nil {
			t.Fatal(err)
		}
		before := pids()
		if len(before) == 0 {
			t.Fatal("the store has no connection")
		}
		s.set(t, "default_transaction_read_only", "on")
		var err error
		until(t, func() bool {
			job := job
			if job.Unique.Key != "" {
				job.Unique.Key = fmt.Sprint("k", time.Now())
			}
			_, err = b.Push(t.Context(), []backend.NewJob{job})
			return err != nil
		})
		unavailable(t, err, "target_session_attrs=read-write")
		until(t, func() bool {
			for _, pid := range pids() {
				if pid == before[0] {
					return false
				}
			}
			return true
		})
		s.set(t, "default_transaction_read_only", "off")
		until(t, func() bool {
			var readOnly string
			if err := s.db.QueryRowContext(t.Context(), "SHOW default_transaction_read_only").Scan(&readOnly); err != nil {
				t.Fatal(err)
			}
			return readOnly == "off"
		})
		until(t, func() bool {
			_, err := b.Push(t.Context(), []backend.NewJob{keyedJob(fmt.Sprint("after", i))})
			return err == nil
		})
	}
}
