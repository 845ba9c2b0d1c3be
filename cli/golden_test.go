package cli

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// The output of each command, as a table and as JSON, and its errors.
func TestGolden(t *testing.T) {
	for file, commands := range map[string][]string{
		"list":  {"list", "list --json", "list extra"},
		"stats": {"stats", "stats --json", "stats --every 0s", "stats --watsh"},
		"jobs": {
			"jobs", "jobs --json", "jobs --limit 2", "jobs --state failed --json", "jobs --state pending", "jobs --name invoice --limit 1",
			"jobs --key k", "jobs --error refused", "jobs --error second", "jobs --since 2m", "jobs --id 3,4", "jobs --before 3",
			"jobs --count", "jobs --count --state failed", "jobs --count --key k --json",
			"jobs --state fialed", "jobs --name invoyce", "jobs --state done --name import", "jobs --state failed,done --name invoice,sum", "jobs --state failed --state done --name sum,absent", "jobs --metadata trace=abc", "jobs --metadata trace", "jobs --count --state failed,done", "jobs --since yesterday", "jobs --limit 0",
		},
		"show":  {"show 2", "show 1", "show 4", "show 7", "show #2 --json", "show 4 --json", "show 99", "show x", "show"},
		"why":   {"why 2", "why 3", "why 5", "why 6", "why 6 --json", "why 99", "why 0"},
		"retry": {"retry 2 --dry-run", "retry 2", "retry 2", "retry 3 4 99", "retry 1 --json", "retry", "retry 1 --all", "retry 1 --name x"},
		"retryall": {
			"retry --all --dry-run", "retry --all --dry-run --json", "retry --all", "retry --all --name invoise --yes",
			"retry --all --state failed --priority -10 --dry-run", "retry --all --priority 40000",
			"retry --all --state running", "retry --all --state failed,cancelled --name invoice,sum --dry-run", "retry --all --state failed,pending --dry-run", "retry --all --metadata trace=abc --dry-run", "retry --all --error second --yes --json", "retry --all --yes", "retry --all --state any --yes",
		},
		"cancel":  {"cancel 6 --json", "cancel 4", "cancel 1", "cancel --all --name import --dry-run", "cancel --all --yes"},
		"free":    {"jobs --has-key", "free 2", "free --all --yes", "free --help"},
		"delete":  {"delete 2", "delete 4", "delete --all", "delete --all --state running --yes", "delete --all --state any --yes --json", "jobs"},
		"perform": {`perform welcome {"to":"x@example.com"}`, `perform welcome {"to":"x@example.com"}`, `perform sum [1] --json --in 5m`, `perform import-old "x"`, "show 9 --json", `perform welcome {"too":"x"}`, `perform welcome {"to":1}`, `perform welcome {`, `perform sum [1][2]`, "perform welcome", `perform welcom {}`, `perform other {"x":1} --unchecked`, "show 12 --json", `perform other x --unchecked`, "perform", "perform sum [] --in -5m"},
		"pause":   {"pause invoice", "stats", "resume invoice", "resume welcome", "pause --all", "why 6", "resume --all", "pause --schedule often", "schedules often", "resume --schedule often", "pause --schedule oftn", "pause invoce", "pause", "pause x --all", "pause invoice --json", "resume --all --json", "pause --schedule often --json"},
		"limit": {
			"limit", "limit import --by ann --max-running 1 --concurrency 2", "limit import --by bob --rate 100/2s --max-crashes none --keep-done 0", "limit", "limit import --json",
			"stats", "why 6", "limit import --by ann --rate none --max-running none --keep-rows none --keep-failed 24h", "limit import --reset --by ann", "limit --json",
			"limit imprt", "limit import --rate 5", "limit import --rate 0/1s", "limit import --max-running 0", "limit import --keep-done soon", "limit --max-running 3", "limit import --reset --rate 1/1s", "limit import --by ann --drop-done --drop-failed", "limit import --json", "limit sum",
			"limit import --by ann --weight acme=3,b=2 --weight b=1", "limit import --json", "limit import --weight acme", "limit import --weight acme=0",
		},
		"schedules": {"schedules", "schedules --json", "schedules nightly --next 3", "schedules nightly --next 2 --zone America/New_York --json", "schedules often --next 2", "schedules nigtly", "schedules --zone Mars/Olympus", "schedules --next -1", "schedules often --remove", "schedules --remove", "schedules --limit 0", "schedules often --prefix o"},
		"backfill":  {"backfill nightly --from 2026-03-20T00:00:00Z --to 2026-03-23T00:00:00Z", "backfill nightly --from 2026-03-20T00:00:00Z --to 2026-03-23T00:00:00Z --json", "backfill nightly", "backfill nigtly --from 7d", "backfill nightly --from 1h --to 2h", "jobs --name nightly"},
		"workers":   {"workers", "workers --json", "workers x"},
		"top":       {"top", "top --json", "top --every 1ns"},
		"export":    {"export", "export -", "export --name invoice --state failed", "export --key k", "export --state failed,done --name sum", "export --json", "export --name invoyce", "export --state fialed", "export a b", "export testdata", "export testdata/no/such/directory"},
		"import": {
			"import testdata/export.jsonl", "import testdata/export.jsonl --json", "import testdata/export.jsonl extra", "import", "import testdata/damaged.jsonl",
			"import testdata/missing.jsonl", "import testdata", "import testdata/jobs.golden", "import -", "stats",
		},
		"backup": {"backup x.db", "restore testdata/jobs.golden --yes", "backup", "restore x.db y.db"},
		"env":    {"env", "env staging", "env", "doctor", "env --forget", "env", "env x --forget", "env x y", "env --json", "env staging --json"},
	} {
		t.Run(file, func(t *testing.T) {
			w := newWorld(t)
			w.fill(t)
			w.golden(t, file, commands...)
		})
	}
}

