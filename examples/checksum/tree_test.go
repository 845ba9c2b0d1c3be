package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A tree is a directory with files in it.
type tree struct {
	dir  string
	sums map[string][]byte // by path
}

func newTree(t *testing.T) *tree {
	t.Helper()
	return &tree{dir: t.TempDir(), sums: map[string][]byte{}}
}

// add adds a file. It does nothing if the file system refuses the name.
func (tr *tree) add(t *testing.T, name, content string) {
	t.Helper()
	path := tr.dir + separator + name
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Logf("left out: %v", err)
		return
	}
	sum := sha256.Sum256([]byte(content))
	tr.sums[path] = sum[:]
}

// largeTree returns a tree of files that take a while to read. They are sparse and use
// no space.
func largeTree(t *testing.T, files int) *tree {
	t.Helper()
	const size = 1 << 20
	tr := newTree(t)
	content := make([]byte, size)
	for i := range files {
		path := filepath.Join(tr.dir, fmt.Sprintf("%d", i%7), fmt.Sprintf("file %d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		head := fmt.Sprintf("this is file %d", i)
		if err := os.WriteFile(path, []byte(head), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		clear(content[:64])
		copy(content, head)
		sum := sha256.Sum256(content)
		tr.sums[path] = sum[:]
	}
	return tr
}
