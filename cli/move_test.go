package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
)

// The output of move, and its errors.
func TestMoveGolden(t *testing.T) {
	from, to := newWorld(t), newWorld(t)
	from.fill(t)
	to.pass(from.clock().Sub(to.clock()))
	if _, err := from.store.Reap(t.Context(), backend.ReapRequest{Dead: []int64{77}}); err != nil {
		t.Fatal(err)
	}
	stores := map[string]backend.Backend{"old": from.store, "new": to.store}
	open := func(_ context.Context, name string, create bool) (*plainjobs.Queue, error) {
		if stores[name] == nil {
			return nil, fmt.Errorf("there is no database %s (create %v)", name, create)
		}
		return plainjobs.New(stores[name], nil), nil
	}
	var b strings.Builder
	for _, command := range []string{
		"move old new", "move old new --json", "move new old", "move old old", "move missing new", "move old missing", "move old", "move a b c", "move --help",
	} {
		var out, err buffer
		root := &cobra.Command{Use: "app"}
		root.AddCommand(from.moveCommand(open))
		root.SetArgs(strings.Fields(command))
		root.SetOut(&out)
		root.SetErr(&err)
		status := Execute(root)
		fmt.Fprintf(&b, "$ app %s\n%s-- stderr\n%s-- status %d\n", command, out.String(), err.String(), status)
	}
	path := filepath.Join("testdata", "move.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || b.String() != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s (%v)", path, b.String(), want, err)
	}
	if got := to.must(t, 0, "stats"); !strings.Contains(got.out, "paused") {
		t.Errorf("after the move stats printed %s", got.out)
	}
}
