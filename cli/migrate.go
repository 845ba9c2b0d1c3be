package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/backend"
)

func (p *program) migrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate [flags]",
		Short: "Create or update the tables",
		Long: `Migrate opens the store, creates or updates its tables in one transaction, and prints
their version. A program also does this when it opens the store; run migrate to do
it before a deployment.`,
		Example: `  migrate
  migrate --json`,
		Args: takes(0, 0),
	}
	jsonFlag(c)
	return p.command(c, func(ctx context.Context, s *screen, _ []string) error {
		schema, store, err := p.schemaOf(ctx)
		switch {
		case err != nil:
			return err
		case s.json:
			return s.object(struct {
				Store   string `json:"store"`
				Version int    `json:"version"`
			}{store, schema.Stored})
		}
		s.say("%s: the schema is up to date, at version %d", store, schema.Stored)
		return nil
	})
}

// schemaOf opens the store and returns its schema and its name.
func (p *program) schemaOf(ctx context.Context) (backend.Schema, string, error) {
	q, done, err := p.open(ctx)
	if err != nil {
		return backend.Schema{}, "", err
	}
	defer done()
	m, err := storeOf[backend.Inspector](q, "schema")
	if err != nil {
		return backend.Schema{}, "", err
	}
	schema, err := m.Schema(ctx)
	return schema, describe(q), err
}
