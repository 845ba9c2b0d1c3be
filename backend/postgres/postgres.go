// Package postgres implements [backend.Backend] on PostgreSQL 14 or later
// through database/sql.
//
// Programs open a store with backend/postgres/pgx, or with [New] on a *sql.DB
// of their own, with any driver.
//
// # Durability
//
// Pushes commit with synchronous_commit on, or what is stronger where the
// server says so; claims, completions and beats commit with it off, as losing
// them only repeats work. Pushes and completions of one process that come at
// the same time share a transaction and its fsync; pushes with MaxPending share
// one for each name, and pushes with unique or serial keys share none. Ticks of
// schedules,
// what an operator does, and jobs that failed for good are as durable as
// pushes.
//
// # Sharing
//
// Any number of processes on any number of hosts may use one database. The
// store's clock is the server's. It works through a pooler that lends
// connections by transaction, without LISTEN (see [Options.NoListen]).
//
// # Networks
//
// On a network that is silent, a call ends with its context if the driver's do:
// those of pgx do, those of lib/pq wait for an answer. The server ends a
// transaction of which it hears nothing for as long as the call could have taken,
// ten seconds at most, by idle_in_transaction_session_timeout, whatever the role
// has set, so that the locks of a host that was cut off hold up nobody. A claim
// whose jobs do not fit into the socket's buffer is not idle: it is ended when
// the system gives the connection up, for which the server has tcp_user_timeout.
//
// # Failover
//
// With several hosts in the DSN, and target_session_attrs=read-write, a store
// goes on with the server that took the primary's place. What was acknowledged
// is there if the server had synchronous_standby_names, and synchronous_commit is
// on; without, a failover loses the last moments of it. What was claimed or done
// in the last moments may run again in either case.
//
// # The dead
//
// The store is no [backend.DeathDetector]: that a worker's process has ended is known
// when its lease has. What a server sees of a process is its connections, such as
// one that holds an advisory lock for as long as its session lives. That a session
// has ended is no proof that the process has: a firewall, a pooler, a failover or
// an administrator ends it as well, and the process runs on with its jobs, which
// would then run twice, and be suspected of having killed a worker. Nor does a
// session end soon when a machine loses its power or its network, which is what
// a lease is for. Processes of one machine could watch each other by other means,
// but not by the database, and the machine's name is no proof that they share
// one.
//
// # Long transactions
//
// While any session of the database holds an old snapshot, no row that has died
// since can be removed, and claims must get past those of the jobs that were
// claimed since. A process that reads thousands of them for a claim remembers
// from where on there are others, and reads everything only about once a second;
// a job with a lower ID that another process makes claimable without a
// notification waits so long. Examine finds who holds a snapshot.
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
	"github.com/plainjobs/plainjobs/internal/latelog"
)

// Options of a Backend. The zero value is ready.
type Options struct {
	// Schema has all tables of the store, default "plainjobs". It is created
	// if it is missing. Lower-case letters, digits and underscores, 40 at
	// most.
	Schema string
	// Durability of pushes. The default is [backend.PowerLoss], what the
	// server's synchronous_commit gives and an fsync at least;
	// [backend.ProcessCrash] commits pushes with synchronous_commit off, so
	// that a crash of the server may lose those of the last moments.
	Durability backend.Durability
	// History says how long finished jobs are kept.
	History backend.History
	// Logger is told of what cannot be returned; nil is slog.Default().
	Logger *slog.Logger
	// NoMigrate has opening return an error that matches
	// backend.ErrSchemaTooOld where it would change the schema: for programs
	// that look into the queue of another one, which may be older.
	NoMigrate bool
	// NoListen leaves out LISTEN and NOTIFY: waiting workers look for jobs of
	// other processes once a second at the latest. Set it behind a pooler
	// that lends connections by transaction, and where transactions that
	// enqueue end by PREPARE TRANSACTION, which refuses NOTIFY.
	NoListen bool
	// Listen receives notifications, which database/sql cannot; nil is no
	// LISTEN. Packages of drivers set it. See [ListenFunc].
	Listen ListenFunc
}

