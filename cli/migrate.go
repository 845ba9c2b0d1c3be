package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/plainjobs/plainjobs/backend"
)

func (p *program) migrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate [flags]",
		Short: "Bring the tables up to date",
		Long: `Migrate opens the store, which makes its tables and brings them up to date in one
transaction, and prints their version. A program does so whenever it opens the
store: this is for those that want it done before they start.`,
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
		s.say("%s: the schema has version %d, which is the newest", store, schema.Stored)
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
