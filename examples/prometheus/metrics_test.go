package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

var work = plainjobs.Declare[string]("work", plainjobs.MaxAttempts(1), plainjobs.Timeout(20*time.Millisecond))

// exported returns the labels of each metric, with their values, after some runs.
func exported(t *testing.T) map[string]map[string][]string {
	t.Helper()
	queue := plainjobs.New(memory.New(nil), nil)
	defer queue.Close()
	registry := prometheus.NewRegistry()
	stop, err := Observe(queue, registry)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	stuck := make(chan bool)
	defer queue.Subscribe(func(e plainjobs.Event) {
		if e.Kind == plainjobs.EventStuck {
			close(stuck)
		}
	})()
	plainjobs.Handle(queue, work, func(_ context.Context, how string) error {
		switch how {
		case "fail":
			return errors.New("refused")
		case "stuck":
			<-stuck
		}
		return nil
	})
	for _, how := range []string{"", "fail", "stuck"} {
		if _, err := queue.Perform(t.Context(), work.With(how)); err != nil {
			t.Fatal(err)
		}
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := worker.New(queue, &worker.Options{Drain: true, Logger: quiet}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string][]string{}
	for _, f := range families {
		names := []string{f.GetName()}
		of := map[string][]string{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				of[l.GetName()] = append(of[l.GetName()], l.GetValue())
			}
			if m.GetHistogram() != nil {
				names = []string{f.GetName() + "_bucket", f.GetName() + "_sum", f.GetName() + "_count"}
				of["le"] = nil
			}
		}
		for _, name := range names {
			all[name] = of
		}
	}
	return all
}

// known are the values of labels that rules select by.
var known = map[string][]string{
	"state":             {"scheduled", "blocked", "pending", "running", "done", "failed", "cancelled"},
	"plainjobs_outcome": {"done", "retried", "snoozed", "released", "failed", "cancelled", "lost"},
}

// checkExpression checks that the metrics and labels of an expression exist.
func checkExpression(t *testing.T, where, expression string, metrics map[string]map[string][]string) {
	t.Helper()
	parsed, err := parser.ParseExpr(expression)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			of, ok := metrics[n.Name]
			if !ok {
				t.Errorf("%s: there is no metric %q", where, n.Name)
				return nil
			}
			for _, m := range n.LabelMatchers {
				if _, ok := of[m.Name]; !ok && m.Name != model.MetricNameLabel {
					t.Errorf("%s: %s has no label %s", where, n.Name, m.Name)
				}
				for _, value := range strings.Split(m.Value, "|") {
					if values := known[m.Name]; values != nil && !slices.Contains(values, value) {
						t.Errorf("%s: %s is never %q", where, m.Name, value)
					}
				}
			}
		case *parser.AggregateExpr:
			for _, label := range n.Grouping {
				if !slices.ContainsFunc(selectors(n.Expr), func(name string) bool { _, ok := metrics[name][label]; return ok }) {
					t.Errorf("%s: the metrics have no label %s", where, label)
				}
			}
		}
		return nil
	})
}

func selectors(e parser.Expr) (names []string) {
	parser.Inspect(e, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			names = append(names, s.Name)
		}
		return nil
	})
	return names
}

// Each metric and label in the rules and the dashboard is exported, and in the document.
func TestMetrics(t *testing.T) {
	metrics := exported(t)
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation)
	if len(errs) > 0 || len(groups.Groups) != 1 || len(groups.Groups[0].Rules) == 0 {
		t.Fatalf("%+v, %v", groups, errs)
	}
	doc, err := os.ReadFile("../../docs/prometheus.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range groups.Groups[0].Rules {
		checkExpression(t, rule.Alert, rule.Expr, metrics)
		if !strings.Contains(string(doc), "`"+rule.Alert+"`") {
			t.Errorf("the document does not have the alert %s", rule.Alert)
		}
	}
	for name := range metrics {
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("the document does not have the metric %s", name)
		}
	}

	var dashboard struct {
		Templating struct {
			List []struct{ Name, Query string }
		}
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if text, err = os.ReadFile("dashboard.json"); err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil || len(dashboard.Panels) == 0 {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`\$__rate_interval`)
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || len(p.Targets) == 0 {
			t.Errorf("panel %q: its ID or its place is taken, or it shows nothing", p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			checkExpression(t, p.Title, strings.ReplaceAll(variable.ReplaceAllString(target.Expr, "5m"), "$job", ".*"), metrics)
		}
	}
}

// Prometheus evaluates the rules as alerts_test.yml says.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no promtool")
		}
		t.Skip("there is no promtool")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
