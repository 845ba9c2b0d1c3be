// Package docs_test checks the documents: their code compiles, their commands and links
// exist, and their output is what the programs print.
package docs_test

import (
	"os"
	"testing"
)

const module = "github.com/plainjobs/plainjobs"

// programsDir has the programs that repository builds.
var programsDir string

// Paths in these tests are relative to the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	code := m.Run()
	if programsDir != "" {
		os.RemoveAll(programsDir)
	}
	os.Exit(code)
}
