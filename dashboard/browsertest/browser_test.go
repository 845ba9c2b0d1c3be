// Package browsertest tests the dashboard in a browser. It is a module of its own, so
// that programs with a dashboard do not depend on a browser's protocol.
package browsertest

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A browser is a tab, and the messages of its console.
type browser struct {
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

// newBrowser starts a browser, which the end of the test stops.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "no browser: install chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("no-proxy-server", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel(); stop() })
	b := &browser{ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	b.scheme(t, "light")
	go func() {
		for m, err := range chromedp.Console(ctx) {
			if err != nil {
				return // the browser is gone
			}
			if m.Type == "error" || m.Type == chromedp.ConsoleException {
				b.mu.Lock()
				b.errors = append(b.errors, m.Text+" "+m.URL)
				b.mu.Unlock()
			}
		}
	}()
	return b
}

// missing skips the test, except in CI, which must not pass because something is missing.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// do runs actions.
func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// eval returns the value of an expression.
func eval[T any](t *testing.T, b *browser, expression string, opts ...chromedp.EvaluateOption) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, opts...))
	if err != nil {
		t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true.
func (b *browser) until(t *testing.T, expression string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		switch {
		case ok:
			tick.Stop()
			return
		case ctx.Err() != nil:
			t.Fatalf("never true: %s (%v)\n%s", expression, err, eval[string](t, b, "document.body.innerText"))
		}
	}
}

// scheme sets whether the viewer prefers light or dark. Pages do not scroll smoothly, so that
// a click does not miss.
func (b *browser) scheme(t *testing.T, name string) {
	t.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, params); err != nil {
		t.Fatal(err)
	}
}

// zone sets the viewer's time zone.
func (b *browser) zone(t *testing.T, name string) {
	t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name}); err != nil {
		t.Fatal(err)
	}
}

// scripts turns JavaScript on or off for pages loaded from now on.
func (b *browser) scripts(t *testing.T, on bool) {
	t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		t.Fatal(err)
	}
}

// noErrors requires that the console has shown no error.
func (b *browser) noErrors(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errors) > 0 {
		t.Errorf("the console shows %q", b.errors)
	}
	b.errors = nil
}

// save keeps a screenshot in the directory $SCREENSHOTS, if it is set.
func (b *browser) save(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// axeVersion is the version of axe-core, which finds what people with disabilities cannot
// use.
const axeVersion = "4.14.1"

// axe returns the source of axe-core, from npm. It is kept in the user's cache.
var axe = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(cache, "plainjobs", "axe-core-"+axeVersion+".tgz")
	if _, err := os.Stat(file); err != nil {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return "", err
		}
		out, err := exec.Command("npm", "pack", "axe-core@"+axeVersion, "--pack-destination", filepath.Dir(file)).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("npm pack axe-core: %w: %s", err, out)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return "", errors.Join(errors.New("axe-core has no axe.min.js"), err)
		}
		if h.Name == "package/axe.min.js" {
			source, err := io.ReadAll(r)
			return string(source), err
		}
	}
})

// accessible requires that axe-core finds nothing wrong with the page.
func (b *browser) accessible(t *testing.T) {
	t.Helper()
	source, err := axe()
	if err != nil {
		missing(t, fmt.Sprintf("no axe-core: %v", err))
	}
	eval[bool](t, b, source+"; true")
	found := eval[[]string](t, b, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.flatMap(v =>
		v.nodes.map(n => v.id + " (" + v.impact + "): " + n.failureSummary.replaceAll("\n", " ") + " " + n.html.slice(0, 200))))`, chromedp.EvalAwaitPromise)
	if len(found) > 0 {
		t.Errorf("%d violations:\n%s", len(found), strings.Join(found, "\n"))
	}
}