// A tick in a repeated hour is marked.
func TestDoubled(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	w.pass(210 * 24 * time.Hour) // to the day before clocks are turned back in Berlin
	w.golden(t, "doubled", "schedules nightly --next 3", "schedules nightly --next 2 --json")
}

// The output for an empty queue.
func TestEmpty(t *testing.T) {
	newWorld(t).golden(t, "empty", "stats", "jobs", "jobs --count", "workers", "workers --json", "top", "top --json", "schedules --json", "retry --all --yes")
}

// Tables on a terminal have colours and stay aligned.
func TestTerminal(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	plain := w.must(t, 0, "jobs").out
	w.tty = true
	vivid := w.must(t, 0, "jobs").out
	if !strings.Contains(vivid, "\x1b[31mfailed\x1b[0m") {
		t.Errorf("failed is not red: %q", vivid)
	}
	codes := regexp.MustCompile(`\x1b\[\d+m`)
	if bare := codes.ReplaceAllString(vivid, ""); bare != plain {
		t.Errorf("without colours a terminal shows\n%s\nwant\n%s", bare, plain)
	}
	t.Setenv("NO_COLOR", "1")
	if got := w.must(t, 0, "jobs").out; got != plain {
		t.Errorf("with NO_COLOR the table is %q", got)
	}
}

// Each help text has an example, and an environment variable if there are flags.
func TestHelp(t *testing.T) {
	w := newWorld(t)
	w.app.Serve = func(context.Context) error { return nil }
	for _, c := range w.commands() {
		name := c.Name()
		out := w.must(t, 0, name, "--help").out
		for _, want := range []string{"Examples:\n  app " + name, "Usage:\n  app " + name, c.Long[:20]} {
			if !strings.Contains(out, want) {
				t.Errorf("%s --help does not say %q:\n%s", name, want, out)
			}
		}
		if strings.Contains(out, "Flags:\n      --") && !strings.Contains(out, "e.g. PLAINJOBS_") {
			t.Errorf("%s --help names no variable:\n%s", name, out)
		}
		if got := w.run(name, "--no-such-flag"); got.status != statusUsage || got.out != "" {
			t.Errorf("%s with an unknown flag exited with %d and printed %q", name, got.status, got.out)
		}
	}
	if got := w.must(t, 2, "jbos"); !strings.Contains(got.err, "jobs") {
		t.Errorf("an unknown command printed %q", got.err)
	}
}

func TestEnvironment(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	t.Setenv("PLAINJOBS_STATE", "cancelled")
	t.Setenv("PLAINJOBS_JSON", "true")
	if got := w.must(t, 0, "jobs").out; strings.Count(got, "\n") != 1 || !strings.Contains(got, `"state":"cancelled"`) {
		t.Errorf("with the variables jobs printed %s", got)
	}
	if got := w.must(t, 0, "jobs", "--state", "done").out; !strings.Contains(got, `"state":"done"`) {
		t.Errorf("with a flag and a variable jobs printed %s", got)
	}
	t.Setenv("PLAINJOBS_LIMIT", "") // some service managers set it empty
	w.must(t, 0, "jobs")
	t.Setenv("PLAINJOBS_LIMIT", "many")
	if got := w.must(t, 2, "jobs"); !strings.Contains(got.err, "PLAINJOBS_LIMIT=many") {
		t.Errorf("a wrong variable printed %q", got.err)
	}
}

