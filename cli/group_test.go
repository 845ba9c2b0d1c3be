package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// fillGroups stores an open group with a nested one, and one that ended with a failure.
func (w *world) fillGroups(t *testing.T) {
	t.Helper()
	ctx, q := t.Context(), plainjobs.New(w.store, nil)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ended, err := q.Group(ctx, plainjobs.OnDone(invoiceJob.With(letter{To: "a"})), plainjobs.OnEnd(sumJob.With(nil)))
	check(err)
	_, err = ended.Perform(ctx, welcomeJob.With(letter{To: "b"}))
	check(err)
	check(ended.Seal(ctx))
	jobs, err := w.store.Claim(ctx, backend.ClaimRequest{Worker: backend.Worker{ID: 7, Lease: time.Hour}, Register: true, Names: []string{"welcome"}, Limit: 1})
	check(err)
	w.pass(time.Minute)
	_, err = w.store.Fail(ctx, []backend.Failure{{Lease: jobs[0].Lease, Ending: backend.EndFailed, Error: "evil \x1b]0;owned\a\nsecond line"}})
	check(err)
	open, err := q.Group(ctx, plainjobs.Label("files \x1b[31m"), plainjobs.OnFailure(invoiceJob.With(letter{To: "c"})), plainjobs.Deadline(48*time.Hour))
	check(err)
	inner, err := open.Group(ctx, plainjobs.OnDone(sumJob.With([]int{1})), plainjobs.Label("one"))
	check(err)
	_, err = inner.PerformMany(ctx, importJob.With("a"), importJob.With("b"))
	check(err)
	check(inner.Seal(ctx))
	_, err = open.Perform(ctx, importJob.With("c"))
	check(err)
	w.pass(time.Minute)
}

func TestGroupGolden(t *testing.T) {
	for file, commands := range map[string][]string{
		"group": {
			"groups", "groups --all", "groups --all --json", "groups --all --limit 1", "groups --all --before 2",
			"group 1", "group 1 --json", "group 2", "group 2 --json", "group 3", "show 3", "show 6", "show 6 --json", "why 6", "why 4", "jobs --group 3", "jobs --group 3 --count",
			"group 9", "group x", "group", "group 2 --seal --cancel", "groups --limit 0", "groups --before -1", "jobs --group -1",
		},
		"groupchange": {
			"group 2 --pause", "group 2", "group 2 --json", "group 3", "groups", "why 6", "group 2 --resume", "group 2 --pause --resume",
			"cancel --all --group 3 --dry-run", "cancel --all --group 3 --yes", "group 3", "group 2 --seal", "group 2 --cancel", "group 2 --cancel --yes", "group 2",
			"group 2 --delete --yes --json", "group 2", "retry --all --group 1 --yes", "group 1", "delete --all --group 1 --state any --yes", "groups --all", "group 9 --seal",
		},
	} {
		t.Run(file, func(t *testing.T) {
			w := newWorld(t)
			w.fillGroups(t)
			w.golden(t, file, commands...)
		})
	}
	w := newWorld(t)
	w.golden(t, "nogroups", "doctor", "groups", "groups --all", "groups --json")
}

// Doctor finds groups that nothing but Seal can end.
func TestDoctorFindsUnsealedGroups(t *testing.T) {
	w := newWorld(t)
	q := plainjobs.New(w.store, nil)
	for range 5 {
		if _, err := q.Group(t.Context(), plainjobs.Label("import")); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(23 * time.Hour)
	if got := w.must(t, 0, "doctor").out; strings.Contains(got, "groups") {
		t.Errorf("after 23 hours doctor printed\n%s", got)
	}
	w.pass(2 * time.Hour)
	got := w.must(t, 1, "doctor").out
	for _, want := range []string{"group 5 (import) has not been sealed since 2026-03-28T12:00:00Z; its 0 members have ended  group 5 --seal, or --delete", "2 more groups"} {
		if !strings.Contains(got, want) {
			t.Errorf("doctor printed\n%s\nwithout %q", got, want)
		}
	}
}
