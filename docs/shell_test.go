package docs_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// programs are the programs of this repository, built on first use.
type programs struct {
	dir string

	mu    sync.Mutex
	built map[string]error
	helps map[string]string
}

// repository has the programs of this repository.
var repository = sync.OnceValue(func() *programs {
	dir, err := os.MkdirTemp("", "plainjobs")
	if err != nil {
		panic(err)
	}
	programsDir = dir
	return &programs{dir: dir, built: map[string]error{}, helps: map[string]string{}}
})

// build returns the binary of a package of this repository.
func (p *programs) build(t *testing.T, pkg string) string {
	t.Helper()
	name := path.Base(pkg)
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	file := filepath.Join(p.dir, name)
	p.mu.Lock()
	defer p.mu.Unlock()
	err, done := p.built[pkg]
	if !done {
		var out []byte
		if out, err = exec.Command("go", "build", "-o", file, "./"+pkg).CombinedOutput(); err != nil {
			t.Logf("%s", out)
		}
		p.built[pkg] = err
	}
	if err != nil {
		t.Fatalf("%s does not build: %v", pkg, err)
	}
	return file
}

// help returns the help text of a program.
func (p *programs) help(t *testing.T, pkg string, command ...string) string {
	t.Helper()
	file := p.build(t, pkg)
	key := strings.Join(append([]string{pkg}, command...), " ")
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, done := p.helps[key]; !done {
		out, _ := exec.Command(file, append(command, "-h")...).CombinedOutput() // package flag exits with a status
		p.helps[key] = string(out)
	}
	return p.helps[key]
}

