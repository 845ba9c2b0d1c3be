package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// section returns the text between a heading of a document and the next one.
func (d *document) section(t *testing.T, name string) *document {
	t.Helper()
	_, text, found := strings.Cut(d.text, "\n## "+name+"\n")
	if !found {
		t.Fatalf("%s has no section %s", d.path, name)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	s := &document{path: d.path, text: text}
	for _, b := range d.blocks {
		if strings.Contains(text, "\n"+b.text+"```") {
			s.blocks = append(s.blocks, b)
		}
	}
	return s
}

// The first command runs a program, the second one runs the tests.
func TestReadmeBegins(t *testing.T) {
	var commands []string
	for _, b := range read(t, "README.md").blocks {
		if b.lang == "sh" {
			commands = append(commands, b.commands()...)
		}
	}
	if want := []string{"go run ./examples/signup dev", "go test ./..."}; len(commands) < 2 || !slices.Equal(commands[:2], want) {
		t.Errorf("the commands of the README are %q, want %q", commands, want)
	}
}

// A newcomer starts in an empty directory, types only what the section of the README says,
// and sees a job run.
func TestNewcomer(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell here")
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // it may have to build everything
	defer cancel()
	dir, typed, last, said := t.TempDir(), 0, "", ""
	env := append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	run := func(line string) {
		t.Helper()
		c := exec.CommandContext(ctx, shell, "-c", line+"\npwd >&3")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Dir, c.Env, c.ExtraFiles = dir, env, []*os.File{w}
		out, err := c.CombinedOutput()
		w.Close()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		var pwd bytes.Buffer
		if _, err := pwd.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
		dir = strings.TrimSpace(pwd.String())
	}
	var lines []string
	do := func() {
		for _, line := range lines {
			run(line)
			if strings.HasPrefix(line, "go mod init ") {
				useCheckout(t, run, root, dir)
			}
		}
		lines = nil
	}
	named := regexp.MustCompile(`^// (\S+\.go)\n`)
	for _, b := range read(t, "README.md").section(t, "Write it").blocks {
		switch b.lang {
		case "sh":
			lines = append(lines, b.commands()...)
		case "go":
			do()
			name := named.FindStringSubmatch(b.text)
			if name == nil {
				t.Fatalf("%s: the block does not start with a file name", b.where)
			}
			source := strings.TrimPrefix(b.text, name[0])
			if err := os.WriteFile(filepath.Join(dir, name[1]), []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			typed += strings.Count(source, "\n")
		case "text":
			said = strings.TrimSpace(b.text)
		}
	}
	if len(lines) == 0 || said == "" {
		t.Fatal("the section does not end with a command, and what it prints")
	}
	if typed > 40 {
		t.Errorf("a newcomer types %d lines of Go, which is more than 40", typed)
	}
	last, lines = lines[len(lines)-1], lines[:len(lines)-1]
	do()

	// The last command runs until it is interrupted.
	words := strings.Fields(last)
	app := exec.CommandContext(ctx, words[0], words[1:]...)
	app.Dir, app.Env = dir, env
	var out output
	app.Stdout, app.Stderr = &out, &out
	group(app)
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Wait() }()
	for tick := time.NewTicker(10 * time.Millisecond); !slices.Contains(strings.Split(out.String(), "\n"), said); {
		select {
		case err := <-ended:
			t.Fatalf("%s ended with %v: %s", last, err, out.String())
		case <-tick.C:
		}
	}
	if err := interrupt(app); err != nil {
		t.Fatal(err)
	}
	// An interrupted go command fails by itself. It prints a line if the program
	// fails.
	err = <-ended
	if text := out.String(); runtime.GOOS != "windows" && (strings.Contains(text, "exit status") || strings.Contains(text, "signal:")) {
		t.Errorf("after Ctrl-C %s ended with %v, and said %s", last, err, text)
	}
}

// useCheckout replaces the library with this checkout. Its go.sum has all checksums, so the
// go command downloads nothing.
func useCheckout(t *testing.T, run func(line string), root, dir string) {
	t.Helper()
	run("go mod edit -replace '" + module + "=" + root + "'")
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600); err != nil {
		t.Fatal(err)
	}
}

// An output collects the output of a running process.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// The first programs of the README run as it shows them: one serves its page, the other
// one completes.
func TestReadmePrograms(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell here")
	}
	var typed []string
	for _, b := range read(t, "README.md").blocks {
		if b.lang == "sh" && strings.HasPrefix(b.text, "go run ./examples/") {
			typed = append(typed, b.commands()...)
		}
	}
	if len(typed) != 2 {
		t.Fatalf("the README runs %q, want two of the examples", typed)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // it may have to build everything
	defer cancel()

	c := exec.CommandContext(ctx, shell, "-c", "exec "+typed[0])
	// Another run may use the default port and file.
	c.Env = append(os.Environ(), "SIGNUP_ADDR=127.0.0.1:0", "SIGNUP_URL=http://signup.test", "SIGNUP_DB="+filepath.Join(t.TempDir(), "signup.db"))
	group(c)
	said, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	site, banner := "", ""
	for lines := bufio.NewScanner(said); site == "" && lines.Scan(); {
		_, site, _ = strings.Cut(lines.Text(), "open ")
		banner += lines.Text() + "\n"
	}
	if again := strings.Replace(typed[0], " dev", " stats", 1); !strings.Contains(banner, again) {
		t.Errorf("%s names no command that can be typed, as %s, but says %s", typed[0], again, banner)
	}
	page, err := http.Get(site)
	if err != nil {
		t.Fatalf("%s serves at %q: %v", typed[0], site, err)
	}
	body, err := io.ReadAll(page.Body)
	if page.Body.Close(); err != nil || !bytes.Contains(body, []byte("<form")) {
		t.Errorf("%s serves %s, %v", typed[0], body, err)
	}
	if err := interrupt(c); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, said) // until all processes have exited
	_ = c.Wait()                     // an interrupted go command fails

	out, err := exec.CommandContext(ctx, shell, "-c", typed[1]).Output()
	out = bytes.TrimSpace(out)
	last := out[bytes.LastIndexByte(out, '\n')+1:]
	if err != nil || !regexp.MustCompile(`^files=(\d+) done=\d+ failed=0 jobs_per_s=\d+$`).Match(last) {
		t.Errorf("%s ended with %v: %s", typed[1], err, last)
	}
}
