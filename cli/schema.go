package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) schemaCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "schema",
		Short: "Print the SQL that makes the tables",
		Long: `Schema prints the SQL that makes the tables, for those who keep it beside that of
their application.`,
		Example: `  schema > schema.sql`,
		Args:    takes(0, 0),
	}
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		schema, _, err := p.schemaOf(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(s.out, schema.SQL)
		return err
	})
}
