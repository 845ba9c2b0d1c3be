package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) schemaCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "schema [flags]",
		Short: "Print the SQL that makes the tables",
		Long: `Schema prints the SQL that makes the tables, for those who keep it beside that of
their application.`,
		Example: `  schema > schema.sql
  schema --json | jq .version`,
		Args: takes(0, 0),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		schema, _, err := p.schemaOf(ctx)
		switch {
		case err != nil:
			return err
		case s.json:
			return s.object(struct {
				Version int    `json:"version"` // of the tables that the SQL makes
				SQL     string `json:"sql"`
			}{schema.Known, schema.SQL})
		}
		_, err = fmt.Fprint(s.out, schema.SQL)
		return err
	})
}
