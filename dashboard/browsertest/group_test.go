package browsertest

import (
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

// fillGroups stores a group with a long label, a failed member and a group in it.
func (w *world) fillGroups(t *testing.T) {
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
	w.fillGroups(t)
	for _, p := range []struct{ name, path, text string }{
		{"groups", "groups", "letters of May"},
		{"groups-all", "groups?all=yes", "1 failed"},
		{"group", "group?id=1", "does not end before its program calls Seal"},
		{"group-inner", "group?id=2", "OnEnd"},
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
}
