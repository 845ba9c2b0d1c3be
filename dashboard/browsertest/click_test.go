package browsertest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/plainjobs/plainjobs/backend"
)

// A way is how a person uses the pages.
type way struct {
	store   string
	scripts bool
	scheme  string
	width   int64
}

func (w way) String() string {
	return fmt.Sprintf("%s,scripts=%t,%s,%dpx", w.store, w.scripts, w.scheme, w.width)
}

// ways are those that tests of clicks try: with and without JavaScript, light and dark, wide
// and narrow, on each store.
var ways = []way{
	{"sqlite", true, "light", 1280}, {"sqlite", true, "dark", 390}, {"sqlite", false, "light", 390}, {"sqlite", false, "dark", 1280},
	{"postgres", true, "dark", 1280}, {"postgres", false, "light", 390},
}

// take makes a browser behave as the way says, for pages loaded from now on.
func (w way) take(t *testing.T, b *browser) {
	t.Helper()
	b.scheme(t, w.scheme)
	b.do(t, chromedp.EmulateViewport(w.width, 900))
	b.scripts(t, w.scripts)
}

// press clicks an element and waits for the page that it leads to. It presses Enter on a
// link of a row: the middle of the first box of that link may be hidden text.
func (b *browser) press(t *testing.T, selector string) {
	t.Helper()
	b.scripts(t, true) // to evaluate
	before := eval[string](t, b, `document.documentElement.dataset.now`)
	if strings.Contains(selector, "a.row") {
		eval[bool](t, b, fmt.Sprintf(`(document.querySelector(%q).focus(), true)`, selector))
		b.do(t, chromedp.KeyEvent("\r"))
	} else {
		b.do(t, chromedp.Click(chromedp.CSS(selector)))
	}
	b.until(t, fmt.Sprintf(`document.readyState === "complete" && document.documentElement.dataset.now !== %q`, before))
}

// goTo loads a page.
func (b *browser) goTo(t *testing.T, way way, url string) {
	t.Helper()
	way.take(t, b)
	b.do(t, chromedp.Navigate(url))
}

func do(action string) string { return `form[data-key="` + action + `"] button` }

// All actions can be clicked, and the page says what happened.
func TestClickActions(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			b := newBrowser(t)
			w := newWorld(t, stores[way.store](t))
			w.fill(t)
			check(t, w.queue.Schedule("letters", "@daily", letter.With("a")))
			for _, s := range []struct{ page, click, sure, says string }{
				{"job?id=201", do("retry"), "", "Retried: job #201."},
				{"job?id=201", do("prioritize"), "", "Given another priority: job #201"},
				{"job?id=201", do("cancel"), "Cancel job #201?", "Cancelled: job #201."},
				{"job?id=201", do("delete"), "Delete job #201?", "Deleted: job #201."},
				{"job?id=207", do("run-now"), "", "Made due: job #207."},
				{"limits", do("resume"), "", "Resumed jobs named newsletter."},
				{"limits", `form[data-key="pause"] button[aria-label="Pause image.resize"]`, "", "Paused jobs named image.resize."},
				{"limits", `.acts form[data-key="pause"] button`, "Pause all jobs?", "Paused all jobs."},
				{"limits", `.acts form[data-key="resume"] button`, "", "Resumed all jobs."},
				{"limit?name=image.resize", ".again .primary", "", "Changed the limits of image.resize: defaults."},
				{"schedules", `button[aria-label="Resume invoice.monthly"]`, "", "Resumed schedule invoice.monthly."},
				{"schedules", `button[aria-label="Pause cache.warm"]`, "", "Paused schedule cache.warm."},
				{"schedules", `button[aria-label="Run letters now"]`, "", "Ran schedule letters"},
				{"again?id=202", `.again button`, "", "a copy of job #202."},
			} {
				t.Run(s.says, func(t *testing.T) {
					b.goTo(t, way, w.url+s.page)
					b.press(t, s.click)
					if s.sure != "" {
						b.shows(t, s.sure)
						b.press(t, ".danger")
					}
					b.shows(t, s.says)
				})
			}
			b.noErrors(t)
		})
	}
}