// Every command reports a store that does not open or is too new.
func TestBrokenStore(t *testing.T) {
	for err, want := range map[error]string{errBroken: "on fire", backend.ErrSchemaTooNew: "newer than this program; nothing has changed"} {
		w := newWorld(t)
		w.app.Open = func(context.Context) (*plainjobs.Queue, error) { return nil, err }
		for _, args := range [][]string{
			{"stats"}, {"jobs"}, {"show", "1"}, {"why", "1"}, {"retry", "1"}, {"cancel", "--all"}, {"delete", "1"}, {"perform", "sum", "[]"},
			{"pause", "x"}, {"resume", "x"}, {"schedules"}, {"workers"}, {"top"}, {"list"}, {"work"}, {"dev"}, {"export"}, {"import", "-"}, {"groups"}, {"group", "1"},
			{"backup", "x.db"}, {"restore", "golden_test.go"},
		} {
			if got := w.must(t, 1, args...); !strings.Contains(got.err, want) || got.out != "" {
				t.Errorf("%q printed %q and %q", args, got.out, got.err)
			}
		}
	}
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	if _, err := w.store.Push(t.Context(), []backend.NewJob{{Name: "ev\x1b[31mil", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"perform", ""}, []string{"import", "invoice", "welcome"}},
		{[]string{"pause", ""}, []string{"import", "invoice"}},
		{[]string{"jobs", "--state", ""}, []string{"failed", "running"}},
		{[]string{"retry", "--name", ""}, []string{"invoice"}},
		{[]string{"work", "--jobs", ""}, []string{"sum", "nightly"}},
		{[]string{"schedules", ""}, []string{"nightly", "often"}},
	} {
		got := w.must(t, 0, append([]string{"__complete"}, test.args...)...)
		if strings.ContainsAny(got.out, "\x1b\a") {
			t.Errorf("%q completes with control characters: %q", test.args, got.out)
		}
		for _, want := range test.want {
			if !strings.Contains(got.out, want+"\n") {
				t.Errorf("%q completes %q, without %s", test.args, got.out, want)
			}
		}
	}
}

// Completion does not wait for a store that does not answer.
func TestCompletionOfSilentStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		silent := make(chan struct{})
		w.app.Open = func(context.Context) (*plainjobs.Queue, error) {
			<-silent
			return nil, errBroken
		}
		begin := time.Now()
		if got := w.must(t, 0, "__complete", "perform", ""); !strings.Contains(got.out, "welcome\n") {
			t.Errorf("completion printed %q", got.out)
		}
		if took := time.Since(begin); took > completeWait {
			t.Errorf("it took %v", took)
		}
		close(silent)
	})
}

// A usage error exits with 2, also in the root and in the program's own commands.
func TestUsageOfOwnCommands(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"--bogus"}, {"--json", "stats"}, {"order"}, {"order", "1", "--bogus"}, {"order", "1", "2"}, {"ordr"}} {
		var out, err buffer
		root := w.root(&out, &err, args...)
		root.AddCommand(&cobra.Command{Use: "order N", Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return nil }})
		if got := Execute(root); got != statusUsage || !strings.Contains(err.String(), `See "app help"`) {
			t.Errorf("%q exited with %d: %s", args, got, err.String())
		}
	}
}

// Commands that change nothing open the queue read-only, and check reports old tables.
func TestReadOnly(t *testing.T) {
	for _, test := range []struct {
		args     []string
		readOnly bool
	}{
		{[]string{"jobs"}, true}, {[]string{"stats"}, true}, {[]string{"show", "1"}, true}, {[]string{"list"}, true}, {[]string{"doctor"}, true},
		{[]string{"export"}, true}, {[]string{"backup", "x.db"}, true}, {[]string{"restore", "golden_test.go"}, false}, {[]string{"__complete", "perform", ""}, true}, {[]string{"check"}, true},
		{[]string{"retry", "1"}, false}, {[]string{"pause", "--all"}, false}, {[]string{"migrate"}, false}, {[]string{"work", "--drain"}, false},
	} {
		w := newWorld(t)
		opened := false
		w.app.Open = func(ctx context.Context) (*plainjobs.Queue, error) {
			opened = true
			if ReadOnly(ctx) != test.readOnly {
				t.Errorf("%q opens the queue with ReadOnly = %v", test.args, !test.readOnly)
			}
			return nil, fmt.Errorf("%w: version 1", backend.ErrSchemaTooOld)
		}
		got := w.run(test.args...)
		if !opened {
			t.Errorf("%q does not open the queue", test.args)
		}
		if test.args[0] == "check" && (got.status != 1 || !strings.Contains(got.out, "version 1") || !strings.Contains(got.out, "migrate")) {
			t.Errorf("check exited with %d: %s%s", got.status, got.out, got.err)
		}
	}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain ünï 世界 👍":         "plain ünï 世界 👍",
		"\x1b[2J\a\r\b":          `\x1b[2J\x07\x0d\x08`,
		"a\nb\tc":                `a\nb\tc`,
		"\u009b31m":              `\u009b31m`,
		"\u202egnp.exe\u2066":    `\u202egnp.exe\u2066`,
		"\xff\xfe":               `\xff\xfe`,
		"\u2028\u2029\u200b\x7f": `\u2028\u2029\u200b\x7f`,
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
	if got := cleanLines("a\nb\x1b"); got != "a\nb\\x1b" {
		t.Errorf("cleanLines: %q", got)
	}
}
