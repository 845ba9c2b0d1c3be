package libraries

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/getsentry/sentry-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/plainjobstest"
)

// Sentry and Prometheus get each failure with its job, whatever it was.
func TestFailures(t *testing.T) {
	var events []*sentry.Event
	client, err := sentry.NewClient(sentry.ClientOptions{BeforeSend: func(e *sentry.Event, _ *sentry.EventHint) *sentry.Event {
		events = append(events, e)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	ctx, queue := plainjobstest.Memory(t, plainjobstest.Queue(plainjobs.Options{
		OnError:  All(ReportToSentry(sentry.NewHub(client, sentry.NewScope())), CountFailures(registry)),
		Defaults: []plainjobs.DefineOption{plainjobs.MaxAttempts(2)},
	}))
	plainjobs.Handle(queue, Welcome, func(_ context.Context, c Contact) error {
		switch c.Email {
		case "panic":
			panic("boom")
		case "cancel":
			return plainjobs.Cancel(errors.New("unsubscribed"))
		}
		return errors.New("no mail server")
	})
	for _, email := range []string{"panic", "cancel", "error"} {
		if _, err := plainjobs.Perform(ctx, Welcome.With(Contact{Email: email})); err != nil {
			t.Fatal(err)
		}
	}
	plainjobstest.Drain(t, queue, plainjobstest.Retries(), plainjobstest.Failures())

	const want = `
# HELP plainjobs_failures_total Runs that failed.
# TYPE plainjobs_failures_total counter
plainjobs_failures_total{job="welcome",kind="cancel",state="cancelled"} 1
plainjobs_failures_total{job="welcome",kind="error",state="failed"} 1
plainjobs_failures_total{job="welcome",kind="error",state="scheduled"} 1
plainjobs_failures_total{job="welcome",kind="panic",state="failed"} 1
plainjobs_failures_total{job="welcome",kind="panic",state="scheduled"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	levels := map[sentry.Level]int{}
	for _, e := range events {
		levels[e.Level]++
		if e.Tags["job"] != "welcome" || e.Contexts["job"]["max_attempts"] != 2 {
			t.Errorf("an event has the tags %v and the context %v", e.Tags, e.Contexts["job"])
		}
	}
	if levels[sentry.LevelWarning] != 2 || levels[sentry.LevelError] != 2 || len(events) != 4 {
		t.Errorf("Sentry got %d events: %v", len(events), levels)
	}
}
