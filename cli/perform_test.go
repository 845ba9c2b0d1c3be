package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs"
)

// With --wait perform waits for the job and prints its result.
func TestPerformWait(t *testing.T) {
	w := runWorld(t)
	w.bind(func(context.Context, string) error { return plainjobs.Cancel(errors.New("never \x1bmind")) })
	p := w.start(t, "work")
	if got := w.must(t, 0, "perform", "sum", "[1,2,3]", "--wait"); got.out != "6\n" {
		t.Errorf("the result is %s", got.out)
	}
	if got := w.must(t, 0, "perform", "sum", "[1,2]", "--wait", "--json"); !strings.Contains(got.out, `"state":"done"`) {
		t.Errorf("the job is %s", got.out)
	}
	w.stdin = strings.NewReader(`"from a file"`)
	if got := w.must(t, 1, "perform", "import", "-", "--wait"); !strings.Contains(got.err, `is cancelled: cancelled: never \x1bmind`) {
		t.Errorf("for a cancelled job it printed %s", got.err)
	}
	w.signals <- os.Interrupt
	p.wait(t, 0)
}
