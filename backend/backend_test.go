package backend_test

import (
	"errors"
	"strings"
	"testing"
	"time"
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

func TestHistory(t *testing.T) {
	h, err := backend.History{}.Resolve()
	if err != nil || h.Done != 7*24*time.Hour || h.Failed != 30*24*time.Hour || h.Rows != 1_000_000 {
		t.Errorf("the defaults are %+v, %v", h, err)
	}
	if h.Keep(backend.Done) != h.Done || h.Keep(backend.Failed) != h.Failed || h.Keep(backend.Cancelled) != h.Failed {
		t.Errorf("keeps are %v %v %v", h.Keep(backend.Done), h.Keep(backend.Failed), h.Keep(backend.Cancelled))
	}
	if _, err := (backend.History{Failed: 1 << 62}).Resolve(); err == nil {
		t.Error("a history of 146 years is accepted")
	}
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

func TestCheckName(t *testing.T) {
	for name, valid := range map[string]bool{
		"": false, "a": true, "a b/ü": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "\xff": false, "a\x00": false,
	} {
		if err := backend.CheckName(name); (err == nil) != valid || err != nil && !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}

func TestFields(t *testing.T) {
	d := backend.Description{Store: "test", Fields: backend.FieldUnique | backend.FieldRate}
	keeps, lacks := backend.NewJob{Name: "a", MaxAttempts: 1, Unique: backend.Unique{Key: "k"}}, backend.NewJob{Name: "b", MaxAttempts: 1, Serial: "s", MaxPending: 1}
	if err := d.CheckNewJobs([]backend.NewJob{keeps}); err != nil {
		t.Errorf("a job with a field that is kept: %v", err)
	}
	err := d.CheckNewJobs([]backend.NewJob{keeps, lacks})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "job 1: job b: ") || !strings.Contains(err.Error(), "test does not keep Serial, MaxPending") {
		t.Errorf("a job with fields that are not kept: %v", err)
	}
	if err := d.CheckNewJobs([]backend.NewJob{{}}); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("a job without a name: %v", err)
	}
	if err := d.CheckSettings([]backend.Settings{{Name: "a", Rate: 1, Per: time.Second}}); err != nil {
		t.Errorf("settings that are kept: %v", err)
	}
	if err := d.CheckSettings([]backend.Settings{{Name: "a", MaxRunning: 1}}); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "MaxRunning") {
		t.Errorf("settings that are not kept: %v", err)
	}
}
