package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// What the golden tests import is what they export, and a damaged copy.
func TestExportFile(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	path := filepath.Join(t.TempDir(), "out.jsonl")
	got := w.must(t, 0, "export", path)
	if got.out != "" || !strings.Contains(got.err, "exported 8 jobs, 3 schedules, 3 settings to "+path) {
		t.Errorf("export said %q and %q", got.out, got.err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out := w.must(t, 0, "export").out; out != string(text) {
		t.Errorf("to standard output it is\n%s\nand to a file\n%s", out, text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	golden := filepath.Join("testdata", "export.jsonl")
	damaged := bytes.Replace(text, []byte("connection refused"), []byte("connection refuseD"), 1)
	if *update {
		for name, text := range map[string][]byte{"export": text, "damaged": damaged} {
			if err := os.WriteFile(filepath.Join("testdata", name+".jsonl"), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(text, want) {
		t.Errorf("%s: got\n%s\nwant\n%s (%v)", golden, text, want, err)
	}
	if json := w.must(t, 0, "export", path, "--json", "--yes").out; !strings.HasPrefix(json, `{"jobs":8,`) {
		t.Errorf("with --json it said %q", json)
	}
}

// What is imported into an empty queue is shown as it was.
func TestImportFile(t *testing.T) {
	from := newWorld(t)
	from.fill(t)
	to := newWorld(t)
	to.pass(from.clock().Sub(to.clock()))
	to.golden(t, "imported", "import testdata/export.jsonl", "jobs", "show 2", "schedules", "import testdata/export.jsonl")
	f, err := os.Open(filepath.Join("testdata", "export.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to.stdin = f
	if got := to.must(t, 0, "import", "-", "--json"); !strings.Contains(got.out, `"present":8`) {
		t.Errorf("from standard input it said %q, %q", got.out, got.err)
	}
	if err := to.store.Pause(t.Context(), "", true); err != nil {
		t.Fatal(err)
	}
	if got := to.must(t, 0, "import", "testdata/export.jsonl"); !strings.Contains(got.err, "the whole queue is paused: resume --all") {
		t.Errorf("with a pause of the whole queue it said %q", got.err)
	}
}

// A file that is there is written over only on request, and stays
// until all is written.
func TestExportOver(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "out.jsonl")
	old := "what was there\n"
	write := func() {
		t.Helper()
		if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	is := func(what, want string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: the file has %q, %v", what, text, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: the directory has %v, %v", what, entries, err)
		}
	}
	if got := w.must(t, 2, "export", path); !strings.Contains(got.err, "write over it? There is nobody to answer: say --yes") {
		t.Errorf("without a terminal it said %q", got.err)
	}
	is("without a terminal", old)
	w.tty = true
	w.stdin = strings.NewReader("n\n")
	if got := w.must(t, 1, "export", path); !strings.Contains(got.err, "nothing was done") {
		t.Errorf("after a no it said %q", got.err)
	}
	is("after a no", old)
	if got := w.must(t, 2, "export"); !strings.Contains(got.err, "the jobs go to a terminal") || got.out != "" {
		t.Errorf("to a terminal it said %q, %q", got.out, got.err)
	}
	pipe, answers := io.Pipe()
	defer answers.Close()
	w.stdin = pipe
	asking := w.start(t, "export", path)
	eventually(t, "the question", func() bool { return strings.Contains(asking.err.String(), "write over it? [y/N] ") })
	w.signals <- syscall.SIGINT
	asking.wait(t, 130)
	if !strings.Contains(asking.err.String(), "interrupted; nothing was done") {
		t.Errorf("after an interrupt it said %q", asking.err.String())
	}
	is("after an interrupt", old)
	w.stdin = strings.NewReader("y\n")
	w.must(t, 0, "export", path)
	is("after a yes", `{"plainjobs":`)
	write()
	w.must(t, 3, "export", path, "--yes", "--key", "no such key")
	is("when nothing matches", old)
	w.app.Open = func(context.Context) (*plainjobs.Queue, error) { return plainjobs.New(brokenExport{w.store}, nil), nil }
	if got := w.must(t, 1, "export", path, "--yes"); !strings.Contains(got.err, errBroken.Error()) {
		t.Errorf("with a broken store it said %q", got.err)
	}
	is("with a broken store", old)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.must(t, 1, "export", path)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a broken export has left %v, %v", entries, err)
	}
}

// brokenExport is a store that fails after the first page.
type brokenExport struct{ lasting }

func (b brokenExport) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	if req.After > 0 {
		return backend.Batch{}, errBroken
	}
	return b.lasting.Export(ctx, req)
}

// An import that is interrupted says how to go on.
func TestImportInterrupted(t *testing.T) {
	w := newWorld(t)
	w.app.Open = func(context.Context) (*plainjobs.Queue, error) {
		return plainjobs.New(interruptedImport{w.store, w.signals}, nil), nil
	}
	if got := w.run("import", "testdata/export.jsonl"); got.status != statusSignal+2 || !strings.Contains(got.err, "repeat the import, and it goes on") {
		t.Errorf("it ended with %d: %q", got.status, got.err)
	}
}

type interruptedImport struct {
	lasting
	signals chan<- os.Signal
}

func (b interruptedImport) Import(ctx context.Context, _ backend.Batch) (backend.ImportResult, error) {
	b.signals <- syscall.SIGINT
	<-ctx.Done()
	return backend.ImportResult{}, errors.Join(errBroken, ctx.Err())
}
