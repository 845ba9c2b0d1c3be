package browsertest

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/histogram"
)

// record stores activity of the past minutes, as a busy worker would.
func (w *world) record(t *testing.T, worker backend.Worker) {
	t.Helper()
	now := time.Now().Truncate(time.Minute)
	var all []backend.Activity
	for i := range 70 {
		at := now.Add(-time.Duration(i+1) * time.Minute)
		wave := 1 + 0.6*math.Sin(float64(i)/9)
		for n, name := range []string{"email.receipt", "image.resize", "import.catalog"} {
			if name == "import.catalog" && i%10 != 3 {
				continue
			}
			runs := int64(wave*float64([]int{420, 96, 1}[n])) + int64(i*i%7)
			a := backend.Activity{Name: name, At: at, Done: runs}
			if n == 0 && i > 20 && i < 32 { // a mail server was down
				a.Retried, a.Failed = runs/3, runs/12
				a.Done -= a.Retried + a.Failed
			}
			if n == 1 && i == 44 {
				a.Cancelled = 12
			}
			var waited, ran histogram.Histogram
			for r := range runs {
				spread := math.Exp(0.9 * (math.Sin(float64(r*37%101)) + math.Tan(1.45*math.Sin(float64(r*61%997)))/3))
				ran.Record(time.Duration(float64([]time.Duration{140 * time.Millisecond, 1800 * time.Millisecond, 90 * time.Second}[n]) * spread))
				waited.Record(time.Duration(float64(4*time.Millisecond) * spread * wave * wave))
			}
			a.Waited, a.Ran = waited.Append(nil), ran.Append(nil)
			all = append(all, a)
		}
	}
	_, err := w.store.Heartbeat(context.Background(), backend.HeartbeatRequest{Worker: worker, Activity: all})
	check(t, err)
}

// The links above the charts choose the span and the form, and updates keep both.
func TestSpans(t *testing.T) {
	b := newBrowser(t)
	w := newWorld(t, stores["sqlite"](t))
	w.fill(t)
	b.do(t, chromedp.Navigate(w.url))
	b.until(t, `document.querySelectorAll(".chart svg").length === 4`)
	b.do(t, chromedp.Click(`//a[text()="Last day"]`))
	b.until(t, `document.querySelector(".spans [aria-current]").textContent === "Last day" && document.querySelectorAll(".chart").length === 4`)
	b.do(t, chromedp.Click(`//a[text()="Show as a table"]`))
	b.until(t, `document.querySelectorAll("table.latency").length === 2 && document.querySelectorAll(".chart").length === 0`)
	_, err := w.store.Push(t.Context(), []backend.NewJob{{Name: "arrives.later", MaxAttempts: 1}})
	check(t, err)
	b.until(t, `document.body.innerText.includes("arrives.later")`)
	if n := eval[int](t, b, `document.querySelectorAll("table.latency").length`); n != 2 {
		t.Errorf("after an update the page has %d tables of runs, want 2", n)
	}
	b.noErrors(t)
}
