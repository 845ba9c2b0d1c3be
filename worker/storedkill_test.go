package worker_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// While processes of workers are killed, each tick of each stored schedule pushes one job.
func TestStoredSchedulesOfKilledWorkers(t *testing.T) {
	const schedules, kills = 40, 20
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	interval := func(i int) time.Duration { return time.Duration(200+7*i) * time.Millisecond }
	first := map[string]time.Time{}
	for i := range schedules {
		setSchedule(t, q, fmt.Sprintf("kill/%02d", i), fmt.Sprint("@every ", interval(i)), jobA.With(""), plainjobs.CatchUp(1000), plainjobs.Overlap(true))
	}
	list := func() []plainjobs.ScheduleInfo {
		t.Helper()
		all, err := q.ListSchedules(t.Context(), "kill/", "", 1000)
		if err != nil || len(all) != schedules {
			t.Fatalf("ListSchedules = %d, %v", len(all), err)
		}
		return all
	}
	for _, s := range list() {
		first[s.Name] = s.Next
	}
	kill := func(p *process) {
		if err := p.cmd.Process.Kill(); err != nil {
			t.Errorf("a worker process ended by itself: %v", err)
		}
		<-p.ended
	}
	workers := []*process{spawn(t, path), spawn(t, path)}
	for n := range kills {
		before := count(t, b, backend.Done)
		eventually(t, "jobs run", func() bool { return count(t, b, backend.Done) > before+10 })
		at := n % len(workers)
		kill(workers[at])
		workers[at] = spawn(t, path)
	}
	for _, w := range workers {
		kill(w)
	}
	ticks := map[string][]time.Time{}
	for after := int64(0); ; {
		page, err := b.Export(t.Context(), backend.ExportRequest{After: after, Jobs: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Jobs) == 0 {
			break
		}
		for _, r := range page.Jobs {
			after = r.ID
			job, err := q.Get(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			ticks[job.Schedule] = append(ticks[job.Schedule], job.Tick)
		}
	}
	total := 0
	for i, s := range list() {
		all := ticks[s.Name]
		slices.SortFunc(all, time.Time.Compare)
		total += len(all)
		want := first[s.Name]
		for _, tick := range all {
			if !tick.Equal(want) {
				t.Fatalf("%s has a job for the tick %v, want %v", s.Name, tick, want)
			}
			want = want.Add(interval(i))
		}
		if !s.Next.Equal(want) {
			t.Errorf("%s has jobs up to the tick before %v, and its next tick is %v", s.Name, want, s.Next)
		}
	}
	t.Logf("%d kills, %d ticks", kills, total)
}
