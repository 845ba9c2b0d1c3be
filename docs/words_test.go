package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// avoided has phrases that Go files and documents avoid, with what to write instead.
// Each may occur that many times in 100,000 lines.
var avoided = []struct {
	phrase, instead string
	most            int
}{
	{"nobody", "no process, no worker, nothing", 10},
	{"somebody", "a process, a worker, a user", 10},
	{"beside", "next to, in addition to", 10},
	{"whoever", "the process that", 10},
	{"anew", "again", 10},
	{"made up for", "catch up, see the glossary", 1},
	{"those of that", "its", 0},
	{"how many it were", "the number of", 0},
	{"what mends", "the fix", 0},
	{"mend", "fix", 10},
	{"heard of", "last heartbeat", 10},
}

// replaced has names from before the glossary, with today's.
var replaced = map[string]string{
	"Homer": "SettingsStore", "homer": "SettingsStore", "Heart": "Heartbeater", "Sentinel": "DeathDetector", "Setter": "SettingsStore",
	"Trouble": "Problem", "Mend": "Fix", "mend": "fix", "Caps": "MaxPerName", "Looks": "ReadOnly", "HandBack": "ReleaseNow",
	"rungSoon": "txPending", "crowd": "contended", "shunned": "bypassUntil", "shower": "lockHolder", "foretold": "lastTxNotice",
	"retake": "reacquireUnique", "runsHeld": "lookup", "thenSay": "afterUnlock", "unsaid": "deferred", "barred": "waitingForSuspectLock",
	"mourn": "an ordinary word", "OpHaunt": "an ordinary word", "massacre": "an ordinary word",
}

// texts returns the Go files and documents of the repository, without this file.
func texts(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata"):
			return filepath.SkipDir
		case filepath.ToSlash(path) == "docs/words_test.go":
		case filepath.Ext(name) == ".go", filepath.Ext(name) == ".md":
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// Go files and documents avoid words that make them hard to read.
func TestWords(t *testing.T) {
	lines := 0
	found := make([][]string, len(avoided))
	var patterns []*regexp.Regexp
	for _, a := range avoided {
		patterns = append(patterns, regexp.MustCompile(`(?i)\b`+strings.ReplaceAll(a.phrase, " ", `(?:\s+(?://\s*)?)`)+`\b`))
	}
	for _, path := range texts(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		lines += strings.Count(text, "\n")
		for i, p := range patterns {
			for _, at := range p.FindAllStringIndex(text, -1) {
				found[i] = append(found[i], fmt.Sprintf("%s:%d", path, strings.Count(text[:at[0]], "\n")+1))
			}
		}
	}
	for i, a := range avoided {
		most := a.most * lines / 100_000
		t.Logf("%q: %d in %d lines", a.phrase, len(found[i]), lines)
		if len(found[i]) > most {
			t.Errorf("%q occurs %d times, more than %d: write %s\n%s", a.phrase, len(found[i]), most, a.instead, strings.Join(found[i], "\n"))
		}
	}
}

// Identifiers have the names of the glossary.
func TestGlossaryNames(t *testing.T) {
	fset := token.NewFileSet()
	for _, path := range texts(t) {
		if filepath.Ext(path) != ".go" {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok || replaced[id.Name] == "" || slices.Contains(seen, id.Name) {
				return true
			}
			seen = append(seen, id.Name)
			t.Errorf("%v: %s is now called %s", fset.Position(id.Pos()), id.Name, replaced[id.Name])
			return true
		})
	}
}
