package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	caseSpan    = regexp.MustCompile("`([a-z]+/[a-z-]+)`")
	testSpan    = regexp.MustCompile("`([\\w/]+)\\.(Test\\w*)(?:/(\\w+))?`")
	tortureList = regexp.MustCompile("torture\\s+tests?\\s+((?:`\\w+`(?:,\\s+|\\s+and\\s+)?)+)")
	word        = regexp.MustCompile(`\w+`)
	caseName    = regexp.MustCompile(`(?m)name:\s+"([a-z]+/[a-z-]+)"`)
)

// sources returns the text of all files that match a pattern.
func sources(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash(pattern))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// The tests that documents name as proof exist.
func TestProofs(t *testing.T) {
	var cases, groups []string
	for _, c := range caseName.FindAllStringSubmatch(sources(t, "conformance/*.go"), -1) {
		cases = append(cases, c[1])
		group, _, _ := strings.Cut(c[1], "/")
		groups = append(groups, group)
	}
	torture, err := exec.Command(repository().build(t, "cmd/torture"), "-list").Output()
	if err != nil {
		t.Fatal(err)
	}
	tortures := commandLine.FindAllString(string(torture), -1)
	found := map[string]int{}
	for _, d := range documents(t) {
		text := d.prose()
		for _, s := range caseSpan.FindAllStringSubmatch(text, -1) {
			if group, _, _ := strings.Cut(s[1], "/"); !slices.Contains(groups, group) {
				continue // a path
			}
			found[d.path]++
			if !slices.Contains(cases, s[1]) {
				t.Errorf("%s: there is no case %s", d.path, s[1])
			}
		}
		for _, s := range testSpan.FindAllStringSubmatch(text, -1) {
			found[d.path]++
			dir, test, sub := s[1], s[2], s[3]
			if dir == "plainjobs" {
				dir = "."
			}
			if !strings.Contains(sources(t, dir+"/*_test.go"), "\nfunc "+test+"(t *testing.T) {") {
				t.Errorf("%s: there is no %s in %s", d.path, test, dir)
			}
			// Packages of several drivers share the tests of their store.
			shared := sources(t, filepath.Dir(dir)+"/internal/*/*.go") + sources(t, dir+"/internal/*/*.go")
			if sub != "" && !strings.Contains(shared, `t.Run("`+sub+`"`) {
				t.Errorf("%s: %s in %s has no subtest %s", d.path, test, dir, sub)
			}
		}
		for _, s := range tortureList.FindAllStringSubmatch(text, -1) {
			for _, name := range word.FindAllString(strings.ReplaceAll(s[1], " and ", " "), -1) {
				found[d.path]++
				if name != "and" && !slices.ContainsFunc(tortures, func(l string) bool { return strings.TrimSpace(l) == name }) {
					t.Errorf("%s: there is no torture test %s", d.path, name)
				}
			}
		}
	}
	if found["docs/guarantees.md"] < 50 {
		t.Errorf("the guarantees have only %d proofs", found["docs/guarantees.md"])
	}
}
