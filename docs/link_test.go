package docs_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\[([^]]+)\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	example = regexp.MustCompile(`^` + "`?" + `(Example\w*)` + "`?" + `$`)
)

// The target of each link exists: a file, a heading or an example.
func TestLinks(t *testing.T) {
	for _, d := range documents(t) {
		for _, l := range link.FindAllStringSubmatch(d.prose(), -1) {
			text, to := strings.ReplaceAll(l[1], "\n", " "), l[2]
			if strings.HasPrefix(to, "https://") {
				continue
			}
			name, anchor, _ := strings.Cut(to, "#")
			target := d.path
			if name != "" {
				target = path.Join(path.Dir(d.path), name)
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s: [%s] links to %s, which does not exist", d.path, text, to)
				continue
			}
			if anchor != "" && !hasHeading(t, target, anchor) {
				t.Errorf("%s: [%s] links to %s, which has no such heading", d.path, text, to)
			}
			if e := example.FindStringSubmatch(text); e != nil {
				source, err := os.ReadFile(filepath.FromSlash(target))
				if err != nil || !strings.Contains(string(source), "\nfunc "+e[1]+"() {") {
					t.Errorf("%s: there is no %s in %s, %v", d.path, e[1], target, err)
				}
				if !strings.Contains(string(source), "utput:") {
					t.Errorf("%s: the examples of %s do not run", d.path, target)
				}
			}
		}
	}
}

func hasHeading(t *testing.T, file, anchor string) bool {
	t.Helper()
	for _, h := range heading.FindAllStringSubmatch(read(t, filepath.FromSlash(file)).prose(), -1) {
		id := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z':
				return r
			}
			return -1
		}, strings.ToLower(h[1]))
		if id == anchor {
			return true
		}
	}
	return false
}
