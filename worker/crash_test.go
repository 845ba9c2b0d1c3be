package worker_test

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/worker"
)

// A job that kills its process each time fails, and the jobs next to it run.
func TestPoisonJob(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	var tasks []plainjobs.Task
	for i := range 201 {
		s := "good"
		if i == 50 {
			s = "poison"
		}
		tasks = append(tasks, jobA.With(s))
	}
	ids := perform(t, q, tasks...)
	poison := ids[50]
	crashes := 0
	p := spawn(t, path)
	for deadline := time.Now().Add(time.Minute); ; {
		if count(t, b, backend.Done) == 200 && count(t, b, backend.Failed) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the jobs do not end")
		}
		select {
		case <-p.ended:
			p.poisoned(t)
			crashes++
			p = spawn(t, path)
		case <-time.After(5 * time.Millisecond):
		}
	}
	p.end(t)
	i := info(t, b, poison)
	if i.State != backend.Failed || i.Crashes != backend.DefaultMaxCrashes || len(i.Errors) == 0 || !strings.Contains(i.Errors[0].Error, "died") {
		t.Errorf("the poison job is %+v", i)
	}
	// Once among others, then as often as it may, alone.
	if want := 1 + backend.DefaultMaxCrashes; crashes != want || readLedger(t, path)[poison] != want {
		t.Errorf("the poison job killed %d processes in %d runs, want %d", crashes, readLedger(t, path)[poison], want)
	}
}

// Jobs that keep killing the process run next to innocent ones. The innocent jobs are
// done, and the killers fail. If each death counted against the only suspect, the
// innocent jobs would fail one after the other.
func TestKillersFailAndInnocentsDoNot(t *testing.T) {
	const killers = 6
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	innocents := perform(t, q, jobA.With("long"), jobA.With("long"), jobA.With("long"))
	perform(t, q, killerJob.With(""))
	p := spawn(t, path)
	crashes, pushed, waits := 0, 1, false
	for deadline := time.Now().Add(time.Minute); count(t, b, backend.Done)+count(t, b, backend.Failed) < 3+killers; {
		if time.Now().After(deadline) {
			t.Fatal("the jobs do not end")
		}
		select {
		case <-p.ended:
			p.poisoned(t)
			crashes++
			p, waits = spawn(t, path), pushed < killers
		case <-time.After(5 * time.Millisecond):
			running := func(id int64) bool { return state(t, b, id) == backend.Running }
			if waits && slices.ContainsFunc(innocents, running) || count(t, b, backend.Done) == 3 && pushed < killers {
				perform(t, q, killerJob.With(""))
				pushed++
				waits = false
			}
		}
	}
	p.end(t)
	for _, id := range innocents {
		if i := info(t, b, id); i.State != backend.Done || i.Crashes != 0 {
			t.Errorf("the innocent job is %+v", i)
		}
	}
	if n := count(t, b, backend.Failed); n != killers {
		t.Errorf("%d killers are failed, want %d", n, killers)
	}
	t.Logf("%d killers took down %d processes", killers, crashes)
}

// If a process with two workers dies, and only one of them had a suspect, the job of the
// other is not blamed.
func TestPoisonBesideAnotherWorker(t *testing.T) {
	t.Setenv(pairVariable, "1")
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	ids := perform(t, plainjobs.New(b, nil), jobA.With("poison next to another"), jobB.With("innocent"))
	p := spawn(t, path)
	for deadline := time.Now().Add(time.Minute); state(t, b, ids[0]) != backend.Failed || state(t, b, ids[1]) == backend.Running || state(t, b, ids[1]) == backend.Pending; {
		if time.Now().After(deadline) {
			t.Fatal("the jobs do not end")
		}
		select {
		case <-p.ended:
			p.poisoned(t)
			p = spawn(t, path)
		case <-time.After(5 * time.Millisecond):
		}
	}
	p.end(t)
	if i := info(t, b, ids[1]); i.State != backend.Done || i.Crashes != 0 {
		t.Errorf("the job claimed with the poison job is %+v", i)
	}
}

