package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/check"
)

func (p *program) signalCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "signal NAME KEY [JSON]",
		Short: "Send a signal to the jobs that wait for it",
		Long: `Signal sends a value, null without JSON, to the jobs that wait for the signal with the
key, and to those that will. A signal can be sent once for each key. The value is not
checked against the type that the program expects.`,
		Example: `  signal approval "order 7" '{"By":"Ada"}'`,
		Args:    takes(2, 3),
	}
	return p.command(c, func(ctx context.Context, s *screen, args []string) error {
		name, key, value := args[0], args[1], json.RawMessage("null")
		if len(args) == 3 {
			value = json.RawMessage(args[2])
		}
		if err := check.Name(name); err != nil {
			return fmt.Errorf("signal: %w", err)
		}
		if !json.Valid(value) {
			return fmt.Errorf("the value of the signal, %.80q, is not JSON", string(value))
		}
		q, done, err := p.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		err = plainjobs.DefineSignal[json.RawMessage](name).Send(ctx, q, key, value)
		if errors.Is(err, plainjobs.ErrDuplicate) {
			return nothing("signal %s %q was sent already", name, key)
		}
		if err == nil {
			_, err = fmt.Fprintf(s.out, "sent signal %s %q\n", name, key)
		}
		return err
	})
}
