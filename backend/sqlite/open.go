package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
)

// readerConns is the number of connections for reading. One more polls for changes.
const readerConns = 4

// openWait bounds how long opening waits for processes that open the same file.
const openWait = 30 * time.Second

// Open opens the store in the file at path through a driver. It creates the file with
// mode 0600 if it does not exist. With the path ":memory:" the store is in memory and
// ends with Close. Applications call the Open function of a driver's package.
//
// Open returns an error if the path is a DSN, if the file is not a SQLite database, is
// read-only, has several hard links or is on a network file system, if the driver's
// SQLite is older than 3.51.3, and if the schema is newer than this package
// (ErrSchemaTooNew).
func Open(drv driver.Driver, path string, opts *Options) (*Backend, error) {
	if err := notDSN(path); err != nil {
		return nil, fmt.Errorf("sqlite: open: %w", err)
	}
	b, err := newBackend(drv, opts)
	if err == nil {
		if path == ":memory:" {
			c := &connector{driver: drv, dsn: ":memory:", pragmas: writerPragmas}
			b.writer.pool, b.writer.only = c.pool(1), true
			err = b.start()
		} else {
			err = b.openFile(drv, path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, kind(err))
	}
	return b, nil
}

// New opens a store in the database of db, so that jobs can be enqueued in the
// application's transactions. The application closes db. The store opens its own
// connections to the same file through the same driver, and keeps none of db's. For a
// database in memory or an encrypted one it cannot: then it uses one of db's
// connections for each group of writes, and the durability is that of db's setting of
// synchronous.
//
// New returns an error if db can only read (mode=ro, immutable=1, query_only) or sets
// another journal mode than WAL. It also returns an error for a database in memory
// that would be lost with a connection, such as ":memory:" behind a pool. Either all
// connections share the database, as with the DSN "file:/jobs?vfs=memdb", and New
// keeps one of them open. Or, with the driver modernc, db has at most one connection,
// which New keeps open as long as db. New logs a warning if transactions do not begin
// with BEGIN IMMEDIATE.
func New(db *sql.DB, opts *Options) (*Backend, error) {
	if db == nil {
		panic("sqlite: New with a nil *sql.DB")
	}
	b, err := open(db, opts)
	if err != nil {
		return nil, fmt.Errorf("sqlite: new: %w", err)
	}
	return b, nil
}

func open(db *sql.DB, opts *Options) (*Backend, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	path, err := mainFile(ctx, db)
	if err != nil {
		return nil, explain(kind(err))
	}
	b, err := newBackend(db.Driver(), opts)
	if err != nil {
		return nil, err
	}
	b.callers = db
	if path == "" {
		err = b.keepMemory(ctx, db)
	} else {
		err = checkWritable(ctx, db)
	}
	if err != nil {
		return nil, explain(kind(err))
	}
	if path != "" {
		b.writer.share.asks = b.asks
		err = b.openFile(db.Driver(), path)
		if err == nil {
			if err = b.checkCallers(ctx); err == nil {
				return b, nil
			}
			return nil, errors.Join(err, b.Close())
		}
		if primaryCode(err) != codeNotADB || !readable(ctx, db) {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		// The database is encrypted, and only db has the key.
		if b, err = newBackend(db.Driver(), opts); err != nil {
			return nil, err
		}
		b.callers = db
		if b.writer.file, err = currentFile(path); err != nil {
			return nil, err
		}
	}
	b.writer.pool, b.writer.borrow = db, true
	return b, b.start()
}

// mainFile returns the path of db's database. It is empty if there is no file.
func mainFile(ctx context.Context, db *sql.DB) (path string, err error) {
	err = scan(ctx, poolQueryer(db), "PRAGMA database_list", nil, func(r *sql.Rows) error {
		var seq, name, file sql.NullString
		if err := r.Scan(&seq, &name, &file); err != nil {
			return err
		}
		if name.String == "main" {
			path = file.String
		}
		return nil
	})
	if _, missing := os.Stat(path); missing != nil && path != "" && err == nil {
		path = "" // a name in memory, as ncruces gives it: a connection has made the file
	}
	return path, err
}

// readable reports whether db can read its database.
func readable(ctx context.Context, db *sql.DB) bool {
	return scan(ctx, poolQueryer(db), "SELECT count(*) FROM sqlite_schema", nil, func(*sql.Rows) error { return nil }) == nil
}

func newBackend(drv driver.Driver, opts *Options) (*Backend, error) {
	o, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	if drv == nil {
		return nil, fmt.Errorf("%w: the connector of the *sql.DB has no driver, which the store needs to open its own "+
			"connections: open the database with sql.Open", backend.ErrInvalid)
	}
	lib, wrapped := libraryOf(drv)
	b := &Backend{
		driver:       nameOfDriver(lib, wrapped),
		library:      lib,
		opts:         o,
		history:      o.History,
		notifier:     host.NewNotifier(""),
		livenessLock: host.NewLivenessLock(""),
		writer: &writer{
			prefix:    o.Prefix,
			names:     map[string]int64{},
			nameOf:    map[int64]string{},
			lockQueue: host.NewLockQueue(""),
			share:     share{percent: o.Share},

			log:     o.Logger,
			carries: int64(lib.maxPayload(false)),
		},
	}
	b.writer.onPush, b.writer.onWake, b.writer.onWoke = b.watch.announce, func(pushed []string) { b.watch.notify(pushed) }, b.signalPeers
	return b, nil
}

func (b *Backend) openFile(drv driver.Driver, path string) error {
	file, err := newDatabaseFile(path)
	if err != nil {
		return err
	}
	path, err = prepareFile(path, !b.opts.NoMigrate, b.opts.Logger)
	if err != nil {
		return err
	}
	if b.release, err = register(path, b.library); err != nil {
		return err
	}
	if err := checkLeftovers(path); err != nil {
		b.release()
		return explainPermission(path, err)
	}
	if host.IsShared(path) {
		if mode, err := modeOf(path); err == nil && mode == walMode {
			host.MakeSideFiles(path)
		}
	}
	b.drv, b.path, b.writer.path, b.writer.file, b.notifier = drv, path, path, file, host.NewNotifier(path)
	b.livenessLock = host.NewLivenessLock(path)
	b.writer.lockQueue = host.NewLockQueue(path)
	dsn := fileDSN(path)
	writer := connector{driver: drv, dsn: dsn, pragmas: writerPragmas, file: file}
	reader := connector{driver: drv, dsn: dsn, pragmas: readerPragmas, file: file}
	b.writer.pool = writer.pool(1)
	b.readers = reader.pool(readerConns + 1)
	if err := b.start(); err != nil {
		return explainPermission(path, err)
	}
	host.ShareSideFiles(path)
	recordFiles(path)
	b.writer.share.hasPeers = b.notifier.HasPeers
	if b.callers != nil {
		b.appQueue = newAppQueue(path, b.asks)
		b.stopListener = b.notifier.Listen(b.onSignal)
	}
	return nil
}

// asks reports whether a connection of the application is in use.
func (b *Backend) asks() bool { return b.callers.Stats().InUse > 0 }

// start checks the database and migrates it. If it fails, it closes the store.
func (b *Backend) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	err := b.checkVersion(ctx)
	if err == nil && b.path != "" {
		err = b.enterWAL(ctx)
	}
	if err == nil {
		err = b.migrate(ctx)
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, backend.ErrUnavailable) && (errors.Is(err, context.DeadlineExceeded) || busy(err)) {
		err = errLocked(b.path, lockWait, nil)
	}
	err = explain(kind(err))
	if closeErr := b.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	return err
}

// explain adds to an error what its result code means when a file is opened.
func explain(err error) error {
	switch primaryCode(err) {
	case codeNotADB:
		return fmt.Errorf("the file is not a SQLite database, or is encrypted: %w", err)
	case codeReadonly:
		return fmt.Errorf("the file, or its directory, is read-only; a queue must write: %w", err)
	}
	return err
}

// minVersion is the first version of SQLite without a bug that damages the file when
// one process checkpoints while another writes
// (https://www.sqlite.org/wal.html#walresetbug).
const minVersion = "3.51.3"

func (b *Backend) checkVersion(ctx context.Context) error {
	version := ""
	err := scan(ctx, poolQueryer(b.writer.pool), "SELECT sqlite_version()", nil,
		func(r *sql.Rows) error { return r.Scan(&version) })
	if err != nil {
		return err
	}
	if olderThan(version, minVersion) {
		return fmt.Errorf("the driver has SQLite %s; versions before %s can damage a database that several "+
			"processes write to: upgrade the driver", version, minVersion)
	}
	return nil
}

// olderThan compares versions such as "3.51.3".
func olderThan(version, than string) bool {
	a, b := strings.Split(version, "."), strings.Split(than, ".")
	for i := range b {
		x := 0
		if i < len(a) {
			x, _ = strconv.Atoi(a[i])
		}
		if y, _ := strconv.Atoi(b[i]); x != y {
			return x < y
		}
	}
	return false
}

// enterWAL sets the journal mode. Processes that open a new file at the same time may
// find it busy here, whatever busy_timeout is.
func (b *Backend) enterWAL(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	return retry(wait, time.Time{}, func() error {
		mode := ""
		read := func(r *sql.Rows) error { return r.Scan(&mode) }
		err := scan(ctx, poolQueryer(b.writer.pool), "PRAGMA journal_mode", nil, read)
		if err == nil && mode != "wal" {
			err = scan(ctx, poolQueryer(b.writer.pool), "PRAGMA journal_mode=WAL", nil, read)
		}
		if err == nil && mode != "wal" {
			err = fmt.Errorf("%w: SQLite keeps the journal mode %q, and a queue needs WAL", backend.ErrUnavailable, mode)
		}
		return err
	})
}
