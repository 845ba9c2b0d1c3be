// Sizes prints how large a minimal program with each store is, and how long it takes to
// compile.
//
//	go run ./cmd/bench/sizes
//	go run ./cmd/bench/sizes -cold=false    # sizes only, in a minute
//	go run ./cmd/bench/sizes -stores modernc,pgx
//
// "driver" is a program that opens a *sql.DB and nothing else, "worker" one that also runs a
// worker of plainjobs, "cli" one that has the commands of package cli, and "dashboard" one
// that has its pages too. "stripped" is "worker" linked with -ldflags=-s -w. "cold" is the first build of "worker", with an empty
// build cache, "again" a build after a change of the program, and "with cli" the first build
// of "cli" after that, all in seconds and in seconds of one core.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A store is a package that opens one, and what imports its driver alone.
type store struct{ name, open, pkg, driver string }

var stores = []store{
	{"memory", "memory.New(nil), error(nil)", "backend/memory", ""},
	{"mattn", `mattn.Open("app.db", nil)`, "backend/sqlite/mattn", "github.com/mattn/go-sqlite3"},
	{"modernc", `modernc.Open("app.db", nil)`, "backend/sqlite/modernc", "modernc.org/sqlite"},
	{"ncruces", `ncruces.Open("app.db", nil)`, "backend/sqlite/ncruces", "github.com/ncruces/go-sqlite3/driver"},
	{"pgx", `pgx.Open("postgres://localhost/app", nil)`, "backend/postgres/pgx", "github.com/jackc/pgx/v5/stdlib"},
}

func main() {
	cold := flag.Bool("cold", true, "also measure compile times, with an empty build cache")
	names := flag.String("stores", "mattn,modernc,ncruces,pgx,memory", "the stores")
	flag.Parse()
	if err := run(os.Stdout, strings.Split(*names, ","), *cold); err != nil {
		fmt.Fprintln(os.Stderr, "sizes:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, names []string, cold bool) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/plainjobs/plainjobs").Output()
	if err != nil {
		return fmt.Errorf("run it in a clone of the repository: %w", err)
	}
	dir, err := os.MkdirTemp("", "sizes")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &builder{root: strings.TrimSpace(string(root)), dir: dir}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "store\tdriver\tworker\tstripped\tcli\tdashboard\tcold\tagain\twith cli\t")
	for _, name := range names {
		at := slices.IndexFunc(stores, func(s store) bool { return s.name == name })
		if at < 0 {
			return fmt.Errorf("unknown store %q", name)
		}
		row, err := b.row(stores[at], cold)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(table, "%s\t%s\t\n", name, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// A builder builds programs that exist only in an overlay of the repository, so that they
// have the versions of its go.mod.
type builder struct {
	root, dir string
	count     int
}

func (b *builder) row(s store, cold bool) ([]string, error) {
	var row []string
	for _, source := range []string{s.bare(), s.worker(), s.worker(), s.cli(""), s.cli(module + "/dashboard")} {
		var flags []string
		if len(row) == 2 {
			flags = []string{"-ldflags=-s -w"}
		}
		size, _, err := b.build(source, "", flags...)
		if err != nil {
			return nil, err
		}
		row = append(row, fmt.Sprintf("%.1f MB", float64(size)/1e6))
	}
	if !cold {
		return append(row, "", "", ""), nil
	}
	cache, err := os.MkdirTemp(b.dir, "cache")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(cache)
	for _, source := range []string{s.worker(), s.worker() + "\nvar changed = 1\n", s.cli("")} {
		_, took, err := b.build(source, cache)
		if err != nil {
			return nil, err
		}
		row = append(row, took)
	}
	return row, nil
}

// build builds a program and returns its size, and how long that took.
func (b *builder) build(source, cache string, flags ...string) (size int64, took string, err error) {
	b.count++
	file, binary, overlay := filepath.Join(b.dir, fmt.Sprint(b.count, ".go")), filepath.Join(b.dir, fmt.Sprint(b.count)), filepath.Join(b.dir, "overlay.json")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		return 0, "", err
	}
	replace := map[string]map[string]string{"Replace": {filepath.Join(b.root, "internal", "sizes", "main.go"): file}}
	text, err := json.Marshal(replace)
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err != nil {
		return 0, "", err
	}
	args := append([]string{"build", "-overlay", overlay, "-o", binary}, flags...)
	c := exec.Command("go", append(args, "./internal/sizes")...)
	c.Dir, c.Stderr, c.Env = b.root, os.Stderr, append(os.Environ(), "GOWORK=off")
	if cache != "" {
		c.Env = append(c.Env, "GOCACHE="+cache)
	}
	start := time.Now()
	if err := c.Run(); err != nil {
		return 0, "", err
	}
	took = fmt.Sprintf("%.0f s (%.0f s)", time.Since(start).Seconds(), (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds())
	info, err := os.Stat(binary)
	if err != nil {
		return 0, "", err
	}
	return info.Size(), took, os.Remove(binary)
}

const module = "github.com/plainjobs/plainjobs"

// bare is a program with the driver alone.
func (s store) bare() string {
	source := "package main\n\nimport \"database/sql\"\n"
	if s.driver != "" {
		source += fmt.Sprintf("import _ %q\n", s.driver)
	}
	return source + "\nfunc main() {\n\tdb, err := sql.Open(\"x\", \"\")\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\t_ = db.Ping()\n}\n"
}

const job = `
var job = plainjobs.Define("job", func(context.Context, int) error { return nil })
`

func (s store) worker() string {
	return fmt.Sprintf(`package main

import (
	"context"

	%q
	%q
	%q
)
%s
func main() {
	store, err := %s
	if err != nil {
		panic(err)
	}
	queue := plainjobs.New(store, nil)
	defer queue.Close()
	if _, err := queue.Perform(context.Background(), job.With(1)); err != nil {
		panic(err)
	}
	if err := worker.New(queue, nil).Run(context.Background()); err != nil {
		panic(err)
	}
}
`, module, module+"/"+s.pkg, module+"/worker", job, s.open)
}

// cli is a program with the commands, and with the pages of package dashboard unless pages is
// empty.
func (s store) cli(pages string) string {
	field := ""
	if pages != "" {
		pages, field = fmt.Sprintf("\t%q\n", pages), "Dashboard: dashboard.Handler, "
	}
	return fmt.Sprintf(`package main

import (
	"context"

	%q
	%q
	%q
%s)
%s
func main() {
	cli.Main(cli.App{%sOpen: func(context.Context) (*plainjobs.Queue, error) {
		store, err := %s
		if err != nil {
			return nil, err
		}
		return plainjobs.New(store, nil), nil
	}})
}
`, module, module+"/"+s.pkg, module+"/cli", pages, job, field, s.open)
}
