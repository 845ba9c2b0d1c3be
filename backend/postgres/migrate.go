package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Each file is one version of the schema, in the order of the names. A released
// file never changes.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

const selectServer = `
	SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), current_setting('server_encoding'),
		pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, current_user`

// minServer is the oldest supported release.
const minServer = 140000

// checkServer returns an error if the server cannot keep a queue.
func (b *Backend) checkServer(ctx context.Context) error {
	var number int64
	var version, encoding string
	var readOnly bool
	err := b.scan(ctx, b.db, selectServer, nil, func(r *sql.Rows) error { return r.Scan(&number, &version, &encoding, &readOnly, &b.role) })
	if err != nil {
		return err
	}
	return serverFault(number, version, encoding, readOnly)
}

// serverFault returns why a server cannot keep a queue, or nil.
func serverFault(number int64, version, encoding string, readOnly bool) error {
	switch {
	case number < minServer:
		return fmt.Errorf("%w: the server is PostgreSQL %s; a queue needs version 14 or later; upgrade the server", backend.ErrInvalid, version)
	case encoding != "UTF8":
		return fmt.Errorf("%w: the database has the encoding %s, which cannot store all text; create a database with ENCODING 'UTF8'", backend.ErrInvalid, encoding)
	case readOnly:
		return fmt.Errorf("%w: the server is a read-only replica, or default_transaction_read_only is set; a queue needs to write: connect to the primary "+
			"(target_session_attrs=read-write in the DSN)", backend.ErrUnavailable)
	}
	return nil
}

const (
	// The catalogue is queried, because a session may cache the result of a failed
	// name look-up.
	hasSchema = `
		SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::text),
			EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
				WHERE n.nspname = $1::text AND c.relname = 'meta')`
	// Another program's table meta may have other columns, or other values.
	hasColumns = `
		SELECT count(*) = 2 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1::text AND c.relname = 'meta' AND a.attname IN ('key', 'value') AND a.atttypid = 'text'::regtype`
	hasStore      = `SELECT EXISTS (SELECT 1 FROM plainjobs.meta WHERE key = 'store')`
	selectVersion = `SELECT value::bigint FROM plainjobs.meta WHERE key = 'schema'`

	// A copy (a restored dump, or a database made from a template) has the same stored
	// ID. The OIDs of the table and of the database differ.
	selectStoreID = `
		SELECT value || ' ' || tableoid::text || ' ' ||
			(SELECT oid::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
		FROM plainjobs.meta WHERE key = 'store'`

	// One process at a time migrates a schema.
	lockSchema = `SELECT pg_advisory_xact_lock(hashtextextended('plainjobs ' || $1::text, 0))`
	// An upgrade that began with a weaker lock, such as the one for an index, would
	// block transactions that have read and then wait for them: a deadlock.
	lockJobsTable = `LOCK TABLE plainjobs.job IN ACCESS EXCLUSIVE MODE`
	// Before version 6. Other transactions lock these in other orders: the upgrade
	// gives up all its locks before the server would find a deadlock, and tries again.
	lockOldTables = `
		SET LOCAL lock_timeout TO '200ms';
		LOCK TABLE plainjobs.workers, plainjobs.settings, plainjobs.jobs, plainjobs.keys, plainjobs.serials, plainjobs.gates, plainjobs.starts,
			plainjobs.progress, plainjobs.results, plainjobs.errors, plainjobs.counts, plainjobs.changes, plainjobs.schedules IN ACCESS EXCLUSIVE MODE`
	createMeta = `CREATE TABLE plainjobs.meta (key text PRIMARY KEY, value text NOT NULL)`
	upsertMeta = `
		INSERT INTO plainjobs.meta (key, value) VALUES ($1::text, $2::text)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value`
)

func migrations() []string {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is constant
	}
	return names
}

// A schemaState says what exists of a schema.
type schemaState struct {
	schema, tables bool
	version        int
}

// migrate brings the schema up to date in one transaction, so that a crash leaves
// either the old or the new schema. A current schema is only read.
func (b *Backend) migrate(ctx context.Context) error {
	have, err := b.stored(ctx, b.db)
	if err != nil {
		return err
	}
	if have.version < len(migrations()) {
		if b.opts.NoMigrate && have.version == 0 {
			return rejected{&noQueue{fmt.Sprintf("the database has no queue in the schema %s; start the program that owns the queue, or run its "+
				"migrate command, to create it", b.opts.Schema)}}
		}
		if b.opts.NoMigrate {
			return rejected{fmt.Errorf("%w: the schema %s has version %[4]d, and this program needs version %[3]d; start the program that owns the queue, or "+
				"run its migrate command, to upgrade it", backend.ErrSchemaTooOld, b.opts.Schema, len(migrations()), have.version)}
		}
		err := b.transact(ctx, true, func(t *tx) error {
			if _, err := t.exec(lockSchema, b.opts.Schema); err != nil {
				return err
			}
			have, err := b.stored(ctx, t.conn) // another process may have migrated
			if err != nil {
				return err
			}
			return b.upgrade(t, have)
		})
		if err != nil {
			return err
		}
	}
	err = b.scan(ctx, b.db, selectStoreID, nil, func(r *sql.Rows) error { return r.Scan(&b.storeID) })
	if err == nil && b.storeID == "" {
		err = fmt.Errorf("%w: the schema %s has no store ID", backend.ErrCorrupt, b.opts.Schema)
	}
	return err
}

