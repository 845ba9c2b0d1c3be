package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// Schema implements [backend.Inspector].
func (b *Backend) Schema(ctx context.Context) (backend.Schema, error) {
	leave, err := b.enter()
	if err != nil {
		return backend.Schema{}, failed(ctx, "schema", err)
	}
	defer leave()
	s := backend.Schema{Known: len(migrations())}
	var text strings.Builder
	fmt.Fprintf(&text, "%s;\n", createMeta)
	for _, name := range migrations() {
		file, err := migrationFiles.ReadFile(name)
		if err != nil {
			return s, failed(ctx, "schema", err)
		}
		fmt.Fprintf(&text, "\n%s", file)
	}
	fmt.Fprintf(&text, "\nINSERT INTO plainjobs_meta (key, value) VALUES ('store', hex(randomblob(16))), ('schema', '%d');\n", s.Known)
	s.SQL = b.sql(text.String())
	err = b.read(ctx, func(q queryer) error {
		s.Stored, err = b.schemaVersion(ctx, q)
		return err
	})
	return s, failed(ctx, "schema", err)
}
