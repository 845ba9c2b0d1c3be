// Package sqlite implements [backend.Backend] on SQLite through database/sql.
//
// Programs open a store with the Open function of a driver's package, for example
// backend/sqlite/modernc, or with [New] on their own *sql.DB, in whose transactions
// they can then enqueue jobs.
//
// # Durability
//
// The database is in WAL mode. Pushes commit with synchronous=FULL, so an
// acknowledged job survives a power cut. So do ticks of schedules, operations, and
// the ends of jobs that failed for good. Claims and completions commit with
// synchronous=NORMAL: losing them only repeats work. Concurrent requests of one
// process share a transaction and its fsync.
//
// # Waiting
//
// A push wakes a waiting worker of its process, which claims the job in the same
// transaction or right after it. Workers of other processes poll PRAGMA data_version
// every 150 ms, which notices all commits of all programs.
//
// On unix, a push also signals other processes. A store in which a worker has waited,
// or that was given a *sql.DB, has a datagram socket in the directory
// <database>-plainjobs, which has the mode 0700 and is removed when the last store is
// closed. It may be deleted at any time. Where it cannot be created, and on Windows,
// workers only poll. Processes that write at the same time queue for the write lock at
// the same directory.
//
// The commit of a transaction of the application sends no signal. After a push in one,
// waiting workers poll after 1, 2, 4 and more milliseconds for a quarter of a second,
// and then every 150 ms.
//
// # The application's transactions
//
// SQLite's write lock has no queue, and a busy store requests it all the time. So
// between two of its transactions a store checks whether connections of the
// application are in use, and lets the application go first, within [Options.Share].
// The store sees only the connections of the *sql.DB that was given to [New]. It also
// signals the stores of other processes; each of them then waits in the queue for the
// write lock on behalf of its own application. A *sql.DB that was not given to a store
// gets no share.
//
// # Sharing
//
// Any number of processes on one host may use one file. A process must open the file
// through one driver only, and must not open or close it by other means than SQLite:
// POSIX locks belong to a process and are lost when it closes any descriptor of the
// file (https://www.sqlite.org/howtocorrupt.html). The file must not be on a network
// file system.
//
// The files next to the database have its owner, group and mode. Programs of several
// users may share a database if their group may read and write it and may write to
// its directory.
//
// # Replacing the file
//
// The file must not be replaced or removed while a program has it open. Before a store
// acknowledges a job, it checks that its path still leads to the file that it has
// open. If not, it returns errors until the file is back or the program is restarted.
// Opening a database with a write-ahead log of another file is an error where that can
// be detected; see docs/backups.md.
package sqlite

import (
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/audit"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
	"github.com/plainjobs/plainjobs/internal/latelog"
)

// Options of a Backend. The zero value is ready.
type Options struct {
	// Durability of pushes. The default, [backend.PowerLoss], syncs each group of
	// pushes to disk. [backend.ProcessCrash] syncs at the next checkpoint, so a power
	// cut may lose the last acknowledged pushes, but never damages the file.
	Durability backend.Durability
	// History is the retention of finished jobs.
	History backend.History
	// Clock replaces time.Now. The clocks of all processes on one file must agree.
	Clock func() time.Time
	// Logger logs what no call can return. The default is slog.Default().
	Logger *slog.Logger
	// NoMigrate makes opening return an error that matches backend.ErrSchemaTooOld
	// where it would change the schema. It is for programs that inspect the queue of
	// another program, which may be older.
	NoMigrate bool
	// Prefix is the prefix of the tables' names: at most 31 lower-case letters, digits
	// and underscores. The default is "plainjobs_".
	Prefix string
	// Share is the largest part of the time, in percent, that a busy store leaves the
	// write lock to transactions of the application. The default is 25, the maximum 50.
	// A negative value is none. The store waits only while a connection of a *sql.DB
	// is in use that was given to New, in this process or, on unix, in another one.
	Share int
}

// A Backend stores jobs in a SQLite database.
type Backend struct {
	path    string    // empty if the database has no file
	callers *sql.DB   // the *sql.DB that was given to New, or nil
	anchor  *sql.Conn // of callers: it keeps a database in memory alive
	drv     sqldriver.Driver
	driver  string // for display
	library library
	opts    Options
	history backend.History
	storeID string

	writer   *writer
	readers  *sql.DB // nil if only the writer's connection sees the database
	watch    changeWatcher
	looked   atomic.Pointer[lookNames]
	notifier *host.Notifier
	release  func() // ends the registration of the file

	livenessLock *host.LivenessLock
	appQueue     *appQueue // nil unless New was given a database with a file
	stopListener func()

	calls   sync.RWMutex // held for reading by each call, for writing by Close
	closed  bool
	pruning sync.Mutex // held while pruning

	vacuumless atomic.Bool  // the file has no incremental vacuum
	stepped    atomic.Bool  // this process has met a job with steps
	fair       atomic.Bool  // this process has met a job with a fair key
	folded     atomic.Int64 // the first minute, in Unix seconds, that this process did not fold
	passing    atomic.Bool  // a transaction left waiters of gates for another one
	sweeper    atomic.Int64 // the gate after which the next Reap looks for gates to delete
	auditor    audit.Auditor
	audited    atomic.Pointer[readySpan] // the last span that it has checked
}

