package browsertest

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// pages are all kinds of pages, with a text that each shows.
var pages = []struct{ name, path, text string }{
	{"overview", "", "Jobs by name and state"},
	{"overview-day", "?span=day", "the last hour is not complete"},
	{"overview-table", "?as=table", "Show as charts"},
	{"jobs", "jobs", "newest first"},
	{"jobs-failed", "jobs?state=failed&error=421&payload=ada", "email.receipt"},
	{"jobs-metadata", "jobs?metadata=tenant%3Dacme", "order.ship"},
	{"jobs-empty", "jobs?name=nothing", "No job matches the filter"},
	{"job-failed", "job?id=201", "Compare two failures"},
	{"job-blocked", "job?id=242", "supplier-9"},
	{"job-running", "job?id=241", "3,120 of 12,480"},
	{"job-steps", "", "ask the warehouse"},
	{"job-stuck", "job?id=241", "Stuck: the handler"},
	{"change", "change?do=retry&state=failed", "Retry 6 jobs?"},
	{"change-priority", "change?do=prioritize&name=email.receipt", "New priority"},
	{"actions", "actions", "No action was taken yet"},
	{"again", "again?id=201", "Store a new job"},
	{"schedules", "schedules", "Monday to Friday at 03:30"},
	{"workers", "workers", "v1.8.2"},
	{"limits", "limits", "100 in 1 minute"},
	{"limit", "limit?name=email.receipt", "Running at once"},
	{"unknown", "job?id=99999", "There is no such job"},
	{"wrong", "jobs?state=lost", "There is no state"},
}

// Each page works in every store, light and dark, narrow and wide, with and without
// JavaScript, and axe-core finds nothing.
func TestPages(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t)
			w := newWorld(t, open(t))
			w.fill(t)
			steps := w.fillSteps(t)
			for _, p := range pages {
				if p.name == "job-steps" {
					p.path = steps
				}
				t.Run(p.name, func(t *testing.T) {
					schemes := []string{"light", "dark"}
					if name != "sqlite" { // another store changes the data, not the look
						schemes = schemes[:1]
					}
					for _, scheme := range schemes {
						b.scheme(t, scheme)
						for _, width := range []int64{1280, 390} {
							b.do(t, chromedp.EmulateViewport(width, 900), chromedp.Navigate(w.url+p.path))
							b.until(t, `document.documentElement.classList.contains("scripted")`)
							b.shows(t, p.text)
							b.accessible(t)
							if over := eval[int](t, b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
								t.Errorf("at %d px the page is %d px too wide", width, over)
							}
							b.save(t, strings.Join([]string{name, p.name, scheme, map[int64]string{1280: "wide", 390: "narrow"}[width]}, "-"))
						}
					}
					b.scripts(t, false)
					b.do(t, chromedp.Navigate(w.url+p.path))
					b.scripts(t, true)
					b.shows(t, p.text)
				})
			}
			b.expected(t, "404", "400")
		})
	}
}

// shows requires that the page has a text.
func (b *browser) shows(t *testing.T, text string) {
	t.Helper()
	if page := eval[string](t, b, `document.body.innerText`); !strings.Contains(page, text) {
		t.Errorf("the page does not show %q:\n%s", text, page)
	}
	if title := eval[string](t, b, `document.title`); !strings.Contains(title, "plainjobs") {
		t.Errorf("the title is %q", title)
	}
}

// expected requires that the console shows no error but about some statuses.
func (b *browser) expected(t *testing.T, statuses ...string) {
	t.Helper()
	b.mu.Lock()
	var rest []string
next:
	for _, e := range b.errors {
		for _, s := range statuses {
			if strings.Contains(e, "status of "+s) {
				continue next
			}
		}
		rest = append(rest, e)
	}
	b.errors = rest
	b.mu.Unlock()
	b.noErrors(t)
}

// The pages of a queue without anything say what to do next.
func TestEmptyPages(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t)
			w := newWorld(t, open(t))
			for _, p := range []struct{ name, path, text string }{
				{"overview", "", "A program stores one with"},
				{"jobs", "jobs", "The queue has no jobs yet"},
				{"schedules", "schedules", "Define one with"},
				{"workers", "workers", "No worker is registered"},
				{"limits", "limits", "No name is paused or limited"},
				{"actions", "actions", "No action was taken yet"},
			} {
				for _, scheme := range []string{"light", "dark"} {
					b.scheme(t, scheme)
					b.do(t, chromedp.Navigate(w.url+p.path))
					b.shows(t, p.text)
					b.accessible(t)
					b.save(t, strings.Join([]string{"empty", p.name, scheme}, "-"))
				}
			}
			b.noErrors(t)
		})
	}
}

// Times are those of the viewer's zone and show UTC on hover. Without JavaScript they are
// in UTC.
func TestTimeZone(t *testing.T) {
	b, w := newPage(t, "job?id=201")
	b.zone(t, "Asia/Tokyo")
	b.do(t, chromedp.Navigate(w.url+"job?id=201"))
	b.until(t, `document.documentElement.classList.contains("scripted")`)
	times := `[...document.querySelectorAll(".timeline time")]`
	if !eval[bool](t, b, times+`.every(t => {
		const at = new Date(t.dateTime);
		const tokyo = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "medium", timeZone: "Asia/Tokyo"}).format(at);
		return t.textContent === tokyo && t.title.startsWith(tokyo) && t.title.includes(at.toISOString().slice(11, 19)) && t.title.includes("UTC");
	}) && `+times+`.length > 3`) {
		t.Errorf("the times are %s", eval[string](t, b, times+`.map(t => t.outerHTML).join("\n")`))
	}
	b.scripts(t, false)
	b.do(t, chromedp.Navigate(w.url+"job?id=201"))
	b.scripts(t, true)
	if !eval[bool](t, b, times+`.every(t => t.textContent.endsWith("UTC") && t.textContent.includes(t.dateTime.slice(11, 19)))`) {
		t.Errorf("without JavaScript the times are %s", eval[string](t, b, times+`.map(t => t.outerHTML).join("\n")`))
	}
	b.noErrors(t)
}

// The first page and everything that it loads take less than 60 KB on the wire, and come
// from the same server. -v prints the size.
func TestFirstLoad(t *testing.T) {
	b := newBrowser(t)
	w := newWorld(t, stores["sqlite"](t))
	w.fill(t)
	b.do(t, chromedp.Navigate(w.url))
	b.until(t, `document.readyState === "complete" && performance.getEntriesByType("resource").length >= 4`)
	const loaded = `[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]`
	size := eval[int](t, b, loaded+`.reduce((sum, e) => sum + e.transferSize, 0)`)
	t.Logf("%d bytes", size)
	if size == 0 || size >= 60_000 {
		t.Errorf("the first load takes %d bytes", size)
	}
	if others := eval[[]string](t, b, loaded+`.map(e => e.name).filter(u => new URL(u).origin !== location.origin)`); len(others) > 0 {
		t.Errorf("the page loads %q", others)
	}
	b.noErrors(t)
}
