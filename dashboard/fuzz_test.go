package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

var hostile = []string{
	"</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", `"><b>`, "\x00\x01\x1b[31m", "\xff\xfe", "\u202egnp.exe", "{{.}}", "-->",
	"javascript:alert(1)", "'; DROP TABLE jobs", "\r\nSet-Cookie: a=b", "a\u2028b", "\ufeff", "😀" + strings.Repeat("x", 200),
}

// hostileStore returns a store with a job whose every text is the given one.
func hostileStore(t testing.TB, text string) *memory.Backend {
	ctx := context.Background()
	store := memory.New(nil)
	t.Cleanup(func() { store.Close() })
	name := strings.ReplaceAll(strings.ToValidUTF8(prefix(text, 100), "?"), "\x00", "?") + "n"
	metadata, err := json.Marshal(map[string]string{text: text})
	if err != nil {
		t.Fatal(err)
	}
	j := backend.NewJob{Name: name, Payload: []byte(text), MaxAttempts: 3, Serial: name, Unique: backend.Unique{Key: name}, Metadata: metadata}
	if len(metadata) > 1<<16 {
		j.Metadata = nil
	}
	if _, err := store.Push(ctx, []backend.NewJob{j}); err != nil {
		t.Fatal(err)
	}
	self := backend.Worker{ID: 1, Host: text, PID: 1, Lease: time.Hour, Jobs: []string{name}, Schedules: []string{text}}
	for range 2 {
		jobs, err := store.Claim(ctx, backend.ClaimRequest{Worker: self, Register: true, Names: []string{name}, Limit: 1})
		if err != nil || len(jobs) != 1 {
			t.Fatal(len(jobs), err)
		}
		if _, err := store.Fail(ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndRetry, Error: text, Stack: text}}); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// checkPage requires that a page has no markup of its own but what its template has, and
// no character that hides others.
func checkPage(t testing.TB, path, page string) {
	t.Helper()
	if !utf8.ValidString(page) {
		t.Errorf("%s: invalid UTF-8", path)
	}
	for _, r := range page {
		if unicode.Is(unicode.Cc, r) && r != '\n' && r != '\t' || unicode.Is(unicode.Cf, r) {
			t.Errorf("%s: the character %U", path, r)
		}
	}
	if n := strings.Count(page, "<script"); n != 3 {
		t.Errorf("%s: %d scripts", path, n)
	}
	lacks(t, page, "<img", "onerror=alert(1)>", "<b>\"", `href="javascript:`)
}

func checkHostile(t testing.TB, text string) {
	w := newWorld(t, hostileStore(t, text), nil)
	q := url.QueryEscape(text)
	for _, path := range []string{
		"/", "/jobs", "/job?id=1", "/workers", "/limits", "/schedules", "/jobs?name=" + q, "/jobs?error=" + q, "/jobs?payload=" + q,
		"/jobs?state=" + q, "/jobs?since=" + q, "/jobs?key=" + q, "/job?id=" + q, "/job?id=1&from=" + q, "/again?id=1", "/jobs?did=" + q, "/" + url.PathEscape(text),
	} {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		switch code := rec.Code; {
		case code >= 500:
			t.Errorf("GET %s: status %d", path, code)
		case strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html"):
			checkPage(t, path, rec.Body.String())
		}
		if rec.Header().Get("Set-Cookie") != "" {
			t.Errorf("GET %s sets a cookie", path)
		}
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/raw?id=1&part=payload", nil))
	if got := rec.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" || rec.Body.String() != text {
		t.Errorf("the raw payload is %q of type %s", rec.Body, got)
	}
}

func TestHostile(t *testing.T) {
	for _, text := range hostile {
		t.Run(fmt.Sprintf("%.20q", text), func(t *testing.T) { checkHostile(t, text) })
	}
}

func FuzzHostile(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkHostile(t, text) })
}

// Only the beginning of a payload of 10 MB is on the page.
func TestLong(t *testing.T) {
	text := strings.Repeat("<p>\x00", 10<<20/4)
	w := newWorld(t, hostileStore(t, text), nil)
	page := w.get(t, http.StatusOK, "/job?id=1")
	contains(t, page, "The beginning of 10.0 MiB.", `\x00`)
	if len(page) > 1<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if raw := w.get(t, http.StatusOK, "/raw?id=1"); raw != text {
		t.Errorf("the raw payload has %d bytes", len(raw))
	}
	w.get(t, http.StatusOK, "/jobs?payload=none")
}
