package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A unit is a systemd unit file: the settings of each section. A setting may occur more
// than once.
type unit map[string]map[string][]string

func readUnit(t *testing.T, file string) unit {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	u, section := unit{}, ""
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		key, value, setting := strings.Cut(line, "=")
		switch {
		case line == "", line[0] == '#':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
			if u[section] != nil {
				t.Errorf("%s:%d: section [%s] occurs twice", file, i+1, section)
			}
			u[section] = map[string][]string{}
		case !setting || section == "" || key != strings.TrimSpace(key) || value == "":
			t.Errorf("%s:%d: %q is not a setting", file, i+1, line)
		default:
			u[section][key] = append(u[section][key], value)
		}
	}
	return u
}

func units(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash("examples/deploy/systemd/*.service"))
	if err != nil || len(files) < 2 {
		t.Fatalf("found %d units, %v", len(files), err)
	}
	return files
}

// The units have known sections, call existing commands, and give a worker enough time to
// stop.
func TestUnits(t *testing.T) {
	p := repository()
	for _, file := range units(t) {
		u := readUnit(t, file)
		for _, section := range []string{"Unit", "Service", "Install"} {
			if u[section] == nil {
				t.Errorf("%s has no section %s", file, section)
			}
		}
		if len(u) != 3 {
			t.Errorf("%s has %d sections", file, len(u))
		}
		starts := u["Service"]["ExecStart"]
		if len(starts) != 1 {
			t.Fatalf("%s has %d commands", file, len(starts))
		}
		words := splitShell(starts[0])[0]
		if words[0] != "/usr/local/bin/app" {
			t.Errorf("%s starts %s", file, words[0])
		}
		p.checkCall(t, file, anyProgram, words[1:])
		for _, e := range u["Service"]["Environment"] {
			name, _, _ := strings.Cut(e, "=")
			flag := "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "PLAINJOBS_"), "_", "-"))
			p.checkCall(t, file, anyProgram, []string{words[1], flag})
		}
		if slices.Contains(words, "work") && (!slices.Equal(u["Service"]["TimeoutStopSec"], []string{"40"}) || !slices.Equal(u["Service"]["KillMode"], []string{"mixed"})) {
			t.Errorf("%s may kill a stopping worker", file)
		}
	}
}

// systemd-analyze accepts the units, if it is installed.
func TestSystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	var copies []string
	for _, file := range units(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// systemd-analyze requires that the program and its user exist.
		changed := strings.ReplaceAll(string(text), "/usr/local/bin/app", os.Args[0])
		changed = regexp.MustCompile(`(?m)^(User|Group)=.*\n`).ReplaceAllString(changed, "")
		to := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(to, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, to)
	}
	out, err := exec.Command(analyze, append([]string{"verify", "--man=no", "--recursive-errors=no"}, copies...)...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), dir) && !strings.Contains(string(out), ".service") {
		t.Skipf("systemd-analyze does not work here: %v: %s", err, out)
	}
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}

// The manifests call existing commands. The test in their directory checks them against
// the types of Kubernetes.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob(filepath.FromSlash("examples/deploy/kubernetes/*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("found %d manifests, %v", len(files), err)
	}
	p := repository()
	called := regexp.MustCompile(`(?m)^ +args: \[(.*)\]$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		calls := called.FindAllStringSubmatch(string(text), -1)
		if len(calls) == 0 || len(calls) != strings.Count(string(text), "args:") {
			t.Errorf("%s: %d of %d commands were checked", file, len(calls), strings.Count(string(text), "args:"))
		}
		for _, c := range calls {
			p.checkCall(t, file, anyProgram, splitShell(strings.ReplaceAll(c[1], ",", " "))[0])
		}
	}
}

// Units and manifests in documents are parts of files in examples/deploy.
func TestExcerpts(t *testing.T) {
	whole := map[string]string{
		"ini":  sources(t, "examples/deploy/systemd/*.service"),
		"yaml": sources(t, "examples/deploy/kubernetes/*.yaml") + sources(t, "examples/deploy/litestream/*.yml"),
	}
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if whole[b.lang] == "" {
				continue
			}
			for _, line := range strings.Split(strings.TrimSpace(b.text), "\n") {
				if line := strings.TrimSpace(line); !slices.ContainsFunc(strings.Split(whole[b.lang], "\n"), func(l string) bool { return strings.TrimSpace(l) == line }) {
					t.Errorf("%s: no file of examples/deploy has %q", b.where, line)
				}
			}
		}
	}
}
