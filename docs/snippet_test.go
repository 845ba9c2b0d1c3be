package docs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imported are the packages that Go blocks of documents may use without an import.
var imported = []string{
	"context", "crypto/hmac", "crypto/sha256", "database/sql", "encoding/json", "errors", "fmt", "io", "log", "log/slog", "net/http",
	"os", "os/signal", "path/filepath", "slices", "strconv", "strings", "syscall", "testing", "testing/synctest", "time",
	"golang.org/x/sync/errgroup", "github.com/jackc/pgx/v5",
	module, module + "/backend", module + "/backend/memory", module + "/backend/sqlite", module + "/backend/sqlite/modernc",
	module + "/backend/mysql", module + "/backend/postgres", module + "/backend/postgres/pgx", module + "/cli", module + "/conformance", module + "/dashboard", module + "/encrypt",
	module + "/plainjobstest", module + "/worker",
}

// inScope has declarations that statements of documents may use.
const inScope = "ctx context.Context, queue *plainjobs.Queue, db *sql.DB, tx *sql.Tx"

// The Go blocks of a document are files, or declarations and statements of one package.
// All of them are formatted and compile.
func TestSnippets(t *testing.T) {
	exports := exportData(t)
	for _, d := range documents(t) {
		t.Run(d.path, func(t *testing.T) {
			s := &snippets{T: t, exports: exports, files: token.NewFileSet()}
			for _, b := range d.blocks {
				if b.lang == "go" && b.from == "" {
					s.add(b)
				}
			}
			s.check(d.path, s.parsed...)
		})
	}
}

// exportData returns the path of a package's export data.
func exportData(t *testing.T) map[string]string {
	t.Helper()
	args := append([]string{"list", "-deps", "-export", "-json=ImportPath,Export"}, imported...)
	c := exec.Command("go", args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[p.ImportPath] = p.Export
	}
}

type snippets struct {
	*testing.T
	exports map[string]string
	files   *token.FileSet
	parsed  []*ast.File // of one package
	count   int
}

func (s *snippets) add(b block) {
	formatted, err := format.Source([]byte(b.text))
	if err != nil {
		s.Errorf("%s: %v", b.where, err)
		return
	}
	if string(formatted) != b.text {
		s.Errorf("%s: gofmt would write\n%s", b.where, formatted)
	}
	if f, err := parser.ParseFile(s.files, b.where, b.text, parser.SkipObjectResolution); err == nil { // a whole file
		s.check(b.where, f)
		return
	}
	s.count++
	f, err := s.parse(b, "\n"+b.text)
	if err != nil {
		f, err = s.parse(b, fmt.Sprintf("func snippet%d(%s) error {{\n%s\n}; return nil }", s.count, inScope, b.text))
	}
	if err != nil {
		s.Errorf("%s: %v", b.where, err)
		return
	}
	s.parsed = append(s.parsed, f)
}

// parse parses a block as part of a package, and adds its missing imports.
func (s *snippets) parse(b block, source string) (*ast.File, error) {
	f, err := parser.ParseFile(token.NewFileSet(), b.where, "package snippets; "+source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if e, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := e.X.(*ast.Ident); ok {
				named[x.Name] = true
			}
		}
		return true
	})
	imports := "package snippets; import (\"context\"; \"database/sql\"; \"github.com/plainjobs/plainjobs\""
	for _, path := range imported {
		if name := path[strings.LastIndex(path, "/")+1:]; named[name] && !slices.Contains([]string{"context", "sql", "plainjobs"}, name) {
			imports += fmt.Sprintf("; %q", path)
		}
	}
	return parser.ParseFile(s.files, b.where, imports+"); "+source, parser.SkipObjectResolution)
}

// check type-checks a package. A snippet may have unused variables.
func (s *snippets) check(where string, files ...*ast.File) {
	if len(files) == 0 {
		return
	}
	config := &types.Config{
		Importer: importer.ForCompiler(s.files, "gc", func(path string) (io.ReadCloser, error) {
			file := s.exports[path]
			if file == "" {
				return nil, fmt.Errorf("package %s is not one that documents use", path)
			}
			return os.Open(file)
		}),
		Error: func(err error) {
			if e := (types.Error{}); errors.As(err, &e) && e.Soft {
				return
			}
			s.Error(err)
		},
	}
	_, _ = config.Check(where, s.files, files, nil) // Error receives each error
}

// The test finds Go code in the documents that should have it.
func TestSnippetsAreFound(t *testing.T) {
	var without []string
	for _, d := range documents(t) {
		if !slices.ContainsFunc(d.blocks, func(b block) bool { return b.lang == "go" }) {
			without = append(without, d.path)
		}
	}
	if slices.Contains(without, "README.md") || slices.Contains(without, "docs/background-jobs.md") {
		t.Errorf("there is no Go in %v", without)
	}
}
