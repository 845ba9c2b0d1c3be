package backend_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
)

func FuzzCleanError(f *testing.F) {
	f.Add("plain", 1)
	f.Add("é", 40_000)
	f.Add("\xff\x00", 50_000)
	f.Add("a\xc3", 65_536)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 0 || n > 100_000 || len(s)*n > 1<<20 {
			return
		}
		text := strings.Repeat(s, n)
		got := backend.CleanError(text)
		switch {
		case len(got) > 64<<10, !utf8.ValidString(got), strings.ContainsRune(got, 0):
			t.Errorf("%d bytes come out as %d, valid %v", len(text), len(got), utf8.ValidString(got))
		case got == "" && text != "":
			t.Errorf("%d bytes come out as none", len(text))
		case utf8.ValidString(text) && !strings.ContainsRune(text, 0) && len(text) <= 64<<10 && got != text:
			t.Errorf("a clean text was changed")
		case backend.CleanError(got) != got:
			t.Errorf("a cleaned text is not clean")
		}
	})
}

func TestStates(t *testing.T) {
	names := map[string]bool{}
	for _, s := range backend.States() {
		names[s.String()] = true
		if want := s == backend.Done || s == backend.Failed || s == backend.Cancelled; s.Terminal() != want {
			t.Errorf("%v is terminal: %v", s, s.Terminal())
		}
	}
	if len(names) != len(backend.States()) || backend.State(0).String() != "state(0)" {
		t.Errorf("names are %v and %v", names, backend.State(0))
	}
}