// Workers are killed at random moments: no job is lost, none stays running, and only
// jobs that were running run again.
func TestKill(t *testing.T) {
	const jobs, kills, processes = 3000, 15, 3
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	ids := make([]int64, 0, jobs)
	for range jobs / 100 {
		var tasks []plainjobs.Task
		for range 100 {
			tasks = append(tasks, jobA.With("slow"))
		}
		ids = append(ids, perform(t, q, tasks...)...)
	}
	var alive []*process
	for range processes {
		alive = append(alive, spawn(t, path))
	}
	for kill := range kills {
		// Until some more jobs are done, or what is left waits for a lease.
		target := int64((kill + 1) * jobs / (2 * kills))
		eventually(t, "jobs go on", func() bool { return count(t, b, backend.Done) >= target })
		i := rand.IntN(processes)
		if err := alive[i].cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-alive[i].ended
		alive[i] = spawn(t, path)
	}
	defer func() {
		if t.Failed() {
			counts, err := b.Count(context.Background())
			t.Logf("in the store: %+v, %v", counts, err)
		}
	}()
	// A job that was all that killed workers held, as often as it may be, is
	// failed: it cannot be told from one that kills.
	var unlucky int64
	eventually(t, "all are done", func() bool {
		unlucky = count(t, b, backend.Failed)
		return count(t, b, backend.Done)+unlucky == jobs
	})
	if unlucky > kills/backend.DefaultMaxCrashes {
		t.Errorf("%d jobs are failed after %d kills", unlucky, kills)
	}
	for _, p := range alive {
		p.end(t)
	}
	runs := readLedger(t, path)
	repeats := 0
	for _, id := range ids {
		if runs[id] == 0 {
			t.Errorf("job %d is done and never ran", id)
		}
		repeats += runs[id] - 1
	}
	// Each kill may repeat what ran and what was not stored yet.
	t.Logf("jobs=%d kills=%d repeats=%d", jobs, kills, repeats)
	if most := kills * (4 + 1024); repeats > most {
		t.Errorf("%d repeats, want %d at most", repeats, most)
	}
}

// needPresence skips a test where heartbeats decide alone.
func needPresence(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var without int
	if err := db.QueryRow("SELECT count(*) FROM plainjobs_worker WHERE lock_file = ''").Scan(&without); err != nil {
		t.Fatal(err)
	}
	if without > 0 {
		t.Skip("here nothing shows that a process has ended, see the log of the store")
	}
}

// The death of all workers of a killed process is detected at once.
func TestKilledPairIsNoticedAtOnce(t *testing.T) {
	t.Setenv(leaseVariable, "1")
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	t.Setenv(pairVariable, "1")
	first := spawn(t, path)
	ids := perform(t, plainjobs.New(b, nil), jobA.With("hangs"), jobB.With("hangs"))
	eventually(t, "both run", func() bool { return state(t, b, ids[0]) == backend.Running && state(t, b, ids[1]) == backend.Running })
	second := spawn(t, path)
	eventually(t, "all are there", func() bool {
		workers, err := b.Workers(t.Context())
		return err == nil && len(workers) == 4
	})
	needPresence(t, path)
	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	doneSoon(t, b, ids...)
	second.end(t)
}

// The death of a killed worker is detected at once, not at the end of its lease of 30
// seconds.
func TestKilledWorkerIsNoticedAtOnce(t *testing.T) {
	t.Setenv(leaseVariable, "1")
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	for range 3 {
		// The first of them takes the job, the other one takes it over.
		first := spawn(t, path)
		id := perform(t, q, jobA.With("hangs"))[0]
		eventually(t, "it runs", func() bool { return state(t, b, id) == backend.Running })
		second := spawn(t, path)
		eventually(t, "both are there", func() bool {
			workers, err := b.Workers(t.Context())
			return err == nil && len(workers) == 2
		})
		needPresence(t, path)
		begin := time.Now()
		if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		doneSoon(t, b, id)
		t.Logf("from the kill until the job was done elsewhere: %v", time.Since(begin))
		second.end(t)
	}
}

// doneSoon fails unless the jobs are done well within a default lease.
func doneSoon(t *testing.T, b backend.Backend, ids ...int64) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for slices.ContainsFunc(ids, func(id int64) bool { return state(t, b, id) != backend.Done }) {
		if time.Now().After(deadline) {
			t.Fatal("the jobs of the killed worker do not run elsewhere")
		}
		time.Sleep(time.Millisecond) // polling
	}
}

// A drain after a kill leaves no job running.
func TestDrainAfterKill(t *testing.T) {
	t.Setenv(leaseVariable, "1")
	path := filepath.Join(t.TempDir(), "jobs.db")
	b := openSQLite(t, path, nil)
	q := plainjobs.New(b, nil)
	p := spawn(t, path)
	ids := perform(t, q, jobA.With("hangs"), jobA.With("hangs"), jobA.With("hangs"))
	eventually(t, "all run", func() bool { return count(t, b, backend.Running) == 3 })
	needPresence(t, path)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	workers, err := q.Workers(t.Context())
	if err != nil || len(workers) != 1 || workers[0].Alive || !workers[0].Ended {
		t.Errorf("Workers = %+v, %v, want one whose process has ended", workers, err)
	}
	if why, err := q.Why(t.Context(), ids[0]); err != nil || !strings.Contains(why, "start a worker") {
		t.Errorf("Why = %q, %v, want it to say that a worker is to be started", why, err)
	}
	run(t, q, worker.Options{Drain: true, Jobs: bind(q, jobA, func(context.Context, string) error { return nil })})
	if n := count(t, b, backend.Done); n != 3 {
		t.Errorf("%d jobs are done, want 3", n)
	}
}
