package cli

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// A sickStore has a problem to report.
type sickStore struct{ lasting }

func (sickStore) Schema(context.Context) (backend.Schema, error) {
	return backend.Schema{Stored: 3, Known: 3, SQL: "CREATE TABLE jobs;\n"}, nil
}

func (sickStore) Examine(context.Context, backend.ExamineRequest) ([]backend.Finding, error) {
	return []backend.Finding{
		{Name: "journal mode", Value: "wal"},
		{Name: "free space", Value: "1.0 MiB", Problem: "the disk is almost full", Fix: "free disk space"},
	}, nil
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	for _, j := range []struct{ name, payload string }{
		{"invoice", `{"to":"x","cc":"y"}`}, {"invoice", `{"to":"x","cc":"y"}`}, {"invoice", `{"to":5}`}, {"invoice", `{"to":6}`},
		{"sum", `[1,"two"]`}, {"sum", `{`}, {"sum", ``}, {"gone", `null`}, {"import-old", `"x"`},
	} {
		if _, err := w.store.Push(t.Context(), []backend.NewJob{{Name: j.name, Payload: []byte(j.payload), MaxAttempts: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	w.golden(t, "check", "check", "check --json", "check --payloads", "check --payloads --ignore gone,invoice,sum", "check x")
	w.bind(well)
	w.golden(t, "checkwell", "check", "check --payloads --ignore gone,invoice,sum --json")
}

func TestDoctor(t *testing.T) {
	w := newWorld(t)
	w.golden(t, "doctorwell", "doctor", "doctor --json", "migrate", "schema")
	w.fill(t)
	if _, err := w.store.Push(t.Context(), []backend.NewJob{{Name: "gone", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * leaseOfFill)
	w.app.Open = func(context.Context) (*plainjobs.Queue, error) { return plainjobs.New(sickStore{w.store}, nil), nil }
	w.golden(t, "doctor", "doctor", "doctor --json", "migrate", "migrate --json", "schema", "schema --json", "pause --all", "doctor", "doctor x")
}

// Doctor reports an overdue tick, and a clock that was set back.
func TestDoctorOfSchedules(t *testing.T) {
	w := newWorld(t)
	define := func(name string, in time.Duration) backend.Schedule {
		s := backend.Schedule{Name: name, Definition: name + "|@hourly||1|0", Next: w.clock().Add(in)}
		if err := w.store.Define(t.Context(), []backend.Schedule{s}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := define("ticked", 0)
	if taken, err := w.store.Tick(t.Context(), backend.Tick{Name: s.Name, Definition: s.Definition, Due: s.Next, Next: s.Next.Add(time.Hour)}); err != nil || !taken {
		t.Fatal(taken, err)
	}
	w.must(t, 0, "doctor")
	define("overdue", time.Minute)
	define("paused", time.Minute)
	if err := w.store.Pause(t.Context(), "paused", true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pass time.Duration
		want string
	}{
		{3 * time.Minute, ""}, {2 * time.Minute, "overdue: the tick of 2026-03-28T12:01:00Z is overdue"},
		{-35 * time.Minute, "set back: the last tick of ticked was at 2026-03-28T12:00:00Z, but now is 2026-03-28T11:30:00Z; its next tick is at 2026-03-28T13:00:00Z"},
	} {
		w.pass(c.pass)
		out := w.must(t, count(c.want != ""), "doctor").out
		out = strings.Join(strings.Fields(strings.ReplaceAll(out, "correct the clock", "")), " ") // on one line
		if !strings.Contains(out, c.want) || strings.Contains(out, "paused: the tick") {
			t.Errorf("doctor printed %s, want %q", out, c.want)
		}
	}
}

// Commands report that a store without optional interfaces does not support them.
func TestMinimalStore(t *testing.T) {
	type minimal struct{ backend.Backend }
	w := newWorld(t)
	w.app.Open = func(context.Context) (*plainjobs.Queue, error) {
		return plainjobs.New(minimal{memory.New(nil)}, nil), nil
	}
	for _, args := range [][]string{
		{"stats"}, {"jobs"}, {"show", "1"}, {"why", "1"}, {"retry", "1"}, {"cancel", "--all", "--yes"}, {"pause", "sum"}, {"pause", "--all"},
		{"schedules"}, {"workers"}, {"top"}, {"check", "--payloads"}, {"doctor"}, {"migrate"}, {"schema"},
	} {
		if got := w.must(t, 1, args...); !strings.Contains(got.err, "unsupported") {
			t.Errorf("%q printed %q", args, got.err)
		}
	}
}

// No line of a report is wider than 140 columns, no text is lost, and text that fits is
// not wrapped.
func TestReportWidth(t *testing.T) {
	long := "the database is " + strings.Repeat("/directory", 20) + " and " + strings.Repeat("words ", 40)
	for _, test := range []struct {
		what, fix string
		lines     int
	}{
		{"short", "shorter", 1}, {strings.Repeat("x", 60), strings.Repeat("y", 50), 1}, {strings.Repeat("x ", 50), "y", 1},
		{strings.Repeat("x ", 70), "y", 2}, {long, "fix it", 0}, {long, long, 0}, {"x", long, 0}, {"x", "", 1},
	} {
		var r report
		r.Bad("free space", test.fix, "%s", test.what)
		r.Well("jobs", "none")
		var out strings.Builder
		if err := (&screen{out: &out}).report(&r.Report); err == nil {
			t.Error("report returned no error")
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if test.lines > 0 && len(lines) != test.lines+2 {
			t.Errorf("%d lines, want %d:\n%s", len(lines)-2, test.lines, out.String())
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > 140 {
				t.Errorf("line of %d columns: %s", n, line)
			}
		}
		count := func(s string) int {
			return strings.Count(s, "words") + strings.Count(s, "/directory") + strings.Count(s, "x")
		}
		if !strings.Contains(test.what+test.fix, "/directory") && count(out.String()) != count(test.what+test.fix) {
			t.Errorf("text of %q and %q is missing:\n%s", test.what, test.fix, out.String())
		}
	}
}
