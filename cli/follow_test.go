package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

func TestNewText(t *testing.T) {
	for _, tt := range []struct{ shown, text, want string }{
		{"", "a\n", "a\n"},
		{"a\n", "a\n", ""},
		{"a\n", "a\nb\n", "b\n"},
		{"a\nb\n", "b\nc\n", "c\n"}, // the first line is gone
		{"a\na\nb\n", "a\nb\nc\n", "c\n"},
		{"a\nb\n", "x\ny\n", "x\ny\n"},
		{"a\n", "", ""},
	} {
		if got := newText(tt.shown, tt.text); got != tt.want {
			t.Errorf("newText(%q, %q) = %q, want %q", tt.shown, tt.text, got, tt.want)
		}
	}
}

// Show prints the logs of a job, and with --follow what comes until the job has finished.
func TestShowLogs(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	jobs, err := w.store.Claim(t.Context(), backend.ClaimRequest{
		Worker: backend.Worker{ID: 78, Lease: leaseOfFill}, Register: true, Names: []string{"invoice"}, Limit: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	if len(jobs) == 0 {
		if jobs, err = w.store.Claim(t.Context(), backend.ClaimRequest{Worker: backend.Worker{ID: 78, Lease: leaseOfFill}, Names: []string{"invoice"}, Limit: 10}); err != nil || len(jobs) == 0 {
			t.Fatalf("Claim = %v, %v", jobs, err)
		}
	}
	lease := jobs[0].Lease
	log := func(text string) {
		t.Helper()
		if err := w.store.StoreProgress(t.Context(), []backend.Progress{{Lease: lease, Log: text}}); err != nil {
			t.Fatal(err)
		}
	}
	log("one \x1b[31m\n")
	id := fmt.Sprint(lease.ID)
	got := w.must(t, 0, "show", id)
	if !strings.Contains(got.out, "log of attempt 2") || !strings.Contains(got.out, "\n  one ") || strings.Contains(got.out, "\x1b[31m") {
		t.Errorf("show printed %s", got.out)
	}
	if got := w.must(t, 0, "show", id, "--json").out; !strings.Contains(got, `"logs":[{"attempt":2,`) {
		t.Errorf("show --json printed %s", got)
	}
	w.must(t, statusUsage, "show", id, "--json", "--follow")
	var out, errs buffer
	done := make(chan int, 1)
	go func() { done <- Execute(w.root(&out, &errs, "show", id, "--follow")) }()
	eventually(t, "the log", func() bool { return strings.Contains(out.String(), "  one ") })
	log("one \x1b[31m\ntwo\n")
	eventually(t, "the new line", func() bool { return strings.Contains(out.String(), "\n  two\n") })
	if _, err := w.store.Complete(t.Context(), []backend.Completion{{Lease: lease}}); err != nil {
		t.Fatal(err)
	}
	if status := <-done; status != 0 || strings.Count(out.String(), "  one ") != 1 || !strings.Contains(errs.String(), "is done") {
		t.Errorf("show --follow ended with %d, printed %s and said %s", status, out.String(), errs.String())
	}
}
