package dashboard

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/internal/histogram"
)

// The size of a chart in its own units. The page stretches it.
const (
	chartWidth  = 600
	chartHeight = 100
)

// A chart is a picture of the steps of a span.
type chart struct {
	Key, Title  string
	Lines       bool // not bars
	Top, Bottom string
	Series      []series
	Description string
}

// A series is one kind of number in a chart. Its class has a colour and a pattern.
type series struct {
	Class, Label string
	Path         string // of SVG
}

// chartsOf returns the charts of an overview.
func chartsOf(steps []*tally) []chart {
	done := barChart("done", "Done", steps, bars{"done", "done", func(t *tally) int64 { return t.Done }})
	failed := barChart("failures", "Failures", steps,
		bars{"failed", "failed", func(t *tally) int64 { return t.Failed }},
		bars{"retried", "to be retried", func(t *tally) int64 { return t.Retried }},
		bars{"cancelled", "cancelled", func(t *tally) int64 { return t.Cancelled }})
	waited := lineChart("waited", "Time waited", steps, func(t *tally) *histogram.Histogram { return &t.waited })
	ran := lineChart("ran", "Time run", steps, func(t *tally) *histogram.Histogram { return &t.ran })
	return []chart{done, failed, waited, ran}
}

type bars struct {
	class, label string
	of           func(*tally) int64
}

// barChart stacks numbers. Each series is one path.
func barChart(key, title string, steps []*tally, kinds ...bars) chart {
	c := chart{Key: key, Title: title, Bottom: "0"}
	most, sums := int64(0), make([]int64, len(kinds))
	for _, t := range steps {
		n := int64(0)
		for i, k := range kinds {
			n += k.of(t)
			sums[i] += k.of(t)
		}
		most = max(most, n)
	}
	c.Top = grouped(most)
	width := float64(chartWidth) / float64(len(steps))
	below := make([]float64, len(steps))
	var words []string
	for i, k := range kinds {
		var path strings.Builder
		for at, t := range steps {
			n := k.of(t)
			if n == 0 {
				continue
			}
			height := max(1, float64(n)/float64(most)*chartHeight) // a single failure shows
			below[at] += height
			fmt.Fprintf(&path, "M%s %sh%sv%sh-%sz", number(float64(at)*width+width*0.1), number(chartHeight-below[at]), number(width*0.8), number(height), number(width*0.8))
		}
		c.Series = append(c.Series, series{k.class, fmt.Sprintf("%s %s", grouped(sums[i]), k.label), path.String()})
		words = append(words, fmt.Sprintf("%s %s", grouped(sums[i]), k.label))
	}
	c.Description = fmt.Sprintf("%s. At most %s at once.", strings.Join(words, ", "), grouped(most))
	return c
}

// quantiles are those of a line chart.
var quantiles = []struct {
	class, label string
	q            float64
}{{"p99", "p99", 0.99}, {"p95", "p95", 0.95}, {"p50", "p50", 0.5}}

// lineChart shows quantiles on a logarithmic scale. Steps without a run interrupt a line.
func lineChart(key, title string, steps []*tally, of func(*tally) *histogram.Histogram) chart {
	c := chart{Key: key, Title: title, Lines: true}
	all := &histogram.Histogram{}
	values := make([][]time.Duration, len(quantiles))
	var known []time.Duration
	for i, t := range steps {
		h := of(t)
		if h.Total() == 0 {
			continue
		}
		all.Add(h.Append(nil))
		for k, q := range quantiles {
			if values[k] == nil {
				values[k] = make([]time.Duration, len(steps))
			}
			values[k][i] = max(h.Quantile(q.q), time.Microsecond)
			known = append(known, values[k][i])
		}
	}
	low, high := time.Millisecond, 10*time.Millisecond
	if len(known) > 0 {
		low, high = decades(slices.Min(known), slices.Max(known))
	}
	c.Top, c.Bottom = brief(high), brief(low)
	var words []string
	for k, q := range quantiles {
		label := q.label + " " + latency(all, q.q)
		c.Series = append(c.Series, series{q.class, label, linePath(values[k], low, high)})
		words = append(words, label)
	}
	c.Description = strings.Join(words, ", ") + ". The scale is logarithmic."
	return c
}

// decades returns the powers of ten of a microsecond that enclose two durations.
func decades(from, until time.Duration) (low, high time.Duration) {
	low = time.Microsecond
	for low*10 <= from {
		low *= 10
	}
	high = low * 10
	for high < until {
		high *= 10
	}
	return low, high
}

// linePath returns the path of a line. A zero is no value.
func linePath(values []time.Duration, low, high time.Duration) string {
	var path strings.Builder
	width := float64(chartWidth) / float64(max(1, len(values)))
	scale := math.Log(float64(high) / float64(low))
	drawing := false
	for i, v := range values {
		if v == 0 {
			drawing = false
			continue
		}
		y := number(chartHeight - math.Log(float64(v)/float64(low))/scale*chartHeight)
		x := (float64(i) + 0.5) * width
		if drawing {
			fmt.Fprintf(&path, "L%s %s", number(x), y)
		} else { // a value alone shows as a dash
			fmt.Fprintf(&path, "M%s %sH%s", number(x-width*0.3), y, number(x))
		}
		drawing = true
	}
	return path.String()
}

// number returns a coordinate with at most one decimal.
func number(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
}

// brief returns a duration with two or three digits, at most a minute exactly.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return decimal(float64(d)/float64(time.Millisecond)) + " ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return decimal(d.Seconds()) + " s"
	}
	return short(d)
}

func decimal(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") }

// rate returns how often something happened, in words.
func rate(n int64, in time.Duration) string {
	perSecond := float64(n) / in.Seconds()
	switch {
	case n == 0:
		return "none"
	case perSecond >= 10:
		return grouped(int64(math.Round(perSecond))) + " a second"
	case perSecond >= 1:
		return decimal(perSecond) + " a second"
	case perSecond*60 >= 1:
		return decimal(perSecond*60) + " a minute"
	}
	return decimal(perSecond*3600) + " an hour"
}
