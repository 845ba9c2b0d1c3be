package docs_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A console block is a session: commands after "$ ", and their whole output, where "…"
// stands for text that varies. The sessions of a document share a directory. The test runs
// them with the programs of this repository.
func TestConsoles(t *testing.T) {
	sessions := 0
	for _, d := range documents(t) {
		dir := t.TempDir()
		for _, b := range d.blocks {
			if b.lang != "console" {
				continue
			}
			sessions++
			for _, step := range strings.Split("\n"+b.text, "\n$ ")[1:] {
				line, want, _ := strings.Cut(step, "\n")
				words := splitShell(line)[0]
				var pkg string
				switch {
				case words[0] == "plainjobs":
					pkg, words = "cmd/plainjobs", words[1:]
				case len(words) > 2 && words[0] == "go" && words[1] == "run" && strings.HasPrefix(words[2], "./"):
					pkg, words = words[2][2:], words[3:]
				default:
					t.Fatalf("%s: this test cannot run %s", b.where, line)
				}
				c := exec.CommandContext(t.Context(), repository().build(t, pkg), words...)
				c.Dir = dir
				out, _ := c.CombinedOutput() // the output shows whether it failed
				if got := lines(string(out)); !like(want).MatchString(got + "\n") {
					t.Errorf("%s: %s printed\n%s\nwant\n%s", b.where, line, got, want)
				}
			}
		}
	}
	if sessions == 0 {
		t.Error("no document shows a session")
	}
}

// lines returns text without trailing spaces, which documents do not have.
func lines(text string) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range all {
		all[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(all, "\n")
}

// like returns a pattern for output. A line with only "…" stands for any number of lines.
func like(want string) *regexp.Regexp {
	var pattern strings.Builder
	pattern.WriteString("^")
	for _, line := range strings.SplitAfter(lines(want)+"\n", "\n") {
		if line == "…\n" {
			pattern.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		// The omitted text may be shorter or longer, which moves the columns after it.
		line = columns.ReplaceAllString(regexp.QuoteMeta(line), " {2,}")
		pattern.WriteString(strings.ReplaceAll(line, "…", `[^\n]*`))
	}
	return regexp.MustCompile(pattern.String() + "$")
}

var columns = regexp.MustCompile(` {2,}`)
