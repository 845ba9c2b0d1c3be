package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSumLine(t *testing.T) {
	t.Parallel()
	sum := []byte{0xab, 0x01}
	for name, want := range map[string]string{
		"a":        "ab01  a\n",
		"a b":      "ab01  a b\n",
		" a\t":     "ab01   a\t\n",
		"\xff":     "ab01  \xff\n",
		`a\nb`:     `\ab01  a\\nb` + "\n",
		"a\nb\r\n": `\ab01  a\nb\r\n` + "\n",
	} {
		if got := sumLine(sum, name); got != want {
			t.Errorf("the line of %q is %q, want %q", name, got, want)
		}
	}
}

func TestSums(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		tr := newTree(t)
		for _, name := range []string{
			"plain", "with space", " space first", "space last ", "new\nline", "\n", "return\r", `back\slash`, `\`,
			"\xff\xfe not UTF-8", "ünïcödé ☃", "*star", "-", "--", "#?%20&", `quote"'`,
			"sub/file", "sub dir/deep\\er/x", "sub\xc3/\xc3", strings.Repeat("n", 255),
		} {
			tr.add(t, name, "the content of "+name)
		}
		tr.add(t, "empty", "")
		tr.add(t, "also empty", "")
		tr.add(t, "large", strings.Repeat("0123456789abcdef", 1<<17))
		for name, target := range map[string]string{"link": "plain", "dangling": "nothing", "loop": "."} {
			if err := os.Symlink(target, filepath.Join(tr.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(t.TempDir(), "sums")
		p := runProgram(t, 0, "", "-driver", driver, "-out", out, tr.dir)
		n := len(tr.sums)
		if got := p.summary(t); got != (summary{n, n, n, 0}) {
			t.Errorf("of %d files the summary is %+v", n, got)
		}
		if p.stderr.Len() > 0 {
			t.Errorf("stderr, which is not a terminal, has %q", p.stderr.String())
		}
		checkSums(t, out, tr.sums)
		sha256sum(t, "", out)
	})
}

// sha256sum checks the sums with the program sha256sum.
func sha256sum(t *testing.T, dir, out string) {
	t.Helper()
	program, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Log("not checked with sha256sum: it is not installed")
		return
	}
	cmd := exec.Command(program, "--check", "--strict", "--quiet", out)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, text)
	}
}

// TestDir: names in the sums start with DIR as given.
func TestDir(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.add(t, "-", "a file of this name is easily taken for stdin")
	tr.add(t, "sub/file", "another")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(tr.dir, link); err != nil {
		t.Fatal(err)
	}
	for given, prefix := range map[string]string{
		".":          ".",
		"./":         ".",
		tr.dir:       tr.dir,
		tr.dir + "/": tr.dir,
		link:         link,
		"sub/..":     "sub/..",
	} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "sums")
			runProgram(t, 0, tr.dir, "-out", out, given)
			want := map[string][]byte{}
			for path, sum := range tr.sums {
				want[prefix+strings.TrimPrefix(path, tr.dir)] = sum
			}
			checkSums(t, out, want)
			sha256sum(t, tr.dir, out)
		})
	}
}

// TestOwnFiles: the program does not read its own files in DIR.
func TestOwnFiles(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		tr := newTree(t)
		tr.add(t, "a file", "with content")
		out := filepath.Join(tr.dir, "sums")
		for range 2 {
			p := runProgram(t, 0, tr.dir, "-driver", driver, "-db", "checksum.db", "-out", "sums", tr.dir)
			if got := p.summary(t); got.files != 1 || got.done != 1 {
				t.Errorf("of one file the summary is %+v", got)
			}
			checkSums(t, out, tr.sums)
		}
	})
}

// TestTemporary: no temporary file is left.
func TestTemporary(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		tr := newTree(t)
		tr.add(t, "a file", "with content")
		p := runProgram(t, 0, tr.dir, "-driver", driver, tr.dir)
		left, err := os.ReadDir(p.tmp)
		if err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
	})
}

// TestStartedAgain: a second start reads no file twice, and trees are separate.
func TestStartedAgain(t *testing.T) {
	forDrivers(t, func(t *testing.T, driver string) {
		one, two := newTree(t), newTree(t)
		one.add(t, "a", "content")
		one.add(t, "b", "more")
		two.add(t, "c", "else")
		work := t.TempDir()
		db, out := filepath.Join(work, "%41 #?.db"), filepath.Join(work, "sums")
		for _, step := range []struct {
			tree *tree
			want summary
		}{
			{one, summary{2, 2, 2, 0}},
			{one, summary{0, 2, 2, 0}},
			{two, summary{1, 1, 1, 0}},
			{one, summary{0, 2, 2, 0}},
		} {
			p := runProgram(t, 0, "", "-driver", driver, "-db", db, "-out", out, step.tree.dir)
			if got := p.summary(t); got != step.want {
				t.Errorf("the summary is %+v, want %+v", got, step.want)
			}
			checkSums(t, out, step.tree.sums)
		}
		if _, err := os.Stat(db); err != nil {
			t.Error(err)
		}
	})
}
