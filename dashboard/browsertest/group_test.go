package browsertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

var (
	letter = plainjobs.Declare[string]("group/letter")
	report = plainjobs.Declare[string]("group/report")
)

// fillGroups stores a group with a long label, a failed member and a group in it, and a flow,
// whose page it returns.
func (w *world) fillGroups(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	g, err := w.queue.Group(ctx, plainjobs.Label(strings.Repeat("letters of May ", 12)), plainjobs.Deadline(time.Hour),
		plainjobs.OnDone(report.With("all")), plainjobs.OnFailure(report.With("failure")))
	check(t, err)
	_, err = g.PerformMany(ctx, letter.With("a"), letter.With("b"))
	check(t, err)
	jobs, err := w.store.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: time.Hour}, Register: true, Names: []string{"group/letter"}, Limit: 1})
	check(t, err)
	_, err = w.store.Fail(ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndFailed, Error: strings.Repeat("no such address, ", 20)}})
	check(t, err)
	inner, err := g.Group(ctx, plainjobs.OnEnd(report.With("inner")), plainjobs.Label("inner"))
	check(t, err)
	check(t, inner.Seal(ctx))
	var f plainjobs.Flow
	first := f.Add(letter.With("stock"))
	second := f.Add(letter.With("card"))
	f.Add(report.With("ship"), plainjobs.DependsOn(first), plainjobs.DependsOnEnd(second))
	flow, err := w.queue.PerformFlow(ctx, &f)
	check(t, err)
	return fmt.Sprint("group?id=", flow.ID())
}

// The pages of groups are accessible, light and dark, narrow and wide, with and without
// JavaScript.
func TestGroupPages(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			testGroupPages(t, newWorld(t, open(t)))
		})
	}
}

func testGroupPages(t *testing.T, w *world) {
	t.Helper()
	b := newBrowser(t)
	flow := w.fillGroups(t)
	for _, p := range []struct{ name, path, text string }{
		{"groups", "groups", "letters of May"},
		{"groups-all", "groups?all=yes", "1 failed"},
		{"group", "group?id=1", "does not end before its program calls Seal"},
		{"group-inner", "group?id=2", "OnEnd"},
		{"flow", flow, "A dashed line is for a job that may end in any way"},
		{"job-callback", "job?id=1", "OnDone of group"},
		{"jobs-group", "jobs?group=1", "group/letter"},
		{"group-unknown", "group?id=99", "There is no such group"},
	} {
		t.Run(p.name, func(t *testing.T) {
			for _, scheme := range []string{"light", "dark"} {
				b.scheme(t, scheme)
				for _, width := range []int64{1280, 390} {
					b.do(t, chromedp.EmulateViewport(width, 900), chromedp.Navigate(w.url+p.path))
					b.until(t, `document.documentElement.classList.contains("scripted")`)
					b.shows(t, p.text)
					b.accessible(t)
					if over := eval[int](t, b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
						t.Errorf("at %d px the page is %d px too wide", width, over)
					}
					b.save(t, strings.Join([]string{p.name, scheme, map[int64]string{1280: "wide", 390: "narrow"}[width]}, "-"))
				}
			}
			b.scripts(t, false)
			b.do(t, chromedp.Navigate(w.url+p.path))
			b.scripts(t, true)
			b.shows(t, p.text)
		})
	}
	b.expected(t, "404")
	w.testFlowGraph(t, b, flow)
}

// testFlowGraph looks at the graph of a flow, pauses and resumes the flow, and follows a job of
// the graph to its page.
func (w *world) testFlowGraph(t *testing.T, b *browser, flow string) {
	t.Helper()
	b.do(t, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(w.url+flow))
	for selector, want := range map[string]int{".flow a g.box": 3, ".flow path.edge": 2, ".flow path.edge.ended": 1} {
		if n := eval[int](t, b, fmt.Sprintf(`document.querySelectorAll(%q).length`, selector)); n != want {
			t.Errorf("the graph has %d of %s, want %d", n, selector, want)
		}
	}
	if overlap := eval[bool](t, b, `(() => {
		const boxes = [...document.querySelectorAll(".flow g.box rect")].map((r) => r.getBoundingClientRect());
		return boxes.some((a, i) => boxes.some((c, k) => i < k && a.left < c.right && c.left < a.right && a.top < c.bottom && c.top < a.bottom));
	})()`); overlap {
		t.Error("boxes of the graph overlap")
	}
	b.press(t, `form[data-key="pause-group"] button`)
	b.shows(t, "Workers start none of its members until it is resumed")
	b.press(t, `form[data-key="resume-group"] button`)
	b.until(t, `document.querySelector('form[data-key="pause-group"]') !== null`)
	b.do(t, chromedp.Focus(chromedp.CSS(".flow a")))
	b.press(t, ".flow a")
	b.until(t, `location.pathname.endsWith("/job")`)
	b.shows(t, "In group")
}
