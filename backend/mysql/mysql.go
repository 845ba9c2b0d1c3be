// Package mysql implements [backend.Backend] on MariaDB 10.6 or later, and with the same SQL
// on MySQL 8.0 or later, through github.com/go-sql-driver/mysql.
//
//	store, err := mysql.Open("user:password@tcp(127.0.0.1:3306)/app", nil)
//	queue := plainjobs.New(store, nil)
//
// To enqueue jobs in the application's transactions, use [New] with the application's *sql.DB.
// The tests run on MariaDB 10.11. Nothing was run on MySQL. See docs/mariadb.md.
//
// # Durability
//
// Every commit is as durable as the server's innodb_flush_log_at_trx_commit and sync_binlog
// say; a transaction cannot choose. At the defaults an acknowledged push survives a power cut.
// Concurrent pushes of one process share a transaction, and so do concurrent completions.
// Pushes with keys, an expiry or MaxPending share none.
//
// # Transactions
//
// The store's own transactions are READ COMMITTED, whatever the server's default is. The store
// retries deadlocks and lock waits. A transaction of the application may have any isolation
// level; if the server rolls it back, the error matches backend.ErrUnavailable, and the
// application must repeat the transaction. If the connection is lost while a push commits, the
// store looks for the jobs on another connection, and returns an error only if it does not
// find them.
//
// # Sharing
//
// Any number of processes on any number of hosts may use one database. The store's clock is
// the server's. Each process draws blocks of IDs, so the IDs of different processes are not in
// the order of their pushes, and a process leaves a gap when it ends. Among jobs with a serial
// key, the ID decides.
//
// # What is missing
//
// The store cannot pause gates. The server notifies no waiting worker: pushes of the same process
// wake it at once, and other jobs are found by polling, at least once a second. The store does not
// implement [backend.DeathDetector]: a worker is dead when its lease has expired. Galera clusters
// are not supported.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/internal/audit"
	"github.com/plainjobs/plainjobs/backend/internal/group"
	"github.com/plainjobs/plainjobs/backend/internal/lease"
	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
	"github.com/plainjobs/plainjobs/internal/latelog"
)

// Options of a Backend. The zero value is ready.
type Options struct {
	// Prefix begins the names of all tables of the store. The default is "plainjobs_". It has
	// lower-case letters, digits and underscores, 32 at most.
	Prefix string
	// History says how long finished jobs are kept.
	History backend.History
	// Logger receives what cannot be returned as an error. The default is slog.Default().
	Logger *slog.Logger
	// NoMigrate makes opening return an error that matches backend.ErrSchemaTooOld instead of
	// creating or changing tables. It is for programs that inspect another program's queue.
	NoMigrate bool
}

// A Backend keeps jobs in a MariaDB or MySQL database.
type Backend struct {
	db      *sql.DB
	ownsDB  bool // and its sessions are READ COMMITTED
	batches bool // several statements may be sent at once
	opts    Options
	user    string // of the store's connections, as 'user'@'host'
	storeID string
	server  server
	room    int // the size of the payloads of one statement, in bytes
	texts   sync.Map
	cached  atomic.Int64 // the number of texts

	pushes      group.Queue[*pushing]
	completions group.Queue[*completing]
	ids         idSource
	leases      lease.Cache
	pruning     sync.Mutex // held while pruning
	auditor     audit.Auditor
	folded      atomic.Int64 // the first minute, in Unix seconds, that this process did not fold
	compactor   countCompactor
	set         atomic.Pointer[storedSettings] // as last read
	renewed     sync.Map                       // by worker ID, when its row was last renewed, as a time.Time
	stuck       atomic.Int64                   // all waiting jobs may be locked until then, in Unix nanoseconds
	watch       waiters
	folder      sqlstore.Folder
	overdue     sqlstore.Cursor // behind which the next Reap looks for overdue gates
	sweeper     atomic.Int64    // the gate after which the next Reap looks for gates to delete

	life       context.Context // until Close
	end        context.CancelFunc
	background sync.WaitGroup

	calls  sync.RWMutex // read-locked by each call, write-locked by Close
	closed bool
}

var (
	_ backend.Backend        = (*Backend)(nil)
	_ backend.Heartbeater    = (*Backend)(nil)
	_ backend.TxPusher       = (*Backend)(nil)
	_ backend.Reader         = (*Backend)(nil)
	_ backend.SettingsStore  = (*Backend)(nil)
	_ backend.Scheduler      = (*Backend)(nil)
	_ backend.Operator       = (*Backend)(nil)
	_ backend.Waiter         = (*Backend)(nil)
	_ backend.Describer      = (*Backend)(nil)
	_ backend.Inspector      = (*Backend)(nil)
	_ backend.ExportImporter = (*Backend)(nil)
	_ backend.StepStore      = (*Backend)(nil)
	_ backend.GateStore      = (*Backend)(nil)
	_ io.Closer              = (*Backend)(nil)
)

