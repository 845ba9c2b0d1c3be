package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A document is a Markdown file.
type document struct {
	path   string // with slashes, relative to the root
	text   string
	blocks []block
}

// A block is a fenced block of a document, or a comment "<!-- go" with declarations that
// the Go blocks need and readers do not see. A comment "<!-- from FILE -->" before a block
// says that the block is a part of a file, which the tests of its own module compile.
type block struct {
	where string // file:line
	from  string
	lang  string
	text  string
}

func documents(t *testing.T) (all []*document) {
	t.Helper()
	paths := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	err := filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		all = append(all, read(t, path))
	}
	if len(all) < 10 {
		t.Fatalf("found only %d documents", len(all))
	}
	return all
}

var fence = regexp.MustCompile("(?ms)^(?:(?:<!-- from (\\S+) -->\n)?```(\\w+)\n(.*?)^```|<!-- (go)\n(.*?)^-->)$")

func read(t *testing.T, path string) *document {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &document{path: filepath.ToSlash(path), text: strings.ReplaceAll(string(text), "\r\n", "\n")}
	for _, at := range fence.FindAllStringSubmatchIndex(d.text, -1) {
		group := func(n int) string {
			if at[2*n] < 0 {
				return ""
			}
			return d.text[at[2*n]:at[2*n+1]]
		}
		d.blocks = append(d.blocks, block{
			where: fmt.Sprintf("%s:%d", d.path, strings.Count(d.text[:at[0]], "\n")+2),
			from:  group(1),
			lang:  group(2) + group(4),
			text:  group(3) + group(5),
		})
	}
	return d
}

// prose is the document without its blocks.
func (d *document) prose() string { return fence.ReplaceAllString(d.text, "") }

// A block from a file is a part of that file.
func TestBlocksFromFiles(t *testing.T) {
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.from == "" {
				continue
			}
			file, err := os.ReadFile(filepath.FromSlash(b.from))
			if err != nil || !strings.Contains(string(file), b.text) {
				t.Errorf("%s: the block is not in %s, %v", b.where, b.from, err)
			}
		}
	}
}

// Each block has a known language. Tests do not check text blocks.
func TestBlocks(t *testing.T) {
	for _, d := range documents(t) {
		if strings.Contains("\n"+d.prose(), "\n```") {
			t.Errorf("%s: a block has no language or no end", d.path)
		}
		for _, b := range d.blocks {
			switch b.lang {
			case "go", "sh", "console", "text", "yaml", "ini", "sql":
			default:
				t.Errorf("%s: unknown language %s", b.where, b.lang)
			}
		}
	}
}

var cell = regexp.MustCompile("`[^`]*`|\\\\.|\\|")

// The rows of a table are whole, and a list item begins its own line.
func TestTablesAndLists(t *testing.T) {
	rows := 0
	for _, d := range documents(t) {
		cells := 0
		for _, line := range strings.Split(d.prose(), "\n") {
			if strings.HasSuffix(line, ". -") {
				t.Errorf("%s: a list item begins at the end of the line %q", d.path, line)
			}
			if !strings.HasPrefix(line, "|") {
				if cells > 0 && strings.HasSuffix(line, " |") {
					t.Errorf("%s: a row of a table is broken before %q", d.path, line)
				}
				cells = 0
				continue
			}
			n := 0
			for _, bar := range cell.FindAllString(line, -1) {
				if bar == "|" {
					n++
				}
			}
			if rows++; cells > 0 && n != cells {
				t.Errorf("%s: %d cells instead of %d in %q", d.path, n-1, cells-1, line)
			}
			cells = n
		}
	}
	if rows < 300 {
		t.Errorf("the documents have only %d rows of tables", rows)
	}
}