// A ListenFunc listens on a channel, on a connection of its own, until ctx is
// done or the connection is cut, and returns why. It calls ready once it
// listens and then heard for each notification, with its payload. It is called
// again, after a while, when it has returned.
type ListenFunc func(ctx context.Context, channel string, ready func(), heard func(payload string)) error

// A Backend keeps jobs in a PostgreSQL database.
type Backend struct {
	db      *sql.DB
	ownsDB  bool
	driver  string
	opts    Options
	role    string // of the store's connections
	storeID string
	self    string // a random name of this handle, among those who notify
	texts   sync.Map

	pushes  batcher[*pushing]
	gates   gates
	dones   batcher[*completing]
	watch   listener
	marks   lowWaterMarks
	pruning sync.Mutex // held to prune
	auditor auditor
	fold    countCompactor
	limited atomic.Pointer[settings] // as read last; only for whom to wake
	special atomic.Int64             // until when claims are not plain, in Unix nanoseconds
	stuck   atomic.Int64             // until when all that waits may be locked, likewise
	single  atomic.Bool              // the driver takes one statement at a time

	calls  sync.RWMutex // held for reading by each call, for writing by Close
	closed bool
}

var (
	_ backend.Backend       = (*Backend)(nil)
	_ backend.Heartbeater   = (*Backend)(nil)
	_ backend.TxPusher      = (*Backend)(nil)
	_ backend.Reader        = (*Backend)(nil)
	_ backend.SettingsStore = (*Backend)(nil)
	_ backend.Scheduler     = (*Backend)(nil)
	_ backend.Operator      = (*Backend)(nil)
	_ backend.Waiter        = (*Backend)(nil)
	_ backend.Describer     = (*Backend)(nil)
	_ backend.Inspector     = (*Backend)(nil)
	_ backend.Transferer    = (*Backend)(nil)
	_ io.Closer             = (*Backend)(nil)
)

const defaultSchema = "plainjobs"

var validSchema = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

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
	if opts.Logger == nil {
		opts.Logger = latelog.Logger()
	}
	if opts.Schema == "" {
		opts.Schema = defaultSchema
	}
	if !validSchema.MatchString(opts.Schema) || strings.HasPrefix(opts.Schema, "pg_") {
		return opts, fmt.Errorf("%w: schema %q does not match %s, or begins with pg_", backend.ErrInvalid, opts.Schema, validSchema)
	}
	var err error
	opts.History, err = opts.History.Resolve()
	return opts, err
}

// New opens a store in the database of db, which stays the caller's to close
// and must not be closed before the store. Jobs can then be enqueued in the
// caller's transactions. The store never keeps one of db's connections while
// it waits, and shares db's limits with the application.
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

// Open is New for the packages of drivers: db is the store's, which closes it.
func Open(db *sql.DB, opts *Options) (*Backend, error) {
	b, err := open(db, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: open: %w", err), db.Close())
	}
	b.ownsDB = true
	return b, nil
}

// openWait bounds what opening may wait for others that open the same schema.
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
	b.pushes.flush, b.pushes.size = b.flushPushes, maxPushes
	b.dones.flush, b.dones.size = b.flushDones, maxDones
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
	return b, nil
}

// Describe says what the store promises.
func (b *Backend) Describe() backend.Description {
	return backend.Description{
		Store: "postgres (" + b.driver + ")", Durability: b.opts.Durability, Shared: true, MaxPayload: maxPayload,
	}
}

// Close waits for the calls that are under way, and is idempotent. It does not
// close a *sql.DB that was given to [New].
func (b *Backend) Close() error {
	b.watch.close()
	b.calls.Lock()
	defer b.calls.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.pushes.tasks.Wait() // of calls that did not wait for the answer
	b.gates.wait()
	b.dones.tasks.Wait()
	b.watch.wait()
	if !b.ownsDB {
		return nil
	}
	// A connection that the server has ended already is closed, too.
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

// sql returns a statement with the schema in place.
func (b *Backend) sql(query string) string {
	if b.opts.Schema == defaultSchema {
		return query
	}
	if text, ok := b.texts.Load(query); ok {
		return text.(string)
	}
	text := strings.ReplaceAll(query, defaultSchema+".", `"`+b.opts.Schema+`".`)
	if len(query) < 4096 { // longer ones are made, and run once
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
