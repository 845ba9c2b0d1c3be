// Package sqlite implements [backend.Backend] on SQLite through database/sql.
//
// Programs open a store with the Open function of a driver's package, as
// backend/sqlite/modernc, or with [New] on a *sql.DB of their own, in whose
// transactions they can then enqueue jobs.
//
// # Durability
//
// The database is in WAL mode. Pushes commit with synchronous=FULL, so that an
// acknowledged job survives a power cut; claims and completions commit with
// NORMAL, as losing them only repeats work. Requests of one process that come
// at the same time share a transaction and its fsync. Ticks of schedules, what
// an operator does, and jobs that failed for good are as durable as pushes.
//
// # Waiting
//
// A worker of the process that pushes a job is woken by the push, and claims
// the job in the same transaction or right after it. Workers of other
// processes look at PRAGMA data_version every 150 ms, which notices every
// commit, by whatever program. On unix they are also rung for: a store in which
// somebody has waited, or that was given a *sql.DB, has a datagram socket in the
// directory <database>-plainjobs, of mode 0700, which goes when its last store is closed. It may be deleted at any
// time, and where it cannot be made, as on Windows, which has no such sockets,
// looking must do. After a push in a transaction of the application, whose
// commit nothing tells of, those who wait look after 1, 2, 4 and more
// milliseconds. Looking must do for a commit that comes later than a quarter of
// a second. Processes that want to write at the same time queue at the
// same directory.
//
// # The application's transactions
//
// SQLite gives its write lock to whoever asks at the right moment, and a busy queue
// asks all the time. So a store looks between two of its transactions whether
// connections of the application are in use, and lets the application go first,
// within [Options.Share]. It knows the connections of a *sql.DB that was given to
// [New]. Stores of other processes, which have a socket for that, are asked by the
// bell. A *sql.DB that no store was given gets the lock by luck.
//
// # Sharing
//
// Any number of processes on one host may use one file. One process must open
// a file through one driver only, must not open or close the file by other
// means than SQLite, and must not keep it on a network file system: POSIX
// locks are per process and lost when any descriptor of the file is closed
// (https://www.sqlite.org/howtocorrupt.html).
//
// The files beside the database have its owner, group and mode. Programs of
// several users may share a database that their group may read and write, in a
// directory that the group may write.
//
// # Replacing the file
//
// The file must not be replaced or removed while a program has it open. A store
// looks before it acknowledges a job whether its path still leads to the file that
// it has open. If not, it accepts nothing more and says so, until the file is back
// or the program is started again. A write-ahead log that another database file
// has left is an error of opening, where that can be told; see docs/backups.md.
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
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/audit"
	"github.com/plainjobs/plainjobs/backend/sqlite/internal/host"
	"github.com/plainjobs/plainjobs/internal/latelog"
)

// Options of a Backend. The zero value is ready.
type Options struct {
	// Durability of pushes. The default is [backend.PowerLoss], an fsync for
	// each group of pushes; [backend.ProcessCrash] leaves the fsync to the
	// next checkpoint, so that a power cut may lose the last acknowledged
	// pushes, but never damages the file.
	Durability backend.Durability
	// History says how long finished jobs are kept.
	History backend.History
	// Clock replaces time.Now. All processes on one file must agree.
	Clock func() time.Time
	// Logger is told of what cannot be returned; nil is slog.Default().
	Logger *slog.Logger
	// NoMigrate has opening return an error that matches
	// backend.ErrSchemaTooOld where it would change the schema: for programs
	// that look into the queue of another one, which may be older.
	NoMigrate bool
	// Prefix of the tables' names, default "plainjobs_". Lower-case letters,
	// digits and underscores, 31 at most.
	Prefix string
	// Share bounds how much of the time a busy store leaves the write lock to
	// transactions of the application, in percent, at most 50. The default is
	// 25; a negative one is none. The store waits for an application only while
	// a connection of a *sql.DB is in use that was given to New, in this process
	// or, on unix, in another one.
	Share int
}

// A Backend keeps jobs in a SQLite database.
type Backend struct {
	path    string    // empty if the database has no file
	callers *sql.DB   // what New was given
	anchor  *sql.Conn // of callers: it keeps their database in memory
	drv     sqldriver.Driver
	driver  string // for people
	library library
	opts    Options
	history backend.History
	storeID string

	writer   *writer
	readers  *sql.DB // nil if only the writer's connection sees the database
	watch    changeWatcher
	notifier *host.Notifier
	release  func() // of the file's entry in the process

	livenessLock *host.LivenessLock
	appQueue     *appQueue // nil unless New was given a database with a file
	stopListener func()

	calls   sync.RWMutex // held for reading by each call, for writing by Close
	closed  bool
	pruning sync.Mutex // held to prune
	auditor audit.Auditor
}

var (
	_ backend.Backend       = (*Backend)(nil)
	_ backend.Heartbeater   = (*Backend)(nil)
	_ backend.TxPusher      = (*Backend)(nil)
	_ backend.Reader        = (*Backend)(nil)
	_ backend.Waiter        = (*Backend)(nil)
	_ backend.DeathDetector = (*Backend)(nil)
	_ backend.SettingsStore = (*Backend)(nil)
	_ backend.Describer     = (*Backend)(nil)
	_ backend.Inspector     = (*Backend)(nil)
	_ backend.Transferer    = (*Backend)(nil)
	_ io.Closer             = (*Backend)(nil)
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
		return opts, fmt.Errorf("%w: a share of %d percent for the application; the most is %d", backend.ErrInvalid, opts.Share, maxShare)
	}
	if opts.Prefix == "" {
		opts.Prefix = defaultPrefix
	}
	if !validPrefix.MatchString(opts.Prefix) || strings.HasPrefix(opts.Prefix, "sqlite_") {
		return opts, fmt.Errorf("%w: table prefix %q does not match %s", backend.ErrInvalid, opts.Prefix, validPrefix)
	}
	var err error
	opts.History, err = opts.History.Resolve()
	return opts, err
}

// Describe says what the store promises.
func (b *Backend) Describe() backend.Description {
	d := backend.Description{
		Store:      "sqlite (" + b.driver + ")",
		Durability: b.opts.Durability,
		Shared:     b.path != "",
		MaxPayload: b.maxPayload(),
		Fields: backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending |
			backend.FieldMaxRunning | backend.FieldRate | backend.FieldHistory | backend.FieldMaxCrashes,
	}
	if b.path == "" {
		d.Durability = backend.None
	}
	return d
}

// Close waits for the calls that are under way, ends the store's connections
// and is idempotent. It does not close a *sql.DB that was given to [New], but moves the
// jobs out of the log into its file.
func (b *Backend) Close() error {
	b.writer.shut() // lets go of those who wait for the lock
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

// sql returns a statement with the tables' prefix in place.
func (b *Backend) sql(query string) string { return withPrefix(query, b.opts.Prefix) }

func withPrefix(query, prefix string) string {
	if prefix == defaultPrefix {
		return query
	}
	return strings.ReplaceAll(query, defaultPrefix, prefix)
}

// now is the store's clock in microseconds.
func (b *Backend) now() int64 { return b.opts.Clock().UnixMicro() }

func instant(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