// Each action on all jobs that match a filter can be clicked. It shows a count first, and
// then its progress and who took it, accessible in light and dark.
func TestClickChanges(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			b := newBrowser(t)
			w := newWorld(t, stores[way.store](t))
			w.fill(t)
			look := func(name, text string) {
				t.Helper()
				b.shows(t, text)
				b.accessible(t)
				if over := eval[int](t, b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
					t.Errorf("at %d px the page %s is %d px too wide", way.width, name, over)
				}
				b.save(t, "act-"+name+"-"+way.scheme)
			}
			for _, s := range []struct{ verb, filter, asks, ends string }{
				{"retry", "state=failed", "Retry 6 jobs?", "6 of 6 jobs"},
				{"run-now", "state=scheduled", "Run now 3 jobs?", "3 of 3 jobs"},
				{"prioritize", "name=email.receipt&state=pending", "Set the priority of 40 jobs?", "40 of 40 jobs"},
				{"cancel", "name=email.receipt&error=421", "Cancel 7 jobs?", "7 of 7 jobs"},
				{"delete", "state=done", "Delete 200 jobs?", "200 of 200 jobs"},
			} {
				t.Run(s.verb, func(t *testing.T) {
					b.goTo(t, way, w.url+"jobs?"+s.filter)
					b.scripts(t, true)
					b.do(t, chromedp.Click(chromedp.CSS(".changes summary")))
					b.scripts(t, way.scripts)
					b.press(t, `.changes a[href*="do=`+s.verb+`"]`)
					if eval[bool](t, b, `document.querySelector('a[href*="count=long"]') !== null`) { // the machine is slow
						b.press(t, `a[href*="count=long"]`)
					}
					look("change-"+s.verb, s.asks)
					if s.verb == "prioritize" {
						b.do(t, chromedp.SendKeys(chromedp.CSS("input[name=priority]"), "-3"))
					}
					b.scripts(t, way.scripts)
					b.press(t, ".again .primary, .again .danger")
					b.until(t, fmt.Sprintf(`document.body.innerText.includes(%q) && document.body.innerText.includes("done")`, s.ends))
					look("action", "127.0.0.1")
				})
			}
			b.goTo(t, way, w.url+"job?id=242")
			b.press(t, do("cancel"))
			look("confirm", "Cancel job #242?")
			b.goTo(t, way, w.url+"actions")
			b.scripts(t, true)
			look("actions", "all jobs with state=failed")
			b.noErrors(t)
		})
	}
}

// An action that is in progress can be stopped by a click.
func TestClickStop(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			b := newBrowser(t)
			held := &heldStore{store: stores[way.store](t), hold: make(chan struct{})}
			w := newWorld(t, held)
			w.fill(t)
			held.holds = true
			b.goTo(t, way, w.url+"change?do=delete&state=done")
			b.press(t, ".again .danger")
			b.shows(t, "running")
			b.scripts(t, way.scripts)
			b.press(t, do("stop"))
			b.until(t, `document.body.innerText.includes("stopped by 127.0.0.1")`)
			close(held.hold)
			b.accessible(t)
			b.noErrors(t)
		})
	}
}

// A heldStore lets no change of jobs begin before hold is closed.
type heldStore struct {
	store
	holds bool
	hold  chan struct{}
}

func (s *heldStore) Operate(ctx context.Context, req backend.OperateRequest) (backend.OperateResult, error) {
	if s.holds {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return backend.OperateResult{}, ctx.Err()
		}
	}
	return s.store.Operate(ctx, req)
}

// Every page is reached by clicks from the first one.
func TestClickPages(t *testing.T) {
	for _, way := range ways {
		t.Run(way.String(), func(t *testing.T) {
			b := newBrowser(t)
			w := newWorld(t, stores[way.store](t))
			w.fill(t)
			b.goTo(t, way, w.url)
			for _, s := range []struct{ click, shows string }{
				{`nav a[href="jobs"]`, "Change all jobs that match"},
				{`[data-next]`, "Back to the newest"},
				{`[data-first]`, "newest first"},
				{`.brand`, "Jobs by name and state"},
				{`a[href="jobs?name=email.receipt&state=failed"]`, "6 jobs"},
				{`a.row[href="job?id=201"]`, "Compare two failures"},
				{`#diff + form button`, "Compare two failures"},
				{`a[data-key="again"]`, "Store a new job"},
				{`.buttons a`, "email.receipt #201"},
				{`nav a[href="schedules"]`, "Monday to Friday at 03:30"},
				{`a.row[href="jobs?name=report.daily"]`, "report.daily"},
				{`nav a[href="workers"]`, "shop-1"},
				{`table.held a.row`, "Timeline"},
				{`nav a[href="limits"]`, "100 in 1 minute"},
				{`nav a[href="actions"]`, "No action was taken yet"},
				{`.brand`, "Jobs by name and state"},
				{`a[href*="as=table"]`, "Show as charts"},
				{`a[href*="span=week"]`, "the last hour is not complete"},
			} {
				b.scripts(t, way.scripts)
				b.press(t, s.click)
				b.shows(t, s.shows)
			}
			b.noErrors(t)
		})
	}
}
