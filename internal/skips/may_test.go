package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The reasons that the scripts in .ci allow are texts of the tests. A text that changes
// must change in the scripts too, or a full run fails at its end.
func TestAllowedReasons(t *testing.T) {
	texts := literals(t, filepath.Join("..", ".."))
	for _, script := range []string{"run", "newcomer", "postgres"} {
		source, err := os.ReadFile(filepath.Join("..", "..", ".ci", script))
		if err != nil {
			t.Fatal(err)
		}
		allowed := regexp.MustCompile(`-may '([^']+)'`).FindAllStringSubmatch(string(source), -1)
		if len(allowed) < 3 {
			t.Errorf(".ci/%s allows %d reasons, want more", script, len(allowed))
		}
		for _, m := range allowed {
			if !anyMatch(regexp.MustCompile(m[1]), texts) {
				t.Errorf(".ci/%s allows %q, which no test gives as a reason", script, m[1])
			}
		}
	}
}

func anyMatch(pattern *regexp.Regexp, texts []string) bool {
	for _, text := range texts {
		if pattern.MatchString(text) {
			return true
		}
	}
	return false
}

// literals returns the strings in all Go files below a directory. A verb of a format
// stands for a type's name.
func literals(t *testing.T, root string) (texts []string) {
	t.Helper()
	verb := regexp.MustCompile(`%[a-z]`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == "skips" || path != root && strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					texts = append(texts, verb.ReplaceAllString(text, "backend.Name"))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
