package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("not a database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := "ncruces"
	if _, ok := drivers[missing]; ok {
		missing = "mattn"
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no DIR":              {nil, "DIR is missing"},
		"no DIR after flags":  {[]string{"-parallel", "2"}, "DIR is missing"},
		"two DIRs":            {[]string{dir, dir}, "give one DIR"},
		"flag after DIR":      {[]string{dir, "-parallel", "2"}, "after the flags"},
		"unknown flag":        {[]string{"-x", dir}, "not defined: -x"},
		"parallel zero":       {[]string{"-parallel", "0", dir}, "-parallel 0 is out of range"},
		"parallel negative":   {[]string{"-parallel", "-1", dir}, "-parallel -1 is out of range"},
		"parallel absurd":     {[]string{"-parallel", "1000000", dir}, "-parallel 1000000 is out of range"},
		"parallel no number":  {[]string{"-parallel", "many", dir}, `invalid value "many"`},
		"unknown driver":      {[]string{"-driver", "oracle", dir}, `unknown -driver "oracle"`},
		"driver not built in": {[]string{"-driver", missing, dir}, "-tags ncruces"},
		"empty DIR":           {[]string{""}, "no such file or directory"},
		"DIR does not exist":  {[]string{filepath.Join(dir, "nowhere")}, "no such file or directory"},
		"DIR is a file":       {[]string{file}, "not a directory"},
		"no place for db":     {[]string{"-db", filepath.Join(dir, "nowhere", "db"), dir}, "nowhere"},
		"db is no database":   {[]string{"-db", file, dir}, "file is not a database"},
		"db is a directory":   {[]string{"-db", dir, dir}, dir},
		"out is db":           {[]string{"-db", file, "-out", filepath.Join(dir, ".", "file"), dir}, "-out would overwrite"},
		"out is new db":       {[]string{"-db", "new", "-out", "./new", dir}, "-out would overwrite"},
		"no place for out":    {[]string{"-out", filepath.Join(dir, "nowhere", "sums"), dir}, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := runProgram(t, 2, "", test.args...)
			if !strings.Contains(p.stderr.String(), test.want) {
				t.Errorf("stderr does not say %q: %s", test.want, &p.stderr)
			}
			if p.stdout.Len() > 0 {
				t.Errorf("stdout has %q", p.stdout.String())
			}
		})
	}
	t.Run("help", func(t *testing.T) {
		t.Parallel()
		p := runProgram(t, 0, "", "-h")
		if !strings.Contains(p.stderr.String(), "usage: checksum [flags] DIR") {
			t.Errorf("stderr has no usage: %s", &p.stderr)
		}
	})
}
