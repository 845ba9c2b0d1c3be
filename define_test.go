package plainjobs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
)

func TestBadDefinitions(t *testing.T) {
	fn := func(context.Context, string) error { return nil }
	tick := func(context.Context, time.Time) error { return nil }
	for want, define := range map[string]func(){
		"MaxPending(0)":    func() { plainjobs.Define("bad/1", fn, plainjobs.MaxPending(0)) },
		"Timeout(-1s)":     func() { plainjobs.Define("bad/2", fn, plainjobs.Timeout(-time.Second)) },
		"Concurrency(0)":   func() { plainjobs.Define("bad/3", fn, plainjobs.Concurrency(0)) },
		"MaxRunning(-1)":   func() { plainjobs.Define("bad/4", fn, plainjobs.MaxRunning(-1)) },
		"RateLimit(0, 1s)": func() { plainjobs.Define("bad/5", fn, plainjobs.RateLimit(0, time.Second)) },
		"RateLimit(1, 0s)": func() { plainjobs.Define("bad/6", fn, plainjobs.RateLimit(1, 0)) },
		"MaxCrashes(0)":    func() { plainjobs.Define("bad/12a", fn, plainjobs.MaxCrashes(0)) },
		"Use(nil)":         func() { plainjobs.Define("bad/7", fn, plainjobs.Use(nil)) },
		"UniqueBy takes a int, and the job's data are of type string": func() {
			plainjobs.Define("bad/8", fn, plainjobs.UniqueBy(func(int) string { return "" }))
		},
		"SerialBy(nil)":     func() { plainjobs.Define("bad/9", fn, plainjobs.SerialBy[string](nil)) },
		"100 years":         func() { plainjobs.Define("bad/10", fn, plainjobs.Keep(plainjobs.History{Done: 1<<63 - 1})) },
		"61":                func() { plainjobs.Cron("bad/11", "61 * * * *", tick) },
		"30 2":              func() { plainjobs.Cron("bad/12", "0 0 30 2 *", tick) },
		"every 0s":          func() { plainjobs.Every("bad/13", 0, tick) },
		"CatchUp(-1)":       func() { plainjobs.Cron("bad/14", "@daily", tick, plainjobs.CatchUp(-1)) },
		"follows no wall":   func() { plainjobs.Every("bad/15", time.Hour, tick, plainjobs.Zone("Europe/Berlin")) },
		"defined elsewhere": func() { plainjobs.Schedule("bad/16", "@daily", lifeJob.With(""), plainjobs.MaxAttempts(3)) },
		"nil handler":       func() { plainjobs.Cron("bad/17", "@daily", nil) },
		"At and Before":     func() { plainjobs.Schedule("bad/18", "@daily", lifeJob.With("", plainjobs.At(time.Now()))) },
		"define_test.go":    func() { plainjobs.Cron("bad/19", "@never", tick) },
		"366 days":          func() { plainjobs.Define("bad/20", fn, plainjobs.Timeout(367*24*time.Hour)) },
		"Timeout(2562047h":  func() { plainjobs.Define("bad/21", fn, plainjobs.Timeout(1<<63-1)) },
		"Await could return it": func() {
			plainjobs.DefineResult("bad/22", func(context.Context, string) (int, error) { return 0, nil }, plainjobs.Keep(plainjobs.History{Done: -1}))
		},
		"which Keep deletes": func() { plainjobs.DeclareResult[string, int]("bad/23", plainjobs.Keep(plainjobs.History{Done: -1})) },
		// Tasks that every store refuses, so the schedule could never push them.
		"make tasks with":  func() { plainjobs.Schedule("bad/24", "@daily", plainjobs.Task{}) },
		"the key is empty": func() { plainjobs.Schedule("bad/25", "@daily", lifeJob.With("", plainjobs.Unique(""))) },
		"1048576":          func() { plainjobs.Schedule("bad/26", "@daily", lifeJob.With(strings.Repeat("x", 2<<20))) },
		"at most 255":      func() { plainjobs.Schedule("bad/27", "@daily", longKeyJob.With("")) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.Contains(text, want) || !strings.Contains(text, "define_test.go:") {
					t.Errorf("panic is %q, want %q with file and line", text, want)
				}
			}()
			define()
		}()
	}
}

func TestBackoffPolicies(t *testing.T) {
	exponential := plainjobs.Exponential(time.Second, time.Minute)
	for attempt, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 30: time.Minute} {
		if got := exponential(attempt, nil); got < want*9/10 || got > want*11/10 {
			t.Errorf("Exponential in attempt %d = %v, want %v ± 10 %%", attempt, got, want)
		}
	}
	if got := plainjobs.Fixed(time.Hour)(9, nil); got != time.Hour {
		t.Errorf("Fixed = %v", got)
	}
}
