package postgrestest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
	"github.com/plainjobs/plainjobs/worker"
)

// jobA is the job of newJob("a"), for tests with a worker.
var jobA = plainjobs.Declare[struct{}]("a")

// testFailover kills the primary of a pair under load and promotes the standby, then
// does so in the other direction. The queue must continue on its own: no acknowledged
// job may be lost, no job with a kept key stored twice, and every job must be done.
// Lost claims and completions only make their jobs run again.
//
// It is for pgx, which finds the writable server among several hosts in a DSN.
func (d Driver) testFailover(t *testing.T) {
	if d.Name != "pgx" {
		t.Skip("a DSN of several hosts is tested with pgx")
	}
	failovers := 2
	if long() {
		failovers = 50
	}
	p := pgcluster.NewPair(t, d.Name)
	log := slog.New(slog.DiscardHandler) // discards the errors that the test provokes
	b, err := d.Open(p.DSN(), &postgres.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l := &load{cutter: cutter{t: t, b: b, acked: map[string]int64{}}}
	pushing, stop := context.WithCancel(t.Context())
	defer stop()
	working, rest := context.WithCancel(t.Context())
	defer rest()
	var pushers, workers sync.WaitGroup
	for i := range 2 {
		pushers.Go(func() { l.push(pushing, fmt.Sprint("pusher", i)) })
		workers.Go(func() { l.run(working, log) })
	}
	for i := range failovers {
		if i > 0 {
			p.Rebuild()
		}
		p.Protect()
		l.thrives()
		p.Fail(i%2 == 1)
		l.thrives() // on the new primary, alone
		if t.Failed() {
			break
		}
	}
	stop()
	pushers.Wait()
	allEnd(t, b)
	rest()
	workers.Wait()
	a := newAudit(t, b, l.acked)
	t.Logf("%d failovers: %d jobs acknowledged, %d lost, %d doubled, %d not done; %d runs, %d calls failed",
		failovers, len(l.acked), a.lost, a.doubled, len(a.open), l.done.Load(), l.fails.Load())
	if len(a.open) > 0 || a.stored != len(l.acked) {
		t.Errorf("%d jobs are stored of %d that were acknowledged; not done are %q", a.stored, len(l.acked), a.open)
	}
}

// allEnd waits until no job waits or runs.
func allEnd(t *testing.T, b *postgres.Backend) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		counts, err := b.Count(t.Context()) // as of one moment, because jobs may return to pending
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(counts, func(c backend.Count) bool { return c.Jobs > 0 && !c.State.Terminal() }) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the jobs do not finish: %v", counts)
			return
		}
		<-time.After(10 * time.Millisecond) // there is no notification
	}
}

// run runs a worker until ctx ends.
func (l *load) run(ctx context.Context, log *slog.Logger) {
	q := plainjobs.New(l.b, nil)
	plainjobs.Handle(q, jobA, func(context.Context, struct{}) error {
		l.done.Add(1)
		return nil
	})
	opts := &worker.Options{Jobs: []plainjobs.AnyJob{jobA}, Concurrency: 2, Lease: 2 * time.Second, Logger: log}
	if err := worker.New(q, opts).Run(ctx); err != nil {
		l.t.Errorf("the worker ended: %v", err)
	}
}

// thrives waits until some jobs were acknowledged and some were done.
func (l *load) thrives() {
	l.t.Helper()
	acks, done := l.acks.Load()+100, l.done.Load()+100
	deadline := time.Now().Add(time.Minute)
	for (l.acks.Load() < acks || l.done.Load() < done) && !l.t.Failed() {
		if time.Now().After(deadline) {
			l.t.Fatalf("the queue does not continue: %d jobs were acknowledged and %d done in a minute", l.acks.Load()-acks+100, l.done.Load()-done+100)
		}
		<-time.After(10 * time.Millisecond) // polls counters
	}
}
