package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) schemaCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "schema [flags]",
		Short: "Print the SQL of the tables",
		Long: `Schema prints the SQL that creates the tables, e.g. to keep it with the application's
schema.`,
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
				Version int    `json:"version"` // of the schema in SQL
				SQL     string `json:"sql"`
			}{schema.Known, schema.SQL})
		}
		_, err = fmt.Fprint(s.out, schema.SQL)
		return err
	})
}
