package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/bars"
)

// The picture of the documents is up to date, and its figures are those of
// docs/performance.md.
func TestDocs(t *testing.T) {
	docs := filepath.Join("..", "..", "..", "docs")
	file := func(path ...string) []byte {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(append([]string{docs}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	stored := file("images", "bench.jsonl")
	var picture bytes.Buffer
	if err := run(bytes.NewReader(stored), &picture); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(picture.Bytes(), file("images", "bench.svg")) {
		t.Error("docs/images/bench.svg is out of date: run docs/images/make chart")
	}
	figures, err := read(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	tables := string(file("performance.md"))
	for _, f := range figures {
		text := bars.Number(f.JobsPerS)
		if _, ms := milliseconds(f); f.P50 >= 1000 {
			text = ms
		} else if f.P50 > 0 {
			text = bars.Number(f.P50) + " µs"
		}
		if !strings.Contains(tables, text) {
			t.Errorf("docs/performance.md does not have the figure %s of %+v", text, f)
		}
	}
}

func TestInput(t *testing.T) {
	for _, text := range []string{"", "{}", "not JSON", `{"library":"x","scenario":"drain","store":"SQLite","durability":"full","median":true}`} {
		if err := run(strings.NewReader(text), &bytes.Buffer{}); err == nil {
			t.Errorf("%q is drawn", text)
		}
	}
}
