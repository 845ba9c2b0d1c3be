package browsertest

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/plainjobs/plainjobs"
)

// Rows can be selected by keyboard, and updates keep the selection.
func TestSelect(t *testing.T) {
	b, w := newPage(t, "jobs?name=image.resize&state=pending")
	b.do(t, chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("j"), chromedp.KeyEvent("x"))
	b.until(t, `document.getElementById("selection").textContent === "With 2 selected jobs:"`)
	if _, err := w.queue.Cancel(t.Context(), plainjobs.Filter{IDs: []int64{270}}); err != nil {
		t.Fatal(err)
	}
	b.until(t, `document.querySelector('tr[data-key="270"]') === null`)
	if n := eval[int](t, b, `document.querySelectorAll("input[name=id]:checked").length`); n != 2 {
		t.Errorf("after an update %d jobs are selected", n)
	}
	b.press(t, `#selected button[value="cancel"]`)
	b.shows(t, "Cancel jobs #")
	b.press(t, ".danger")
	b.shows(t, "Cancelled: jobs #")
	b.do(t, chromedp.Click(chromedp.CSS("#select-page")))
	b.until(t, `document.querySelectorAll("input[name=id]:checked").length === document.querySelectorAll("tr[data-key]").length`)
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