var (
	commandLine = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*)  +`)
	flagLine    = regexp.MustCompile(`(?m)^ +(?:-\w, )?(--?[a-z][a-z-]*)`)
)

func commandsOf(help string) (all []string) {
	if !strings.Contains(help, "Available Commands:") {
		return nil
	}
	for _, c := range commandLine.FindAllStringSubmatch(help, -1) {
		all = append(all, c[1])
	}
	return all
}

func flagsOf(help string) (all []string) {
	for _, f := range flagLine.FindAllStringSubmatch(help, -1) {
		all = append(all, f[1])
	}
	return all
}

// checkCall checks that a program has the command and the flags of a call.
func (p *programs) checkCall(t *testing.T, where, pkg string, args []string) {
	t.Helper()
	if ownModule(pkg) {
		checkSource(t, where, pkg, args)
		return
	}
	help := p.help(t, pkg)
	commands := commandsOf(help)
	at := slices.IndexFunc(args, func(a string) bool { return slices.Contains(commands, a) })
	switch {
	case at >= 0:
		help += p.help(t, pkg, args[at])
	case len(commands) > 0 && len(args) > 0 && !strings.HasPrefix(args[0], "-"):
		t.Errorf("%s: %s has no command %s", where, pkg, args[0])
	}
	flags := flagsOf(help)
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if len(name) > 1 && name[0] == '-' && name != "-y" && name != "--" && !slices.Contains(flags, name) {
			t.Errorf("%s: %s %s has no flag %s", where, pkg, strings.Join(args[:at+1], " "), name)
		}
	}
}

// ownModule reports whether a package belongs to another module, whose dependencies may
// be missing.
func ownModule(pkg string) bool {
	for ; pkg != "."; pkg = path.Dir(pkg) {
		if _, err := os.Stat(filepath.Join(filepath.FromSlash(pkg), "go.mod")); err == nil {
			return true
		}
	}
	return false
}

// checkSource checks that the source of a program contains the flags of a call, without
// building the program.
func checkSource(t *testing.T, where, pkg string, args []string) {
	t.Helper()
	source := sources(t, pkg+"/*.go")
	if !strings.Contains(source, "\npackage main\n") {
		t.Errorf("%s: %s is not a program", where, pkg)
	}
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if a[0] == '-' && !strings.Contains(source, `"`+name+`", `) {
			t.Errorf("%s: %s has no flag %s", where, pkg, a)
		}
	}
}

// The names of programs of readers that use package cli.
const anyProgram = "examples/signup"

// tools are other programs that documents may call.
var tools = []string{"mkdir", "cd", "cp", "jq", "systemctl", "systemd-analyze", "journalctl", "kubectl", "curl", "apt-get", "sleep", "kill", "litestream", "pg_dump", "pg_restore"}

// check checks one shell command, up to a pipe.
func (p *programs) check(t *testing.T, where string, words []string) {
	t.Helper()
	for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 {
		return
	}
	args := words[1:]
	for _, a := range args {
		if a = strings.TrimSuffix(a, "/..."); strings.HasPrefix(a, "./") || strings.HasPrefix(a, "examples/") {
			if _, err := os.Stat(filepath.FromSlash(a)); err != nil {
				t.Errorf("%s: %v", where, err)
			}
		}
	}
	switch head := words[0]; {
	case head == "sudo":
		p.check(t, where, args)
	case head == "plainjobs":
		p.checkCall(t, where, "cmd/plainjobs", args)
	case head == "app" || head == "./app":
		p.checkCall(t, where, anyProgram, args)
	case head == "./checksum":
		p.checkCall(t, where, "examples/checksum", args)
	case head == ".ci/lint" || head == ".ci/run" || head == ".ci/bare":
	case slices.Contains(tools, head):
	case head == "go" && len(args) > 0 && args[0] == "run":
		rest := args[1:]
		for len(rest) > 0 && strings.HasPrefix(rest[0], "-") { // flags of the go command
			if rest = rest[1:]; len(rest) > 1 && strings.HasPrefix(words[2], "-tags") && !strings.Contains(words[2], "=") {
				rest = rest[1:]
			}
		}
		if len(rest) == 0 {
			t.Errorf("%s: go run without a package", where)
			return
		}
		pkg := strings.TrimPrefix(strings.TrimPrefix(rest[0], "./"), module+"/")
		pkg, _, _ = strings.Cut(pkg, "@")
		if rest[0] == "." {
			pkg = anyProgram
		}
		p.checkCall(t, where, pkg, rest[1:])
	case head == "go" && len(args) > 0:
		if !slices.Contains([]string{"test", "build", "mod", "get", "install", "env", "vet", "doc"}, args[0]) {
			t.Errorf("%s: go %s is not known to this test", where, args[0])
		}
	default:
		t.Errorf("%s: %s is not known to this test", where, head)
	}
}

// try runs a command of a reader's program on a database with a job. The command may find
// nothing or fail, but it must not be a usage error. A worker drains the queue, and a
// server is not started.
func (p *programs) try(t *testing.T, where string, words []string) {
	t.Helper()
	args := words[1:]
	switch args[0] {
	case "dev", "serve": // TestReadmePrograms runs the README's
		return
	case "work":
		args = append(slices.Clone(args), "--drain", "--no-cron")
	}
	dir := t.TempDir()
	for i, args := range [][]string{{"perform", "daily-report", `"ada@example.com"`}, args} {
		c := exec.Command(p.build(t, anyProgram), args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if status := c.ProcessState.ExitCode(); i == 0 && err != nil || status != 0 && status != 1 && status != 3 {
			t.Errorf("%s: app %s ended with %v: %s", where, strings.Join(args, " "), err, out)
		}
	}
}

// splitShell returns the commands of a line, without comments.
func splitShell(line string) (commands [][]string) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, skip := false, false
	endWord := func() {
		if inWord && !skip {
			words = append(words, word.String())
		}
		if inWord {
			skip = false
		}
		word.Reset()
		inWord = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '#' && !inWord:
			return append(commands, words)
		case r == ' ' || r == '\t':
			endWord()
		case r == '|' || r == '&' || r == ';':
			endWord()
			commands, words = append(commands, words), nil
		case r == '>' || r == '<':
			endWord()
			skip = true // the file
		default:
			inWord = true
			word.WriteRune(r)
		}
	}
	endWord()
	return append(commands, words)
}

// commandsIn returns the commands of a block.
func (b block) commands() (lines []string) {
	for _, line := range strings.Split(strings.ReplaceAll(b.text, "\\\n", " "), "\n") {
		typed, ok := strings.CutPrefix(line, "$ ")
		if (b.lang == "sh" || ok) && strings.TrimSpace(typed) != "" {
			lines = append(lines, typed)
		}
	}
	return lines
}

var (
	span     = regexp.MustCompile("`([^`]+)`")
	flagSpan = regexp.MustCompile(`^--[a-z][a-z-]*$`)
)

// Each command in a document exists and has its flags.
func TestCommands(t *testing.T) {
	p := repository()
	commands := commandsOf(p.help(t, anyProgram))
	var flags []string
	for _, pkg := range []string{anyProgram, "cmd/plainjobs"} {
		flags = append(flags, flagsOf(p.help(t, pkg))...)
		for _, c := range commandsOf(p.help(t, pkg)) {
			flags = append(flags, flagsOf(p.help(t, pkg, c))...)
		}
	}
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.lang != "sh" && b.lang != "console" {
				continue
			}
			for _, line := range b.commands() {
				for _, words := range splitShell(line) {
					p.check(t, b.where, words)
					if b.lang == "sh" && len(words) > 1 && words[0] == "app" {
						p.try(t, b.where, words)
					}
				}
			}
		}
		for _, s := range span.FindAllStringSubmatch(d.prose(), -1) {
			text := strings.ReplaceAll(s[1], "\n", " ")
			head, rest, more := strings.Cut(text, " ")
			switch {
			case head == "go" && strings.HasPrefix(rest, "run "), head == "plainjobs" && more:
				p.check(t, d.path, splitShell(text)[0])
			case slices.Contains(commands, head) && strings.Contains(rest, "--"):
				p.check(t, d.path, append([]string{"app"}, splitShell(text)[0]...))
			case flagSpan.MatchString(text) && !slices.Contains(flags, text):
				t.Errorf("%s: no command has a flag %s", d.path, text)
			}
		}
	}
}

func TestSplitShell(t *testing.T) {
	for line, want := range map[string]string{
		`a "b c" 'd' # e`:        "a,b c,d",
		`a | b > c && d --e='f'`: "a;b;;d,--e=f",
	} {
		var commands []string
		for _, words := range splitShell(line) {
			commands = append(commands, strings.Join(words, ","))
		}
		if got := strings.Join(commands, ";"); got != want {
			t.Errorf("%s is %s, want %s", line, got, want)
		}
	}
}
