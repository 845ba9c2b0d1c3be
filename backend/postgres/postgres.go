// Package postgres implements [backend.Backend] on PostgreSQL 14 or later
// through database/sql.
//
// Programs open a store with backend/postgres/pgx, or with [New] on a *sql.DB
// of their own, with any driver.
//
// # Durability
//
// Pushes commit with synchronous_commit on, or with a stronger setting if the
// server has one. So do ticks of schedules, operators' changes and final failures.
// Claims, completions and heartbeats commit with it off, because losing them only
// repeats work. Concurrent pushes of one process share a transaction and its fsync;
// so do concurrent completions. Pushes with MaxPending share one for each name.
// Pushes with unique or serial keys share none.
//
// # Sharing
//
// Any number of processes on any number of hosts may use one database. The
// store's clock is the server's. The store works through a pooler that lends
// connections by transaction, but without LISTEN (see [Options.NoListen]).
//
// # Networks
//
// When the network stops delivering packets, a call through pgx ends with its
// context; a call through lib/pq waits for an answer. The server ends a transaction
// that has been idle for as long as the call could have taken, 10 seconds at most,
// so that the locks of a disconnected host block no other. The store sets
// idle_in_transaction_session_timeout for that, whatever the role has set. A claim
// whose jobs do not fit into the socket's buffer is not idle: it ends when the
// operating system gives up the connection, which the server's tcp_user_timeout
// controls.
//
// # Statement timeouts
//
// The store keeps to the role's statement_timeout, with one exception: a claim or a
// completion that it cancelled runs once more, with the time that the call may take.
// Otherwise a job that is too large to be read in time would block all others, and a
// result that is too large would never be stored.
//
// # Failover
//
// With several hosts in the DSN and target_session_attrs=read-write, a store
// continues on the server that replaced the primary. Acknowledged jobs are there if
// the old primary had synchronous_standby_names set and synchronous_commit on;
// otherwise a failover loses the most recent ones. Jobs claimed or completed just
// before the failover may run again in either case.
//
// # Dead workers
//
// The store does not implement [backend.DeathDetector]: a worker is dead when its lease
// has expired. The server sees a process only through its sessions. The end of a session
// does not prove the end of the process: a firewall, a pooler, a failover or an
// administrator may end it while the process keeps running its jobs. Those jobs
// would run twice, and become suspects. And when a machine
// loses power or network, its sessions do not end soon; leases cover that case.
//
// # Long transactions
//
// While any session of the database holds an old snapshot, vacuum cannot remove rows
// that died since, and claims must read past the index entries of spans claimed
// since. After a claim that has read thousands of them, later claims of the process
// begin at the last claimed job, and only about once a second a claim reads everything.
// Another process may make a job before that one claimable; the job then waits for the
// next such claim. Examine finds the session that holds a snapshot.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
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
	// Schema contains all tables of the store. The default is "plainjobs". It is
	// created if it does not exist. The name has lower-case letters, digits and
	// underscores, 40 at most.
	Schema string
	// Durability of pushes. The default is [backend.PowerLoss]: the server's
	// synchronous_commit, and at least an fsync. [backend.ProcessCrash] commits
	// pushes with synchronous_commit off, so a crash of the server may lose the
	// most recent ones.
	Durability backend.Durability
	// History says how long finished jobs are kept.
	History backend.History
	// Logger receives what cannot be returned as an error. The default is
	// slog.Default().
	Logger *slog.Logger
	// NoMigrate makes opening return an error that matches
	// backend.ErrSchemaTooOld instead of changing the schema. It is for programs
	// that inspect another program's queue, which may be older.
	NoMigrate bool
	// NoListen disables LISTEN and NOTIFY: waiting workers poll for jobs of other
	// processes at least once a second. Set it behind a pooler that lends
	// connections by transaction, and if transactions that enqueue end with
	// PREPARE TRANSACTION, which refuses NOTIFY.
	NoListen bool
	// Listen receives notifications, which database/sql cannot. Without it the
	// store does not listen. Driver packages set it. See [ListenFunc].
	Listen ListenFunc
}

// A ListenFunc listens on a channel, on its own connection, until ctx is done or the
// connection is cut, and returns the reason. It calls ready once it listens, and
// then notified for each notification, with its payload. When it has returned, the
// store calls it again after a delay.
type ListenFunc func(ctx context.Context, channel string, ready func(), notified func(payload string)) error

