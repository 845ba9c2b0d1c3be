package dashboard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

// program is a program with a queue, a worker and a web server, and what is added to it.
var program = template.Must(template.New("").Parse(`package main

import (
	"context"
	"net/http"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite/modernc"
	"github.com/plainjobs/plainjobs/worker"
	{{range .Imports}}{{printf "%q" .}}
	{{end}}
)

func open(context.Context) (*plainjobs.Queue, error) {
	store, err := modernc.Open("jobs.db", nil)
	return plainjobs.New(store, nil), err
}

func main() {
	queue, _ := open(context.Background())
	go worker.New(queue, nil).Run(context.Background())
	{{.Adds}}
	http.ListenAndServe("localhost:0", nil)
}
`))

// addition is what a program has besides.
type addition struct {
	Imports []string
	Adds    string
}

// sizeOf builds a program and returns the size of its binary in MB. The size must not depend on the
// directory in which the repository is.
func sizeOf(t *testing.T, adds addition) float64 {
	t.Helper()
	dir := t.TempDir()
	var text strings.Builder
	if err := program.Execute(&text, adds); err != nil {
		t.Fatal(err)
	}
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "main")
	if err := os.WriteFile(source, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}

// The dashboard adds less than 1 MB to a program that has html/template, and package cli
// adds none of it to a program that does not set App.Dashboard.
//
//	go test ./dashboard -run TestSize -v
func TestSize(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	const module = "github.com/plainjobs/plainjobs/"
	plain := sizeOf(t, addition{})
	method := sizeOf(t, addition{[]string{"os", "reflect"}, `reflect.ValueOf(queue).MethodByName(os.Args[0])`})
	templates := sizeOf(t, addition{[]string{"html/template", "os"}, `template.Must(template.New("").Parse("{{.}}")).Execute(os.Stdout, queue)`})
	pages := sizeOf(t, addition{[]string{module + "dashboard"}, `http.Handle("/jobs/", dashboard.Handler(queue, nil))`})
	commands := sizeOf(t, addition{[]string{module + "cli"}, `cli.Main(cli.App{Open: open})`})
	both := sizeOf(t, addition{[]string{module + "cli", module + "dashboard"}, `cli.Main(cli.App{Open: open, Dashboard: dashboard.Handler})`})
	t.Logf("a program with a worker and a web server: %.1f MB", plain)
	t.Logf("  with a call of reflect.Value.MethodByName: %.1f MB", method)
	t.Logf("  with html/template: %.1f MB", templates)
	t.Logf("  with the dashboard: %.1f MB, %.4f MB more", pages, pages-templates)
	t.Logf("  with package cli: %.1f MB", commands)
	t.Logf("  with package cli and its dashboard: %.1f MB", both)
	if pages-templates >= 1 {
		t.Errorf("the dashboard adds %.2f MB to a program with html/template, want less than 1", pages-templates)
	}
	if commands-plain >= method-plain {
		t.Errorf("package cli adds %.2f MB: something in it calls methods by name", commands-plain)
	}
}
