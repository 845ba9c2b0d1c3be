package mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Each file is one version of the schema, in the order of the names. A released file never
// changes. Each of its statements may run twice: the server commits before and after each
// statement that changes a table, and a program may die between two of them.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	createMeta = `
		CREATE TABLE IF NOT EXISTS plainjobs_meta (
			key_text varbinary(64) NOT NULL PRIMARY KEY,
			number   bigint        NOT NULL DEFAULT 0,
			value    varbinary(255) NOT NULL DEFAULT ''
		) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`
	// step counts the statements of the next version that have run.
	insertMeta = `
		INSERT IGNORE INTO plainjobs_meta (key_text, number, value)
		VALUES ('schema', 0, ''), ('step', 0, ''), ('settings', 1, ''), ('next_id', 0, ''), ('last_id', 0, ''), ('action_id', 0, ''), ('fold', 0, ''), ('import', 0, ''), ('store', 0, ?)`
	raiseStep   = `UPDATE plainjobs_meta SET number = ? WHERE key_text = 'step' AND number < ?`
	raiseSchema = `
		UPDATE plainjobs_meta s JOIN plainjobs_meta v SET s.number = 0, v.number = ?
		WHERE s.key_text = 'step' AND v.key_text = 'schema' AND v.number < ?`
	selectVersion = `SELECT number FROM plainjobs_meta WHERE key_text = ?`

	selectColumns = `
		SELECT COUNT(*), COALESCE(SUM(column_name IN ('key_text', 'number', 'value')), 0) FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = CONVERT(? USING utf8mb4)`
	selectTables = `
		SELECT table_name, COALESCE(engine, '') FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name LIKE CONVERT(? USING utf8mb4) ESCAPE '|' ORDER BY table_name`

	// A copy of the store has the same stored ID. The database or the server differs.
	selectStoreID = `
		SELECT CONCAT(value, ' ', DATABASE(), ' ', @@hostname, ' ', @@port) FROM plainjobs_meta WHERE key_text = 'store'`
)

func migrations() []string {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is constant
	}
	return names
}

var comment = regexp.MustCompile(`(?m)--.*$`)

// statements returns the statements of a version.
func statements(file string) (all []string, err error) {
	text, err := migrationFiles.ReadFile(file)
	for part := range strings.SplitSeq(comment.ReplaceAllString(string(text), ""), ";\n") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, strings.TrimSuffix(part, ";"))
		}
	}
	return all, err
}

// A schemaState says what exists of the tables.
type schemaState struct {
	meta          bool
	version, step int
}

// migrate brings the tables up to date. Current tables are only read. A program that finds
// tables half made continues where the other one ended.
func (b *Backend) migrate(ctx context.Context) error {
	have, err := b.stored(ctx, b.db)
	if err != nil {
		return err
	}
	if have.version < len(migrations()) {
		switch {
		case b.opts.NoMigrate && have.version == 0:
			return rejected{&noQueue{fmt.Sprintf("the database %s has no queue whose tables begin with %s; start the program that owns the queue, or run its "+
				"migrate command, to create it", b.server.database, b.opts.Prefix)}}
		case b.opts.NoMigrate:
			return rejected{fmt.Errorf("%w: the tables have version %d, and this program needs version %d; start the program that owns the queue, or "+
				"run its migrate command, to upgrade it", backend.ErrSchemaTooOld, have.version, len(migrations()))}
		}
		if err := b.upgrade(ctx); err != nil {
			return err
		}
	}
	if b.server.readOnly && !b.opts.NoMigrate { // some users may write nevertheless
		if _, err := b.db.ExecContext(ctx, b.sql(`UPDATE plainjobs_meta SET number = number WHERE key_text = 'step'`)); err != nil {
			return err
		}
	}
	err = b.scan(ctx, b.db, selectStoreID, nil, func(r *sql.Rows) error { return r.Scan(&b.storeID) })
	if err == nil && b.storeID == "" {
		err = rejected{fmt.Errorf("%w: the table %smeta has no store ID", backend.ErrCorrupt, b.opts.Prefix)}
	}
	return err
}

// upgrade runs the statements that are missing. One program at a time does so on a server.
func (b *Backend) upgrade(ctx context.Context) error {
	conn, err := b.acquire(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	name := fnv.New64a()
	_, _ = name.Write([]byte(b.server.database + "." + b.opts.Prefix))
	lock := fmt.Sprintf("plainjobs %016x", name.Sum64())
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("DO GET_LOCK('%s', %d)", lock, int(openWait/time.Second))); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("DO RELEASE_LOCK('%s')", lock)); err != nil {
			drop(conn)
		}
	}()
	t := &tx{b: b, ctx: ctx, conn: conn}
	have, err := b.stored(ctx, conn) // another program may have upgraded
	if err == nil && !have.meta {
		err = t.createMeta()
	}
	for i, file := range migrations() {
		if err == nil && i >= have.version {
			err = t.upgradeTo(i+1, file, have.step)
			have.step = 0
		}
	}
	return err
}

// createMeta creates the first table.
func (t *tx) createMeta() error {
	for name := range t.tables() {
		return t.b.errForeign("a table " + name)
	}
	_, err := t.exec(createMeta)
	if err == nil {
		_, err = t.exec(insertMeta, rand.Text())
	}
	if err == nil {
		_, err = t.conn.ExecContext(t.ctx, `COMMIT`) // the session may not commit by itself
	}
	return err
}

// tables returns the tables of the store that exist, and their engines.
func (t *tx) tables() map[string]string {
	names := map[string]bool{}
	for _, file := range migrations() {
		all, _ := statements(file)
		for _, text := range all {
			if name, ok := strings.CutPrefix(text, "CREATE TABLE IF NOT EXISTS "); ok {
				names[t.b.sql(strings.Fields(name)[0])] = true
			}
		}
	}
	found := map[string]string{}
	pattern := strings.ReplaceAll(t.b.opts.Prefix, "_", "|_") + "%"
	_ = t.each(selectTables, []any{pattern}, func(r *sql.Rows) error {
		var name, engine string
		err := r.Scan(&name, &engine)
		if names[name] {
			found[name] = engine
		}
		return err
	})
	return found
}

// upgradeTo runs the statements of a version, after the first done of them.
func (t *tx) upgradeTo(version int, file string, done int) error {
	all, err := statements(file)
	if err != nil {
		return err
	}
	for i, text := range all {
		if i < done {
			continue
		}
		// A column that exists was added before. MySQL has no ADD COLUMN IF NOT EXISTS.
		if _, err := t.exec(text); err != nil && number(err) != errColumnExists {
			return fmt.Errorf("%s, statement %d: %w", file, i+1, err)
		}
		if _, err := t.exec(raiseStep, i+1, i+1); err != nil {
			return err
		}
		if _, err := t.conn.ExecContext(t.ctx, `COMMIT`); err != nil {
			return err
		}
	}
	for name, engine := range t.tables() {
		if engine != "InnoDB" {
			return rejected{fmt.Errorf("%w: the table %s has the engine %s, although InnoDB was asked for; start the server without --skip-innodb, drop the table, "+
				"and open the queue again", backend.ErrInvalid, name, engine)}
		}
	}
	if _, err = t.exec(raiseSchema, version, version); err == nil {
		_, err = t.conn.ExecContext(t.ctx, `COMMIT`)
	}
	return err
}

// A noQueue is the error for a database without a queue when NoMigrate is set.
type noQueue struct{ text string }

func (e *noQueue) Error() string { return e.text }

// Is makes the error match [backend.ErrSchemaTooOld], like every schema that would have to
// change.
func (e *noQueue) Is(target error) bool { return target == backend.ErrSchemaTooOld }

// errForeign is the error for a database with tables of another program.
func (b *Backend) errForeign(what string) error {
	return rejected{fmt.Errorf("%w: the database %s has %s of another program: give the queue another prefix with mysql.Options.Prefix",
		backend.ErrInvalid, b.server.database, what)}
}

// stored returns what exists of the tables. It returns an error if they are newer than this
// program.
func (b *Backend) stored(ctx context.Context, q querier) (have schemaState, err error) {
	columns, ours := 0, 0
	err = b.scan(ctx, q, selectColumns, []any{b.opts.Prefix + "meta"}, func(r *sql.Rows) error { return r.Scan(&columns, &ours) })
	if err != nil || columns == 0 {
		return have, err
	}
	if columns != 3 || ours != 3 {
		return have, b.errForeign("a table " + b.opts.Prefix + "meta")
	}
	rows := 0
	for key, into := range map[string]*int{"schema": &have.version, "step": &have.step} {
		err = errors.Join(err, b.scan(ctx, q, selectVersion, []any{key}, func(r *sql.Rows) error {
			rows++
			return r.Scan(into)
		}))
	}
	have.meta = rows == 2 // otherwise a program died before it stored them
	if err == nil && have.version > len(migrations()) {
		err = rejected{fmt.Errorf("%w: the tables have version %d, and this program knows version %d; deploy a newer program",
			backend.ErrSchemaTooNew, have.version, len(migrations()))}
	}
	return have, err
}

// Schema implements [backend.Inspector].
func (b *Backend) Schema(ctx context.Context) (backend.Schema, error) {
	s := backend.Schema{Known: len(migrations())}
	var text strings.Builder
	text.WriteString(strings.TrimSpace(createMeta) + ";\n")
	for _, name := range migrations() {
		file, err := migrationFiles.ReadFile(name)
		if err != nil {
			return s, b.failed(ctx, "schema", err)
		}
		fmt.Fprintf(&text, "\n%s", file)
	}
	fmt.Fprintf(&text, "\n%s;\nUPDATE plainjobs_meta SET number = %d WHERE key_text = 'schema';\n",
		strings.Replace(strings.TrimSpace(insertMeta), "?", "REPLACE(UUID(), '-', '')", 1), s.Known)
	s.SQL = b.sql(text.String())
	err := b.read(ctx, "schema", func(q querier) error {
		have, err := b.stored(ctx, q)
		s.Stored = have.version
		return err
	})
	return s, err
}

// isStore reports whether the store's own connections now lead to the database with an ID:
// they may lead to another server since the store was opened.
func (b *Backend) isStore(ctx context.Context, storeID string) bool {
	// The caller may hold the pool's only connection.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	current := ""
	err := b.scan(ctx, b.db, selectStoreID, nil, func(r *sql.Rows) error { return r.Scan(&current) })
	return err == nil && current == storeID
}

// checkStore returns an error if a transaction is not in the store's database.
func (b *Backend) checkStore(ctx context.Context, q querier) error {
	storeID := ""
	err := b.scan(ctx, q, selectStoreID, nil, func(r *sql.Rows) error { return r.Scan(&storeID) })
	switch n := number(err); {
	case err == nil && (storeID == b.storeID || b.isStore(ctx, storeID)):
		return nil
	case err == nil, n == errNoTable, n == errNoSelected:
		return rejected{errors.Join(fmt.Errorf("%w: the transaction belongs to another database than this queue's, or to a copy of it", backend.ErrInvalid), err)}
	}
	return err
}