var validPrefix = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,31}$`)

// resolve returns opts with defaults, or an error that matches ErrInvalid.
func (o *Options) resolve() (Options, error) {
	opts := Options{}
	if o != nil {
		opts = *o
	}
	if opts.Logger == nil {
		opts.Logger = latelog.Logger()
	}
	if opts.Prefix == "" {
		opts.Prefix = defaultPrefix
	}
	if !validPrefix.MatchString(opts.Prefix) {
		return opts, fmt.Errorf("%w: prefix %q must match %s", backend.ErrInvalid, opts.Prefix, validPrefix)
	}
	var err error
	opts.History, err = lifecycle.ResolveHistory(opts.History)
	return opts, err
}

// New opens a store in the database of db, which must be opened with
// github.com/go-sql-driver/mysql. The caller closes db, after the store. Jobs can then be
// enqueued in the caller's transactions. The store changes no setting of db's sessions, and
// shares db's limits with the application. With interpolateParams=true in the DSN, a push
// takes fewer round trips.
func New(db *sql.DB, opts *Options) (*Backend, error) {
	if db == nil {
		panic("mysql: New with a nil *sql.DB")
	}
	b, err := open(db, false, false, opts)
	if err != nil {
		return nil, fmt.Errorf("mysql: new: %w", err)
	}
	return b, nil
}

// openWait bounds how long opening waits for other processes that open the same tables.
const openWait = 30 * time.Second

// firstBlockWait bounds how long opening waits for IDs.
const firstBlockWait = time.Second

func open(db *sql.DB, owned, batches bool, opts *Options) (*Backend, error) {
	o, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	b := &Backend{db: db, ownsDB: owned, batches: batches, opts: o}
	b.life, b.end = context.WithCancel(context.Background())
	b.pushes = group.Queue[*pushing]{Flush: b.flushPushes, Size: maxPushes, Grace: grace, Refused: refused}
	b.completions = group.Queue[*completing]{Flush: b.flushCompletions, Size: maxCompletions, Grace: grace, Refused: refused}
	ctx, cancel := context.WithTimeout(context.Background(), openWait)
	defer cancel()
	err = b.retry(ctx, func() error {
		err := b.checkServer(ctx)
		if err == nil {
			err = b.migrate(ctx)
		}
		return again(ctx, err)
	})
	if err != nil {
		b.end()
		return nil, redact(b.explain(kind(err)))
	}
	b.folder = sqlstore.Folder{Fold: b.foldGates, Open: b.openMarks, Watch: maxWatched}
	b.folder.Start()
	if !o.NoMigrate {
		first, cancel := context.WithTimeout(ctx, firstBlockWait)
		defer cancel()
		b.ids.drawing = make(chan struct{})
		_, _ = b.drawBlock(first, 0) // without a block, a push draws one
	}
	return b, nil
}

// keptFields are the optional fields that the store keeps.
const keptFields = backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending |
	backend.FieldMaxRunning | backend.FieldRate | backend.FieldHistory | backend.FieldMaxCrashes | backend.FieldDrop | backend.FieldGates | backend.FieldFair

// Describe implements [backend.Describer].
func (b *Backend) Describe() backend.Description {
	return backend.Description{
		Store: "mysql (" + b.server.product + ")", Durability: b.server.durability(), Shared: true, MaxPayload: b.server.maxPayload(),
		Fields: keptFields,
	}
}

// Close waits for calls in progress, and is idempotent. It does not close a *sql.DB that was
// given to [New].
func (b *Backend) Close() error {
	b.watch.close()
	b.calls.Lock()
	defer b.calls.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.end()
	b.background.Wait()
	b.pushes.Wait() // calls whose callers did not wait for the result
	b.completions.Wait()
	b.folder.Close()
	if !b.ownsDB {
		return nil
	}
	// The server may have ended a connection already.
	if err := b.db.Close(); err != nil && !broken(err) {
		return fmt.Errorf("mysql: close: %w", err)
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

func instant(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// microsOf returns a time as stored, 0 for the zero time.
func microsOf(t time.Time) int64 { return lifecycle.Micros(t) }

// Open opens the store in the database that dsn names, in the form of
// github.com/go-sql-driver/mysql: user:password@tcp(host:3306)/database?parameter=value. It
// also accepts a URL, mysql://user:password@host:3306/database?parameter=value or with the
// scheme mariadb. See [New].
//
// The sessions of the store are READ COMMITTED, wait 10 seconds for a lock, and interpolate
// parameters. On MariaDB the server ends a transaction that has been idle for 30 seconds, so
// that the locks of a disconnected host block no other.
func Open(dsn string, opts *Options) (*Backend, error) {
	db, batches, err := connect(dsn)
	if err != nil {
		return nil, fmt.Errorf("mysql: open: %w", err)
	}
	b, err := open(db, true, batches, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mysql: open: %w", err), db.Close())
	}
	return b, nil
}
