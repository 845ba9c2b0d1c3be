package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// Each file is one version of the schema, in the order of their names. Released files
// never change.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	createMeta = `CREATE TABLE IF NOT EXISTS plainjobs_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID`

	hasMeta       = `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'plainjobs_meta'`
	hasColumns    = `SELECT count(*) = 2 FROM pragma_table_info('plainjobs_meta') WHERE name IN ('key', 'value')`
	hasStore      = `SELECT EXISTS (SELECT 1 FROM plainjobs_meta WHERE key = 'store')`
	selectVersion = `SELECT value FROM plainjobs_meta WHERE key = 'schema'`
	upsertMeta    = `INSERT INTO plainjobs_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
)

func migrations() []string {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is constant
	}
	return names
}

// migrate upgrades the schema in one transaction. So the schema is either old or new,
// even if the process is killed or several processes open the database. Migrate only
// reads a current schema.
func (b *Backend) migrate(ctx context.Context) error {
	done, version := false, 0
	err := b.read(ctx, func(q queryer) (err error) {
		version, err = b.schemaVersion(ctx, q)
		done = version == len(migrations())
		if err != nil || !done {
			return err
		}
		return scan(ctx, q, b.sql(selectStoreID), nil, func(r *sql.Rows) error { return r.Scan(&b.storeID) })
	})
	if err != nil || done {
		return err
	}
	if b.opts.NoMigrate && version == 0 {
		return &noQueue{text: fmt.Sprintf("the database has no queue: there are no tables %s*; a program that opens the "+
			"queue, or the command migrate, creates them", b.opts.Prefix)}
	}
	if b.opts.NoMigrate {
		return fmt.Errorf("%w: the tables %s* need version %d; start the program that they belong to, or run migrate, to "+
			"upgrade them", backend.ErrSchemaTooOld, b.opts.Prefix, len(migrations()))
	}
	err = b.writer.do(ctx, &request{op: "migrate", firm: true, full: true, run: func(t *tx) error { return b.runMigrations(ctx, t) }})
	if err != nil {
		return err
	}
	// Make the reader see the new tables. It would use its cached, empty schema if the
	// disk cannot be read later.
	return b.read(ctx, func(q queryer) error {
		_, err := b.schemaVersion(ctx, q)
		return err
	})
}

// runMigrations creates or upgrades the tables.
func (b *Backend) runMigrations(ctx context.Context, t *tx) error {
	version, err := b.schemaVersion(ctx, unmapped{t.w.conn})
	if err != nil {
		return err
	}
	run := func(query string, args ...any) error {
		_, err := t.w.conn.ExecContext(ctx, b.sql(query), args...)
		return err
	}
	if err := run(createMeta); err != nil {
		return err
	}
	if version == 0 {
		if err := run(upsertMeta, "store", rand.Text()); err != nil {
			return err
		}
	}
	for i, name := range migrations() {
		if i < version {
			continue
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return err
		}
		err = run(string(text))
		if version == 0 && primaryCode(err) == codeError {
			err = fmt.Errorf("%w: there are tables %[2]s* without %[2]smeta, so the file is damaged, or the tables "+
				"belong to another program and the queue needs another Options.Prefix: %[3]w", backend.ErrCorrupt, b.opts.Prefix, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := run(upsertMeta, "schema", fmt.Sprint(len(migrations()))); err != nil {
		return err
	}
	return scan(ctx, unmapped{t.w.conn}, b.sql(selectStoreID), nil, func(r *sql.Rows) error { return r.Scan(&b.storeID) })
}

// schemaVersion returns the version of the schema, or 0 if there is none.
func (b *Backend) schemaVersion(ctx context.Context, q queryer) (version int, err error) {
	tables := 0
	err = scan(ctx, q, b.sql(hasMeta), nil, func(r *sql.Rows) error { return r.Scan(&tables) })
	if err != nil || tables == 0 {
		return 0, err
	}
	// Another program may have a table with this name.
	ours := false
	err = scan(ctx, q, b.sql(hasColumns), nil, func(r *sql.Rows) error { return r.Scan(&ours) })
	if err == nil && ours {
		err = scan(ctx, q, b.sql(hasStore), nil, func(r *sql.Rows) error { return r.Scan(&ours) })
	}
	if err == nil && !ours {
		err = rejected{fmt.Errorf("%w: the database has a table %smeta of another program: set another sqlite.Options.Prefix",
			backend.ErrInvalid, b.opts.Prefix)}
	}
	if err != nil {
		return 0, err
	}
	err = scan(ctx, q, b.sql(selectVersion), nil, func(r *sql.Rows) error { return r.Scan(&version) })
	if err == nil && version > len(migrations()) {
		err = rejected{fmt.Errorf("%w: the tables %s* have version %d and this program supports %d: deploy a newer one",
			backend.ErrSchemaTooNew, b.opts.Prefix, version, len(migrations()))}
	}
	return version, err
}

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