func (b *Backend) upgrade(t *tx, have schemaState) error {
	if !have.schema {
		if _, err := t.exec(`CREATE SCHEMA "` + b.opts.Schema + `"`); err != nil {
			return err
		}
	}
	if !have.tables {
		if _, err := t.exec(createMeta); err != nil {
			return err
		}
		if _, err := t.exec(upsertMeta, "store", rand.Text()); err != nil {
			return err
		}
	}
	if 0 < have.version && have.version < len(migrations()) {
		lock := lockJobsTable
		if have.version < 6 {
			lock = lockOldTables
		}
		if _, err := t.exec(lock); err != nil {
			return err
		}
	}
	for i, name := range migrations() {
		if i < have.version {
			continue
		}
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return err
		}
		_, err = t.exec(string(text))
		switch c := code(err); {
		case have.version == 0 && (c == codeSameTable || c == codeSameObject || c == codeSameFunction):
			return fmt.Errorf("%w: %w", b.errForeign("objects"), err)
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err := t.exec(upsertMeta, "schema", fmt.Sprint(len(migrations())))
	return err
}

// A noQueue is the error for a database without a queue when NoMigrate is set.
type noQueue struct{ text string }

func (e *noQueue) Error() string { return e.text }

// Is makes the error match [backend.ErrSchemaTooOld], like every schema that would
// have to change.
func (e *noQueue) Is(target error) bool { return target == backend.ErrSchemaTooOld }

// errForeign is the error for a schema with tables of another program.
func (b *Backend) errForeign(what string) error {
	return rejected{fmt.Errorf("%w: the schema %q has %s of another program: give the queue its own schema with postgres.Options.Schema",
		backend.ErrInvalid, b.opts.Schema, what)}
}

// stored returns what exists of the schema. It returns an error if the schema is
// newer than this program.
func (b *Backend) stored(ctx context.Context, q querier) (have schemaState, err error) {
	err = b.scan(ctx, q, hasSchema, []any{b.opts.Schema}, func(r *sql.Rows) error { return r.Scan(&have.schema, &have.tables) })
	if err != nil || !have.tables {
		return have, err
	}
	ours := false
	err = b.scan(ctx, q, hasColumns, []any{b.opts.Schema}, func(r *sql.Rows) error { return r.Scan(&ours) })
	if err == nil && ours {
		err = b.scan(ctx, q, hasStore, nil, func(r *sql.Rows) error { return r.Scan(&ours) })
	}
	if err == nil && !ours {
		err = b.errForeign("a table meta")
	}
	if err != nil {
		return have, err
	}
	err = b.scan(ctx, q, selectVersion, nil, func(r *sql.Rows) error { return r.Scan(&have.version) })
	if err == nil && have.version > len(migrations()) {
		err = rejected{fmt.Errorf("%w: the schema %s has version %d, and this program knows version %d; deploy a newer program",
			backend.ErrSchemaTooNew, b.opts.Schema, have.version, len(migrations()))}
	}
	return have, err
}

// Schema implements [backend.Inspector].
func (b *Backend) Schema(ctx context.Context) (backend.Schema, error) {
	s := backend.Schema{Known: len(migrations())}
	var text strings.Builder
	fmt.Fprintf(&text, "CREATE SCHEMA IF NOT EXISTS \"%s\";\n%s;\n", b.opts.Schema, createMeta)
	for _, name := range migrations() {
		file, err := migrationFiles.ReadFile(name)
		if err != nil {
			return s, b.failed(ctx, "schema", err)
		}
		fmt.Fprintf(&text, "\n%s", file)
	}
	fmt.Fprintf(&text, "\nINSERT INTO plainjobs.meta (key, value) VALUES ('store', md5(random()::text)), ('schema', '%d');\n", s.Known)
	s.SQL = b.sql(text.String())
	err := b.read(ctx, "schema", func(q querier) error {
		have, err := b.stored(ctx, q)
		s.Stored = have.version
		return err
	})
	return s, err
}

// isStore reports whether the store's own connections now lead to the database with
// an ID: they may lead to another server since the store was opened.
func (b *Backend) isStore(ctx context.Context, storeID string) bool {
	// The caller may hold the pool's only connection.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	now := ""
	err := b.scan(ctx, b.db, selectStoreID, nil, func(r *sql.Rows) error { return r.Scan(&now) })
	return err == nil && now == storeID
}

// checkStore returns an error if a transaction is not in the store's database.
func (b *Backend) checkStore(ctx context.Context, q querier) error {
	storeID := ""
	err := b.scan(ctx, q, selectStoreID, nil, func(r *sql.Rows) error { return r.Scan(&storeID) })
	switch c := code(err); {
	case err == nil && (storeID == b.storeID || b.isStore(ctx, storeID)):
		return nil
	case err == nil, c == codeNoTable, c == codeNoSchema:
		return rejected{errors.Join(fmt.Errorf("%w: the transaction belongs to another database than this queue's, or to a copy of it", backend.ErrInvalid), err)}
	}
	return err
}
