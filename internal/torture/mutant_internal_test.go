package torture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The short form of mut tries few mutants; here all are seen to be there.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(m.file)))
		if n := strings.Count(string(text), m.from); err != nil || n != 1 {
			t.Errorf("%s: %s has %q %d times, want once; %v", m.rule, m.file, m.from, n, err)
		}
	}
}
