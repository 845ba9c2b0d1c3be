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

// The files that the golden tests import are an export and a damaged copy of it.
func TestExportFile(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	path := filepath.Join(t.TempDir(), "out.jsonl")
	got := w.must(t, 0, "export", path)
	if got.out != "" || !strings.Contains(got.err, "exported 8 jobs, 3 schedules, 3 settings to "+path) {
		t.Errorf("export printed %q and %q", got.out, got.err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out := w.must(t, 0, "export").out; out != string(text) {
		t.Errorf("standard output has\n%s\nand the file has\n%s", out, text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode of the file: %v, %v", info.Mode(), err)
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
		t.Errorf("--json printed %q", json)
	}
}

// Jobs imported into an empty queue look as before.
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
		t.Errorf("import from standard input printed %q, %q", got.out, got.err)
	}
	if err := to.store.Pause(t.Context(), "", true); err != nil {
		t.Fatal(err)
	}
	if got := to.must(t, 0, "import", "testdata/export.jsonl"); !strings.Contains(got.err, "the whole queue is paused: run resume --all") {
		t.Errorf("import into a paused queue printed %q", got.err)
	}
}

// Export overwrites an existing file only on request, and only once the new content is
// complete.
func TestExportOverwrite(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "out.jsonl")
	old := "old content\n"
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
	if got := w.must(t, 2, "export", path); !strings.Contains(got.err, "but standard input is not a terminal: pass --yes to confirm") {
		t.Errorf("without a terminal export printed %q", got.err)
	}
	is("without a terminal", old)
	w.tty = true
	w.stdin = strings.NewReader("n\n")
	if got := w.must(t, 1, "export", path); !strings.Contains(got.err, "not confirmed; nothing has changed") {
		t.Errorf("after a no export printed %q", got.err)
	}
	is("after a no", old)
	if got := w.must(t, 2, "export"); !strings.Contains(got.err, "standard output is a terminal") || got.out != "" {
		t.Errorf("to a terminal export printed %q, %q", got.out, got.err)
	}
	pipe, answers := io.Pipe()
	defer answers.Close()
	w.stdin = pipe
	asking := w.start(t, "export", path)
	eventually(t, "the question", func() bool { return strings.Contains(asking.err.String(), "overwrite "+path+"? [y/N] ") })
	w.signals <- syscall.SIGINT
	asking.wait(t, 130)
	if !strings.Contains(asking.err.String(), "interrupted; nothing has changed") {
		t.Errorf("after an interrupt export printed %q", asking.err.String())
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
		t.Errorf("with a broken store export printed %q", got.err)
	}
	is("with a broken store", old)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.must(t, 1, "export", path)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a failed export left %v, %v", entries, err)
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

// An interrupted import says how to continue.
func TestImportInterrupted(t *testing.T) {
	w := newWorld(t)
	w.app.Open = func(context.Context) (*plainjobs.Queue, error) {
		return plainjobs.New(interruptedImport{w.store, w.signals}, nil), nil
	}
	if got := w.run("import", "testdata/export.jsonl"); got.status != statusSignal+2 || !strings.Contains(got.err, "repeat the import to continue") {
		t.Errorf("import exited with %d: %q", got.status, got.err)
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