var (
	_ backend.Backend        = (*Backend)(nil)
	_ backend.Heartbeater    = (*Backend)(nil)
	_ backend.TxPusher       = (*Backend)(nil)
	_ backend.Reader         = (*Backend)(nil)
	_ backend.Waiter         = (*Backend)(nil)
	_ backend.DeathDetector  = (*Backend)(nil)
	_ backend.SettingsStore  = (*Backend)(nil)
	_ backend.Describer      = (*Backend)(nil)
	_ backend.Inspector      = (*Backend)(nil)
	_ backend.GateStore      = (*Backend)(nil)
	_ backend.ExportImporter = (*Backend)(nil)
	_ backend.StepStore      = (*Backend)(nil)
	_ io.Closer              = (*Backend)(nil)
)

const defaultPrefix = "plainjobs_"

var validPrefix = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,30}$`)

// resolve returns opts with its defaults, or an error matching ErrInvalid.
func (o *Options) resolve() (Options, error) {
	opts := Options{}
	if o != nil {
		opts = *o
	}
	switch opts.Durability {
	case backend.None:
		opts.Durability = backend.PowerLoss
	case backend.ProcessCrash, backend.PowerLoss:
	default:
		return opts, fmt.Errorf("%w: unknown durability %d", backend.ErrInvalid, opts.Durability)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = latelog.Logger()
	}
	switch {
	case opts.Share == 0:
		opts.Share = defaultShare
	case opts.Share > maxShare:
		return opts, fmt.Errorf("%w: Options.Share is %d percent; the maximum is %d", backend.ErrInvalid, opts.Share, maxShare)
	}
	if opts.Prefix == "" {
		opts.Prefix = defaultPrefix
	}
	if !validPrefix.MatchString(opts.Prefix) || strings.HasPrefix(opts.Prefix, "sqlite_") {
		return opts, fmt.Errorf("%w: Options.Prefix %q does not match %s, or begins with \"sqlite_\"", backend.ErrInvalid, opts.Prefix, validPrefix)
	}
	var err error
	opts.History, err = lifecycle.ResolveHistory(opts.History)
	return opts, err
}

// Describe returns what the store guarantees.
func (b *Backend) Describe() backend.Description {
	d := backend.Description{
		Store:      "sqlite (" + b.driver + ")",
		Durability: b.opts.Durability,
		Shared:     b.path != "",
		MaxPayload: b.maxPayload(),
		Fields: backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending |
			backend.FieldMaxRunning | backend.FieldRate | backend.FieldHistory | backend.FieldMaxCrashes | backend.FieldDrop | backend.FieldGates | backend.FieldFair,
	}
	if b.path == "" {
		d.Durability = backend.None
	}
	return d
}

// Close waits for the calls in progress and closes the store's connections. It may be
// called again. It does not close a *sql.DB that was given to [New], but moves the
// contents of the write-ahead log to the database file.
func (b *Backend) Close() error {
	b.writer.shut() // ends all waiting for the lock
	b.watch.close()
	b.calls.Lock()
	defer b.calls.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.appQueue != nil {
		b.stopListener()
		b.appQueue.close()
	}
	b.livenessLock.Close()
	b.notifier.Close()
	b.writer.lockQueue.Close()
	err := b.watch.disconnect()
	if b.readers != nil {
		err = errors.Join(err, b.readers.Close())
	}
	b.checkpoint()
	err = errors.Join(err, b.writer.disconnect())
	if b.anchor != nil {
		err = errors.Join(err, b.anchor.Close()) // back to the pool
	}
	if b.path != "" {
		removeFileRecord(b.path)
	}
	if b.release != nil {
		b.release()
	}
	if err != nil {
		return fmt.Errorf("sqlite: close: %w", err)
	}
	return nil
}

// enter keeps the store open until the returned function is called.
func (b *Backend) enter() (leave func(), err error) {
	b.calls.RLock()
	if b.closed {
		b.calls.RUnlock()
		return nil, backend.ErrClosed
	}
	return b.calls.RUnlock, nil
}

// sql returns a statement with the prefix of the tables.
func (b *Backend) sql(query string) string { return withPrefix(query, b.opts.Prefix) }

func withPrefix(query, prefix string) string {
	if prefix == defaultPrefix {
		return query
	}
	return strings.ReplaceAll(query, defaultPrefix, prefix)
}

// now returns the time in Unix microseconds.
func (b *Backend) now() int64 { return b.opts.Clock().UnixMicro() }

func instant(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
