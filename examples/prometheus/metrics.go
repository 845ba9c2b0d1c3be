// Package prometheus exports the metrics of a queue to Prometheus. docs/prometheus.md
// describes it. Next to it are alerts and a dashboard for Grafana.
package prometheus

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	otelplainjobs "github.com/plainjobs/plainjobs/otel"
)

// Observe exports the metrics of a queue, until stop is called: the runs of this process,
// and what the store has, which is the same in each process.
func Observe(queue *plainjobs.Queue, registry prometheus.Registerer) (stop func(), err error) {
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	telemetry, err := otelplainjobs.New(&otelplainjobs.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		return nil, err
	}
	store := &collector{queue}
	if err := registry.Register(store); err != nil {
		return nil, err
	}
	end := telemetry.Observe(queue)
	return func() { end(); registry.Unregister(store) }, nil
}

// A collector asks the store when Prometheus asks for metrics.
type collector struct{ queue *plainjobs.Queue }

var (
	up      = prometheus.NewDesc("plainjobs_store_up", "1 if the store answered.", nil, nil)
	jobs    = prometheus.NewDesc("plainjobs_jobs", "Jobs in the store.", []string{"job", "state"}, nil)
	paused  = prometheus.NewDesc("plainjobs_paused", "1 if the jobs of the name are paused. An empty name is the whole queue.", []string{"job"}, nil)
	workers = prometheus.NewDesc("plainjobs_workers", "Live workers of all processes.", nil, nil)
)

func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{up, jobs, paused, workers} {
		to <- d
	}
}

func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counts, err := c.queue.Counts(ctx)
	var names []plainjobs.NameInfo
	if err == nil {
		names, err = c.queue.Names(ctx)
	}
	var all []plainjobs.Worker
	if err == nil {
		all, err = c.queue.Workers(ctx)
	}
	if err != nil {
		gauge(up, 0)
		return
	}
	gauge(up, 1)
	// A name has all states, with zeros: an alert on an increase needs the value before.
	states := map[string]map[plainjobs.State]int64{}
	for _, count := range counts {
		if states[count.Name] == nil {
			states[count.Name] = map[plainjobs.State]int64{}
		}
		states[count.Name][count.State] = count.Jobs
	}
	for name, of := range states {
		for _, state := range backend.States() {
			gauge(jobs, float64(of[state]), name, state.String())
		}
	}
	for i := range names {
		value := 0.0
		if names[i].Paused {
			value = 1
		}
		gauge(paused, value, names[i].Name)
	}
	alive := 0
	for i := range all {
		if all[i].Alive {
			alive++
		}
	}
	gauge(workers, float64(alive))
}
