package cli

import (
	"slices"
	"strings"
	"testing"
)

// FuzzArguments runs commands with arbitrary arguments, one per line. No command panics,
// each exits with a documented status, and a usage error prints only the error and
// changes nothing.
func FuzzArguments(f *testing.F) {
	for _, args := range []string{
		"jobs\n--state\nfailed,done\n--name\ninvoice\n--limit\n3", "jobs\n--state\nnone", "jobs\n--limit\n-1", "jobs\n--older\n1h30m",
		"jobs\n--older\n2026-03-29T02:30", "jobs\n--json\n--key\na b", "show\n1\n--json", "show\n99999999999999999999", "why\n4\n4",
		"retry\n--state\nfailed\n--yes", "retry", "retry\n2\n--name\nx", "cancel\n1\n2\n3", "cancel\n--name\n*\n--yes", "delete\n--yes\n--all",
		"pause\ninvoice", "pause\n--all", "resume\n\xff", "schedules\n--run\nnightly", "schedules\n--pause\noften", "workers\n--json",
		"perform\nwelcome\n{\"To\":\"a\"}", "perform\nwelcome\n{", "perform\nwelcome\n{}\n--delay\n-1s", "perform\nwelcome\n{}\n--at\ntomorrow",
		"perform\nunknown\n1", "stats\n--json", "env\nproduction", "env\n--forget", "env\nx\n--forget", "schema\n--json", "check", "doctor\n--json", "list\n-x",
		"migrate\n--yes", "help\njobs", "completion\nbash", "--version", "",
	} {
		f.Add(args)
	}
	// These run until a signal, or take files as arguments.
	const excluded = "work dev serve top export import"
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\n")
		if slices.ContainsFunc(args, func(a string) bool {
			return slices.Contains(strings.Fields(excluded), a) || strings.HasPrefix(a, "-w") || strings.HasPrefix(a, "--w") || strings.HasPrefix(a, "@")
		}) {
			t.Skip("it would not exit, or would read files")
		}
		w := newWorld(t)
		w.fill(t)
		stored := func() string { return w.run("jobs", "--json").out + w.run("stats", "--json").out }
		before := stored()
		got := w.run(args...)
		if !slices.Contains([]int{0, statusFailed, statusUsage, statusNothing}, got.status) {
			t.Errorf("%q exited with %d", args, got.status)
		}
		if got.status != 0 && got.err == "" && got.out == "" {
			t.Errorf("%q exited with %d and printed nothing", args, got.status)
		}
		if got.status != statusUsage {
			return
		}
		if got.out != "" {
			t.Errorf("%q is a usage error and printed %q", args, got.out)
		}
		if after := stored(); after != before {
			t.Errorf("%q is a usage error and changed the store:\n%s\n%s", args, before, after)
		}
	})
}
