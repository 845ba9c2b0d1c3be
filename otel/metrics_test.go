package otelplainjobs_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	otelplainjobs "github.com/plainjobs/plainjobs/otel"
)

var (
	doneJob    = plainjobs.Declare[account]("metric/done")
	retriedJob = plainjobs.Declare[account]("metric/retried", plainjobs.MaxAttempts(2), plainjobs.Backoff(plainjobs.Fixed(time.Minute)))
	cancelJob  = plainjobs.Declare[account]("metric/cancelled")
	expiredJob = plainjobs.Declare[account]("metric/expired")
	snoozedJob = plainjobs.Declare[account]("metric/snoozed")
	stuckJob   = plainjobs.Declare[account]("metric/stuck", plainjobs.Timeout(time.Second))
	lostJob    = plainjobs.Declare[account]("metric/lost", plainjobs.MaxAttempts(1))
)

// counted returns the counts by job and outcome, and fails the test if there are other
// labels that vary.
func counted(t *testing.T, data metricdata.Aggregation) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	count := func(attrs attribute.Set, n int64) {
		key := ""
		for _, kv := range attrs.ToSlice() {
			switch kv.Key {
			case "messaging.destination.name":
				key = kv.Value.AsString() + key
			case "plainjobs.outcome":
				key += " " + kv.Value.AsString()
			case "messaging.system", "messaging.operation.name":
			default:
				t.Errorf("there is a label %s", kv.Key)
			}
		}
		counts[key] += n
	}
	switch d := data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			count(p.Attributes, p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			count(p.Attributes, int64(p.Count))
		}
	default:
		t.Errorf("there is no such metric, but a %T", data)
	}
	return counts
}

// sum returns the seconds of a job in a histogram.
func sum(data metricdata.Aggregation, job string) (seconds float64) {
	for _, p := range data.(metricdata.Histogram[float64]).DataPoints {
		if name, _ := p.Attributes.Value("messaging.destination.name"); name.AsString() == job {
			seconds += p.Sum
		}
	}
	return seconds
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, store := newLab(t, otelplainjobs.Options{}), memory.New(nil)
		q := l.queue(store)
		stopObserving := l.Observe(q)
		bind := func(job *plainjobs.Job[account], run func(context.Context) error) {
			plainjobs.Handle(q, job, func(ctx context.Context, _ account) error { return run(ctx) })
		}
		bind(doneJob, func(context.Context) error { time.Sleep(2 * time.Second); return nil })
		bind(retriedJob, func(context.Context) error { return errors.New("down") })
		bind(cancelJob, func(context.Context) error { time.Sleep(time.Second); return plainjobs.Cancel(nil) })
		snoozes := 0
		bind(snoozedJob, func(context.Context) error {
			if snoozes++; snoozes == 1 {
				return plainjobs.Snooze(time.Minute)
			}
			return nil
		})
		bind(stuckJob, func(context.Context) error { time.Sleep(10 * time.Second); return nil })
		losses := 0
		bind(lostJob, func(ctx context.Context) error {
			if losses++; losses == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})

		perform(t, q, doneJob.With(secret), doneJob.With(secret, plainjobs.In(time.Hour)), retriedJob.With(secret),
			cancelJob.With(secret), snoozedJob.With(secret), stuckJob.With(secret))
		time.Sleep(5 * time.Minute)
		stop := start(t, q, 10, doneJob, retriedJob, cancelJob, snoozedJob, stuckJob, lostJob)
		time.Sleep(2 * time.Hour)

		perform(t, q, lostJob.With(secret))
		synctest.Wait()
		workers, err := store.Workers(t.Context())
		if err != nil || len(workers) != 1 {
			t.Fatalf("workers are %v, %v", workers, err)
		}
		if _, err := store.Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: workers[0].Worker, Leave: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		stop()
		stopObserving()
		perform(t, q, doneJob.With(secret)) // without a reader

		metrics := l.metrics(t)
		for name, want := range map[string]map[string]int64{
			"messaging.client.sent.messages": {"metric/done": 2, "metric/retried": 1, "metric/cancelled": 1,
				"metric/snoozed": 1, "metric/stuck": 1, "metric/lost": 1},
			"plainjobs.run.wait": {"metric/done": 2, "metric/retried": 2, "metric/cancelled": 1,
				"metric/snoozed": 2, "metric/stuck": 1, "metric/lost": 2},
			"plainjobs.run.outcomes": {"metric/done done": 2, "metric/retried retried": 1, "metric/retried failed": 1,
				"metric/cancelled cancelled": 1, "metric/snoozed snoozed": 1, "metric/snoozed done": 1,
				"metric/stuck done": 1, "metric/lost lost": 1, "metric/lost done": 1},
			"messaging.process.duration": {"metric/done done": 2, "metric/retried retried": 1, "metric/retried failed": 1,
				"metric/cancelled cancelled": 1, "metric/snoozed snoozed": 1, "metric/snoozed done": 1,
				"metric/stuck done": 1, "metric/lost done": 1},
			"plainjobs.run.stuck": {"metric/stuck": 1},
		} {
			if got := counted(t, metrics[name]); !maps.Equal(got, want) {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if took := sum(metrics["messaging.process.duration"], "metric/done"); took != 4 {
			t.Errorf("two runs of two seconds took %v", took)
		}
		// Neither the hour until the second attempt nor the duration of the first counts.
		if waited := sum(metrics["plainjobs.run.wait"], "metric/done"); waited < 300 || waited > 301 {
			t.Errorf("jobs that waited five minutes and not at all waited %v s", waited)
		}
		l.mustBeSecret(t)
	})
}

// A job that expires while the worker holds it has an outcome and no duration.
func TestNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, otelplainjobs.Options{})
		q := l.queue(memory.New(nil))
		defer l.Observe(q)()
		takes := time.Duration(0)
		plainjobs.Handle(q, doneJob, func(context.Context, account) error { time.Sleep(takes); return nil })
		plainjobs.Handle(q, expiredJob, func(context.Context, account) error { t.Error("an expired job ran"); return nil })
		perform(t, q, doneJob.With(secret))
		stop := start(t, q, 1, doneJob, expiredJob)
		synctest.Wait() // now the worker knows that runs are quick, and prefetches
		takes = 90 * time.Millisecond
		perform(t, q, doneJob.With(secret), expiredJob.With(secret, plainjobs.Before(time.Now().Add(takes/2))))
		time.Sleep(time.Second)
		stop()

		metrics := l.metrics(t)
		want := map[string]int64{"metric/done done": 2, "metric/expired cancelled": 1}
		if got := counted(t, metrics["plainjobs.run.outcomes"]); !maps.Equal(got, want) {
			t.Errorf("outcomes are %v, want %v", got, want)
		}
		want = map[string]int64{"metric/done done": 2}
		if got := counted(t, metrics["messaging.process.duration"]); !maps.Equal(got, want) {
			t.Errorf("durations are of %v, want %v", got, want)
		}
	})
}
