// Package docs_test checks the documents: their code compiles, their commands
// and links exist, and what they show is what is printed.
package docs_test

import (
	"os"
	"testing"
)

const module = "github.com/plainjobs/plainjobs"

// programsDir holds the programs that repository builds.
var programsDir string

// Paths in these tests start at the root of the repository.
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
