package cli

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	neturl "net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`http://127\.0\.0\.1:\d+\S*`)

// visit requests a URL, and returns the status and the page.
func visit(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	defer c.CloseIdleConnections()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(page)
}

// The dashboard needs the token of the printed link, once for a browser.
func TestDashboard(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	p := w.start(t, "dashboard")
	var url string
	eventually(t, "the link", func() bool { url = link.FindString(p.out.String()); return strings.Contains(p.out.String(), "\n") })
	base, _, _ := strings.Cut(url, "/?")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, page := visit(t, http.DefaultClient, base+"/jobs"); status != http.StatusForbidden || strings.Contains(page, "invoice") {
		t.Errorf("without the token: status %d, %s", status, page)
	}
	if status, _ := visit(t, http.DefaultClient, base+"/?token=wrong"); status != http.StatusForbidden {
		t.Errorf("with a wrong token: status %d", status)
	}
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	if status, page := visit(t, browser, url); status != http.StatusOK || !strings.Contains(page, "invoice") || strings.Contains(page, "token") {
		t.Errorf("with the link: status %d, %s", status, page)
	}
	if status, _ := visit(t, browser, base+"/job?id=2"); status != http.StatusOK {
		t.Errorf("the next page: status %d", status)
	}
	act := func(browser *http.Client, base string) int {
		t.Helper()
		r, err := browser.PostForm(base+"/act", neturl.Values{"do": {"retry"}, "id": {"2"}})
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.StatusCode
	}
	if status := act(&http.Client{Transport: browser.Transport}, base); status != http.StatusForbidden {
		t.Errorf("an action without the token: status %d", status)
	}
	if status := act(browser, base); status != http.StatusOK {
		t.Errorf("an action: status %d", status)
	}
	w.signals <- os.Interrupt
	p.wait(t, 0)
	p = w.start(t, "dashboard", "--read-only")
	eventually(t, "the link", func() bool { url = link.FindString(p.out.String()); return strings.Contains(p.out.String(), "\n") })
	base, _, _ = strings.Cut(url, "/?")
	visit(t, browser, url)
	if status := act(browser, base); status != http.StatusForbidden {
		t.Errorf("an action with --read-only: status %d", status)
	}
	w.signals <- os.Interrupt
	p.wait(t, 0)
	for _, address := range []string{"0.0.0.0:0", ":0", "example.com:80", "nonsense"} {
		if got := w.must(t, 2, "dashboard", "--addr", address); !strings.Contains(got.err, address) {
			t.Errorf("--addr %s printed %s", address, got.err)
		}
	}
}

// Dev serves the dashboard to this machine, unless it is off.
func TestDevDashboard(t *testing.T) {
	w := runWorld(t)
	w.bind(func(context.Context, string) error { return nil })
	p := w.start(t, "dev")
	var url string
	eventually(t, "the address", func() bool { url = link.FindString(p.err.String()); return url != "" })
	if status, _ := visit(t, http.DefaultClient, url+"/jobs"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	w.signals <- os.Interrupt
	p.wait(t, 0)
}
