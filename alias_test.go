package plainjobs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
)

// The types that are aliases of another package's.
var aliases = []any{
	plainjobs.State(0), plainjobs.Count{}, plainjobs.Worker{}, plainjobs.NameInfo{}, plainjobs.History{}, plainjobs.RunError{}, plainjobs.GroupInfo{}, plainjobs.Action{},
	&plainjobs.PanicError{}, &plainjobs.CancelError{}, &plainjobs.RetryError{}, &plainjobs.SnoozeError{},
	plainjobs.BatchError{},
}

// The go command shows no fields and methods of an alias, so its comment names all.
func TestAliasesAreDocumented(t *testing.T) {
	docs := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, s := range g.Specs {
				if spec := s.(*ast.TypeSpec); spec.Assign.IsValid() {
					docs[spec.Name.Name] = g.Doc.Text() + spec.Doc.Text()
				}
			}
		}
	}
	if len(docs) != len(aliases) {
		t.Errorf("the package has %d aliases, and the test knows %d", len(docs), len(aliases))
	}
	names := map[string]string{"WorkerInfo": "Worker", "GateInfo": "GroupInfo"}
	for _, alias := range aliases {
		typ := reflect.TypeOf(alias)
		var members []string
		for i := range typ.NumMethod() {
			members = append(members, typ.Method(i).Name)
		}
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() == reflect.Struct {
			for _, f := range reflect.VisibleFields(typ) {
				if !f.Anonymous {
					members = append(members, f.Name)
				}
			}
		}
		name := typ.Name()
		if names[name] != "" {
			name = names[name]
		}
		for _, m := range members {
			if !regexp.MustCompile(`\b` + m + `\b`).MatchString(docs[name]) {
				t.Errorf("the comment of %s does not name %s", name, m)
			}
		}
	}
}

// States have names, which ParseState reads.
func TestParseState(t *testing.T) {
	for s := plainjobs.Scheduled; s <= plainjobs.Cancelled; s++ {
		if got, err := plainjobs.ParseState(s.String()); err != nil || got != s {
			t.Errorf("ParseState(%q) = %v, %v", s, got, err)
		}
	}
	for _, name := range []string{"", "Failed", "state(0)"} {
		if _, err := plainjobs.ParseState(name); err == nil || !strings.Contains(err.Error(), "scheduled blocked pending running done failed cancelled") {
			t.Errorf("ParseState(%q) returned %v", name, err)
		}
	}
}
