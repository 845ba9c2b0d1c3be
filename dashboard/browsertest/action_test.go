package browsertest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/plainjobs/plainjobs"
)

// press clicks a button and waits for the page that its form leads to.
func (b *browser) press(t *testing.T, selector string) {
	t.Helper()
	b.scripts(t, true) // to evaluate
	before := eval[string](t, b, `document.documentElement.dataset.now`)
	b.do(t, chromedp.Click(chromedp.CSS(selector)))
	b.until(t, fmt.Sprintf(`document.readyState === "complete" && document.documentElement.dataset.now !== %q`, before))
}

func do(action string) string { return `form[data-key="` + action + `"] button` }

// All actions can be clicked, with and without JavaScript, and the page says what
// happened.
func TestClickActions(t *testing.T) {
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprintf("scripts=%t", scripts), func(t *testing.T) {
			b := newBrowser(t)
			w := newWorld(t, stores["sqlite"](t))
			w.fill(t)
			steps := []struct{ page, click, sure, says string }{
				{"job?id=201", do("retry"), "", "Retried: job #201."},
				{"job?id=201", do("cancel"), "Cancel job #201?", "Cancelled: job #201."},
				{"job?id=201", do("delete"), "Delete job #201?", "Deleted: job #201."},
				{"jobs?state=scheduled", "", "", ""},
				{"limits", do("resume"), "", "Resumed jobs named newsletter."},
				{"limits", `form[data-key="pause"] button[aria-label="Pause image.resize"]`, "", "Paused jobs named image.resize."},
				{"limits", `.acts form[data-key="pause"] button`, "Pause all jobs?", "Paused all jobs."},
				{"limits", `.acts form[data-key="resume"] button`, "", "Resumed all jobs."},
				{"schedules", `button[aria-label="Resume invoice.monthly"]`, "", "Resumed schedule invoice.monthly."},
				{"schedules", `button[aria-label="Pause cache.warm"]`, "", "Paused schedule cache.warm."},
				{"again?id=202", `.again button`, "", "a copy of job #202."},
			}
			for _, s := range steps {
				if s.click == "" {
					continue
				}
				t.Run(s.says, func(t *testing.T) {
					b.scripts(t, scripts)
					b.do(t, chromedp.Navigate(w.url+s.page))
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

// Rows can be selected by keyboard, and updates keep the selection.
func TestSelect(t *testing.T) {
	b, w := newPage(t, "jobs?name=image.resize&state=pending")
	b.do(t, chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("j"), chromedp.KeyEvent("x"))
	b.until(t, `document.getElementById("selection").textContent === "With 2 selected jobs:"`)
	if _, err := w.queue.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{270}}); err != nil {
		t.Fatal(err)
	}
	b.until(t, `document.querySelector('tr[data-key="270"]') === null`)
	if n := eval[int](t, b, `document.querySelectorAll("input:checked").length`); n != 2 {
		t.Errorf("after an update %d jobs are selected", n)
	}
	b.press(t, `#selected button[value="cancel"]`)
	b.shows(t, "Cancel jobs #")
	b.press(t, ".danger")
	b.shows(t, "Cancelled: jobs #")
	b.do(t, chromedp.Click(chromedp.CSS("#select-page")))
	b.until(t, `document.querySelectorAll("input:checked").length === document.querySelectorAll("tr[data-key]").length`)
	b.noErrors(t)
}

// A wrong payload is explained next to what was typed.
func TestEditPayload(t *testing.T) {
	b, _ := newPage(t, "job?id=201")
	b.do(t, chromedp.Click(chromedp.CSS(`a[data-key="again"]`)))
	b.until(t, `document.querySelector("textarea") !== null`)
	if text := eval[string](t, b, `document.querySelector("textarea").value`); !strings.Contains(text, `"sku": "A-1"`) {
		t.Errorf("the text to edit is %s", text)
	}
	eval[bool](t, b, `(document.querySelector("textarea").value = '{"order": ') !== ""`)
	b.press(t, ".again .primary")
	b.shows(t, "Nothing was stored.")
	if text := eval[string](t, b, `document.querySelector("textarea").value`); text != `{"order": ` {
		t.Errorf("the text after an error is %q", text)
	}
	for _, scheme := range []string{"dark", "light"} {
		b.scheme(t, scheme)
		b.accessible(t)
	}
	eval[bool](t, b, `(document.querySelector("textarea").value = '{"order": 1}') !== ""`)
	b.press(t, ".again .primary")
	b.shows(t, `"order": 1`)
	b.expected(t, "422")
}

// A whole filter is changed with a count before it, progress, and a record of who did it;
// the pages are accessible in light and dark.
func TestChangeAll(t *testing.T) {
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprintf("scripts=%t", scripts), func(t *testing.T) {
			b := newBrowser(t)
			w := newWorld(t, stores["sqlite"](t))
			w.fill(t)
			look := func(name, text string) {
				t.Helper()
				b.shows(t, text)
				for _, scheme := range []string{"light", "dark"} {
					b.scheme(t, scheme)
					b.accessible(t)
					b.save(t, "act-"+name+"-"+scheme)
				}
				b.scripts(t, scripts)
			}
			b.scripts(t, scripts)
			b.do(t, chromedp.Navigate(w.url+"jobs?state=failed"), chromedp.Click(chromedp.CSS(".changes summary")))
			b.press(t, `.changes a[href*="do=retry"]`)
			look("change", "Retry 6 jobs?")
			b.press(t, ".again .primary")
			b.until(t, `document.body.innerText.includes("6 of 6 jobs")`)
			look("action", "done")
			b.do(t, chromedp.Navigate(w.url+"job?id=203"))
			b.press(t, do("cancel"))
			look("confirm", "Cancel job #203?")
			b.do(t, chromedp.Navigate(w.url+"actions"))
			b.scripts(t, true)
			look("actions", "all jobs with state=failed")
			for _, width := range []int64{1280, 390} {
				b.do(t, chromedp.EmulateViewport(width, 900))
				if over := eval[int](t, b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
					t.Errorf("at %d px the page is %d px too wide", width, over)
				}
			}
			b.noErrors(t)
		})
	}
}