// A Backend keeps jobs in a PostgreSQL database.
type Backend struct {
	db      *sql.DB
	ownsDB  bool
	driver  string
	opts    Options
	role    string // the role of the store's connections
	storeID string
	self    string // a random name of this handle, the sender of its notifications
	texts   sync.Map

	pushes      group.Queue[*pushing]
	bounds      bounds
	completions group.Queue[*completing]
	folder      sqlstore.Folder
	watch       listener
	seeds       seedSource
	position    scanPosition
	leases      lease.Cache
	pruning     sync.Mutex      // held while pruning
	overdue     sqlstore.Cursor // behind which the next Reap looks for overdue gates
	sweeper     atomic.Int64    // the gate after which the next Reap looks for gates to delete
	auditor     audit.Auditor
	audited     atomic.Pointer[span] // the last span that it has checked
	folded      atomic.Int64         // the first minute, in Unix seconds, that this process did not fold
	compactor   countCompactor
	set         atomic.Pointer[storedSettings] // as last read
	special     atomic.Int64                   // claims skip claimPlain until then, in Unix nanoseconds
	tangled     atomic.Int64                   // claims skip claimLimited until then, in Unix nanoseconds
	asked       atomic.Pointer[askedNames]     // of the last claim
	stuck       atomic.Int64                   // all waiting jobs may be locked until then, in Unix nanoseconds
	single      atomic.Bool                    // the driver accepts one statement at a time

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
	_ backend.GateStore      = (*Backend)(nil)
	_ backend.StepStore      = (*Backend)(nil)
	_ io.Closer              = (*Backend)(nil)
)

const defaultSchema = "plainjobs"

var validSchema = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// resolve returns opts with defaults, or an error that matches ErrInvalid.
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
	if opts.Logger == nil {
		opts.Logger = latelog.Logger()
	}
	if opts.Schema == "" {
		opts.Schema = defaultSchema
	}
	if !validSchema.MatchString(opts.Schema) || strings.HasPrefix(opts.Schema, "pg_") {
		return opts, fmt.Errorf("%w: schema %q must match %s and not begin with pg_", backend.ErrInvalid, opts.Schema, validSchema)
	}
	var err error
	opts.History, err = lifecycle.ResolveHistory(opts.History)
	return opts, err
}

// New opens a store in the database of db. The caller closes db, after the store.
// Jobs can then be enqueued in the caller's transactions. The store holds none of
// db's connections while it waits, and shares db's limits with the application.
func New(db *sql.DB, opts *Options) (*Backend, error) {
	if db == nil {
		panic("postgres: New with a nil *sql.DB")
	}
	b, err := open(db, opts)
	if err != nil {
		return nil, fmt.Errorf("postgres: new: %w", err)
	}
	return b, nil
}

// Open is New for driver packages: the store owns db and closes it.
func Open(db *sql.DB, opts *Options) (*Backend, error) {
	b, err := open(db, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: open: %w", err), db.Close())
	}
	b.ownsDB = true
	return b, nil
}

// openWait bounds how long opening waits for other processes that open the same
// schema.
const openWait = 30 * time.Second

func open(db *sql.DB, opts *Options) (*Backend, error) {
	o, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	b := &Backend{
		db: db, opts: o,
		driver: strings.TrimPrefix(fmt.Sprintf("%T", db.Driver()), "*"),
		self:   fmt.Sprintf("%016x", rand.Uint64()),
	}
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
		return nil, Redact(b.explain(kind(err)))
	}
	b.watch.start(b)
	b.folder = sqlstore.Folder{Fold: b.foldGates, Open: b.openXacts, Watch: maxWatched}
	b.folder.Start()
	return b, nil
}

// keptFields are the optional fields that the store keeps.
const keptFields = backend.FieldExpires | backend.FieldUnique | backend.FieldSerial | backend.FieldMaxPending |
	backend.FieldMaxRunning | backend.FieldRate | backend.FieldHistory | backend.FieldMaxCrashes | backend.FieldDrop | backend.FieldGates | backend.FieldFair

// Describe implements [backend.Describer].
func (b *Backend) Describe() backend.Description {
	return backend.Description{
		Store: "postgres (" + b.driver + ")", Durability: b.opts.Durability, Shared: true, MaxPayload: maxPayload,
		Fields: keptFields,
	}
}

// Close waits for calls in progress, and is idempotent. It does not close a *sql.DB
// that was given to [New].
func (b *Backend) Close() error {
	b.watch.close()
	b.calls.Lock()
	defer b.calls.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.pushes.Wait() // calls whose callers did not wait for the result
	b.bounds.wait()
	b.completions.Wait()
	b.folder.Close()
	b.watch.wait()
	if !b.ownsDB {
		return nil
	}
	// The server may have ended a connection already.
	if err := b.db.Close(); err != nil && !broken(err) {
		return fmt.Errorf("postgres: close: %w", err)
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

// sql returns a statement with the schema filled in.
func (b *Backend) sql(query string) string {
	if b.opts.Schema == defaultSchema {
		return query
	}
	if text, ok := b.texts.Load(query); ok {
		return text.(string)
	}
	text := strings.ReplaceAll(query, defaultSchema+".", `"`+b.opts.Schema+`".`)
	if len(query) < 4096 { // longer ones are built at run time, and run once
		b.texts.Store(query, text)
	}
	return text
}

func instant(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

func instantOrZero(micros sql.NullInt64) time.Time {
	if !micros.Valid {
		return time.Time{}
	}
	return instant(micros.Int64)
}
