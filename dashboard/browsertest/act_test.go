package browsertest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/plainjobs/plainjobs/backend"
)

// newPage returns a browser and a filled world, with a page loaded.
func newPage(t *testing.T, path string) (*browser, *world) {
	t.Helper()
	b := newBrowser(t)
	w := newWorld(t, stores["sqlite"](t))
	w.fill(t)
	b.do(t, chromedp.Navigate(w.url+path))
	b.until(t, `document.documentElement.classList.contains("scripted")`)
	return b, w
}

// Rows are updated in place: the focused link, the selected text and the scroll position
// stay, and new rows appear.
func TestUpdatesInPlace(t *testing.T) {
	b, w := newPage(t, "jobs?name=image.resize")
	eval[bool](t, b, `(() => {
		const row = document.querySelector('tr[data-key="260"]');
		row.mark = "the same";
		row.querySelector("a").focus();
		getSelection().selectAllChildren(row.querySelector(".name"));
		row.scrollIntoView({block: "start", behavior: "instant"});
		top.before = row.getBoundingClientRect().top;
		return true;
	})()`)
	if _, err := w.store.Push(context.Background(), []backend.NewJob{{Name: "image.resize", Payload: []byte("1"), MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	b.until(t, `document.querySelector('tr[data-key="312"]') !== null`)
	for _, want := range []string{
		`document.querySelector('tr[data-key="260"]').mark === "the same"`, `document.activeElement.textContent.endsWith("260")`,
		`getSelection().toString().includes("image.resize")`, `Math.abs(document.querySelector('tr[data-key="260"]').getBoundingClientRect().top - before) < 60`,
	} {
		if !eval[bool](t, b, want) {
			t.Errorf("after an update it is not true that %s", want)
		}
	}
	b.noErrors(t)
}

// Updates can be paused. If the store is gone, the page says so and keeps its content.
func TestPause(t *testing.T) {
	b, w := newPage(t, "jobs?name=image.resize")
	b.do(t, chromedp.Click(chromedp.CSS("#pause")))
	if !eval[bool](t, b, `document.getElementById("pause").textContent === "Resume updates"`) {
		t.Error("the button does not say that updates are paused")
	}
	if _, err := w.store.Push(context.Background(), []backend.NewJob{{Name: "image.resize", Payload: []byte("1"), MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.Click(chromedp.CSS("#pause")))
	b.until(t, `document.querySelector('tr[data-key="312"]') !== null`)
	if err := w.queue.Close(); err != nil {
		t.Fatal(err)
	}
	b.until(t, `document.getElementById("status").textContent.includes("closed")`)
	if !eval[bool](t, b, `document.querySelector('tr[data-key="312"]') !== null`) {
		t.Error("the page lost its content with the store")
	}
	b.noErrors(t)
}

// Every page can be reached and read with the keyboard.
func TestKeyboard(t *testing.T) {
	b, w := newPage(t, "jobs")
	key := func(keys string) {
		t.Helper()
		b.do(t, chromedp.KeyEvent(keys))
	}
	key("/")
	b.until(t, `document.activeElement.name === "error"`)
	eval[bool](t, b, `(document.activeElement.value = "") === ""`) // a simulated key types even where its default is prevented
	key("421\r")
	b.until(t, `location.search === "?error=421" && document.querySelectorAll("tr[data-key]").length === 7`)
	b.do(t, chromedp.Navigate(w.url+"jobs?name=image.resize"))
	b.until(t, `document.documentElement.classList.contains("scripted") && document.readyState === "complete"`)
	key("n")
	b.until(t, `location.search.includes("before=") && document.readyState === "complete"`)
	key("p")
	b.until(t, `location.search === "?name=image.resize" && document.readyState === "complete"`)
	key("j")
	key("j")
	key("k")
	b.until(t, `document.activeElement === document.querySelector("main a.row")`)
	key("\r")
	b.until(t, `location.pathname.endsWith("/job") && document.readyState === "complete"`)
	key("?")
	b.until(t, `document.getElementById("keys").open`)
	b.accessible(t)
	key("\u001b")
	b.until(t, `!document.getElementById("keys").open`)
	for keys, path := range map[string]string{"gs": "schedules", "gw": "workers", "gl": "limits", "gj": "jobs", "gg": "groups", "ga": "actions", "go": ""} {
		key(keys)
		b.until(t, `location.href === "`+w.url+path+`" && document.readyState === "complete"`)
	}
	b.noErrors(t)
}

// What a job contains stays text.
func TestHostileJob(t *testing.T) {
	b, _ := newPage(t, "job?id=311")
	b.shows(t, `"</script><script>document.title='owned'</script>\u202e"`)
	b.noErrors(t)
}

// No page can frame the dashboard, not even one of the same server.
func TestFrame(t *testing.T) {
	b, w := newPage(t, "")
	b.do(t, chromedp.Navigate(w.url+"../frame"))
	b.until(t, `document.readyState === "complete"`)
	if !eval[bool](t, b, `document.querySelector("iframe").contentDocument === null`) {
		t.Error("the frame was not refused")
	}
}

// A page that the store does not answer says so, and is there again by itself once the
// store answers, with and without JavaScript. An open page keeps its content meanwhile.
func TestRecovers(t *testing.T) {
	for _, way := range ways[:3] {
		t.Run(way.String(), func(t *testing.T) {
			b := newBrowser(t)
			lost := &lostStore{store: stores[way.store](t)}
			w := newWorld(t, lost)
			w.fill(t)
			b.goTo(t, way, w.url)
			if way.scripts {
				lost.lost.Store(true)
				b.until(t, `document.getElementById("status").textContent.includes("The store does not answer")`)
				b.shows(t, "Jobs by name and state")
				lost.lost.Store(false)
				b.until(t, `document.getElementById("status").hidden`)
			}
			lost.lost.Store(true)
			b.goTo(t, way, w.url)
			b.scripts(t, true)
			b.shows(t, "This page tries again by itself")
			if way.scripts { // without them the page is loaded again as a whole
				b.accessible(t)
			}
			lost.lost.Store(false)
			b.until(t, `document.body.innerText.includes("Jobs by name and state")`)
			b.expected(t, "503")
		})
	}
}

// A lostStore cannot count its jobs while it is lost, as without a connection.
type lostStore struct {
	store
	lost atomic.Bool
}

func (s *lostStore) Count(ctx context.Context) ([]backend.Count, error) {
	if s.lost.Load() {
		return nil, fmt.Errorf("%w: connection refused", backend.ErrUnavailable)
	}
	return s.store.Count(ctx)
}
