// Package child is what the programs have in common that a torture test kills,
// stops and starves. Two of the drivers cannot be linked into one program, so
// every driver has its own.
//
// A child reads an [Order] from its input, then commands, and writes replies to
// its output, all as JSON values. When its input ends, its supervisor is gone,
// and it ends at once.
package child

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/torture/lin"
)

// A Driver is what a child runs on.
type Driver struct {
	// Open is the Open of a driver's package; nil is the store in memory.
	Open func(path string, opts *sqlite.Options) (*sqlite.Backend, error)
	// SQL is the driver's name in database/sql.
	SQL string
	// VFS is a file layer of ours that the driver has, and Disk what makes
	// it fail. Only one of the drivers can have one.
	VFS  string
	Disk Disk
}

// An Order is what the supervisor asks of a child for as long as it lives.
type Order struct {
	Role   Role
	Path   string // of the database
	Ledger string // file to which the child appends what it does; empty is none
	Seed   uint64

	Concurrency int
	Lease       time.Duration // of a worker; zero is the worker's default
	Grace       time.Duration
	// First is the number of the first task that a pusher makes.
	First int64
	// Rounds is how much a child does that ends by itself, until a time if
	// that is not zero.
	Rounds int
	Until  time.Time
	// Repeat is the ledger of a pusher whose keyed batches are to be pushed
	// again; empty is none.
	Repeat string
	// Point is where a child kills itself, see [Points], the Hit-th time
	// that it comes there.
	Point string
	Hit   int
	// Pause is how long a pusher waits between two pushes.
	Pause time.Duration
	// Normal is set if a pusher's pushes need not survive a power cut.
	Normal bool
	// Log is set if a worker's log goes into the ledger.
	Log bool
	// Offset is a file with what is added to the clock; empty is none.
	Offset string
	// Keep is how long completed jobs are kept; zero is the store's default.
	Keep time.Duration
	// Ticks is set if a worker has schedules too, as [Tick] has.
	Ticks bool
}

// A Role is what a child does.
type Role string

// The roles.
const (
	// Work runs a worker until it is told to stop.
	Work Role = "work"
	// Push pushes as fast as it can, and says what was acknowledged.
	Push Role = "push"
	// Serve does what it is asked, see [Command].
	Serve Role = "serve"
	// Rival pushes tasks that keep each other out.
	Rival Role = "rival"
	// Tick runs a worker with schedules.
	Tick Role = "tick"
	// Lin checks that what the store answers is linearizable.
	Lin Role = "lin"
	// Script calls every method of the store in turn.
	Script Role = "script"
)

// A Command asks for something.
type Command struct {
	Op    Op
	Tasks []Task        // to push
	Path  string        // of another database
	Mode  string        // of a checkpoint, or of what else has several
	For   time.Duration // how long to go on
	// Leases to complete jobs with.
	Leases []Lease
	// Method to cancel, at each Stride-th of its driver calls from Offset on.
	Method         string
	Stride, Offset int
	N              int // how many calls to make
	// Where the disk is that fails, and how.
	Where string
	Fault DiskFault
}

// A Lease is one that was lost.
type Lease struct{ ID, Token int64 }

// An Op is what a command asks for.
type Op string

// The operations.
const (
	// OpStop ends the child in good order.
	OpStop Op = "stop"
	// OpPush pushes Tasks in one call.
	OpPush Op = "push"
	// OpCount counts the jobs by state.
	OpCount Op = "count"
	// OpList lists all jobs.
	OpList Op = "list"
	// OpCheck has SQLite check the database, and looks at what must hold
	// between the tables.
	OpCheck Op = "check"
	// OpLock holds the database locked.
	OpLock Op = "lock"
	// OpCheckpoint makes checkpoints.
	OpCheckpoint Op = "checkpoint"
	// OpSettleStale completes jobs by leases that were lost, and counts in N those
	// that were not refused.
	OpSettleStale Op = "haunt"
	// OpRivals looks for a while, again and again, for jobs that have one key
	// at once, says which in Check, and counts in N how often it looked.
	OpRivals Op = "rivals"
	// OpSchedules lists the schedules, and with the mode "stop" has the
	// workers leave them alone.
	OpSchedules Op = "schedules"
	// OpInspect opens the database at Path, pushes a job, lists and checks.
	OpInspect Op = "inspect"
	// OpCopy writes a copy of the database to Path.
	OpCopy Op = "copy"
	// OpExamine opens the database at Path and uses it.
	OpExamine Op = "examine"
	// OpSweep cancels Method at its driver calls.
	OpSweep Op = "sweep"
	// OpDeadline makes N calls whose contexts end at random moments.
	OpDeadline Op = "haste"
	// OpEndure uses a store at Path while its disk fails.
	OpEndure Op = "endure"
	// OpEffects counts the effects of handlers, see DeedEffect.
	OpEffects Op = "effects"
	// OpVitals asks a worker how it is.
	OpVitals Op = "vitals"
	// OpLimit bounds the size of files that the child writes to N bytes, or
	// lifts the bound if that is 0.
	OpLimit Op = "limit"
)

// A Reply is an answer, or news.
type Reply struct {
	Ready  bool `json:",omitempty"` // the child has begun
	Locked bool `json:",omitempty"` // the database is, from now on
	// Limited is set when a limit is in force or lifted.
	Limited bool `json:",omitempty"`
	Error   string
	// IDs of the tasks that were pushed, and Numbers of the tasks.
	IDs     []int64 `json:",omitempty"`
	Numbers []int64 `json:",omitempty"`
	// Adrift is set if the database was not in its place when the push began.
	Adrift bool `json:",omitempty"`
	// WAL is the size of the write-ahead log after a push.
	WAL    int64            `json:",omitempty"`
	Counts map[string]int64 `json:",omitempty"` // by state
	Jobs   []Job            `json:",omitempty"`
	// Schedules that are stored.
	Schedules []Schedule  `json:",omitempty"`
	Check     string      `json:",omitempty"` // what SQLite says; "ok"
	N         int64       `json:",omitempty"`
	Late      int64       `json:",omitempty"` // ID of a job that waits for its lease to be lost
	Lin       *lin.Report `json:",omitempty"`
	Exam      *Exam       `json:",omitempty"`
	Frames    int64       `json:",omitempty"` // that checkpoints have moved
	Sweep     *Sweep      `json:",omitempty"`
	Endure    *Endurance  `json:",omitempty"`
	// Holds is the ID of a job that is run, and ends with its process.
	Holds int64 `json:",omitempty"`
	// Effects are how often each job has changed the database.
	Effects map[int64]int `json:",omitempty"`
	// Goroutines that the child has.
	Goroutines int `json:",omitempty"`
}

// A Job is a stored job.
type Job struct {
	ID       int64
	N        int64  // of its task; -1 if its payload is damaged
	Batch    int64  `json:",omitempty"` // the task's too
	Size     int    `json:",omitempty"`
	Sum      uint32 // of its payload
	State    string
	Failures int    `json:",omitempty"`
	Crashes  int    `json:",omitempty"`
	Suspect  bool   `json:",omitempty"`
	Name     string `json:",omitempty"` // of a job that a schedule has pushed
	Tick     int64  `json:",omitempty"` // that it is for, in microseconds
	Error    string `json:",omitempty"` // the last, of a failed or cancelled job
}

// A child is one run of the program.
type child struct {
	Driver
	Order
	in  *json.Decoder
	out *json.Encoder
	mu  sync.Mutex // of out

	original os.FileInfo // the database that a pusher has opened

	onDriver *driverDisk // nil until it is needed
}

// Main is the main function of a child.
func Main(d Driver) {
	c := &child{Driver: d, in: json.NewDecoder(os.Stdin), out: json.NewEncoder(os.Stdout)}
	if err := c.in.Decode(&c.Order); err != nil {
		fmt.Fprintln(os.Stderr, "order:", err)
		os.Exit(2)
	}
	if err := c.run(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Role, err)
		os.Exit(1)
	}
}

func (c *child) run(ctx context.Context) error {
	switch c.Role {
	case Work:
		return c.work(ctx)
	case Push:
		return c.push(ctx)
	case Rival:
		return c.rival(ctx)
	case Tick:
		return c.tick(ctx)
	case Lin:
		return c.lin(ctx)
	case Serve:
		return c.serve(ctx)
	case Script:
		return c.script(ctx)
	}
	return fmt.Errorf("unknown role %q", c.Role)
}

// say writes a reply. It goes into the pipe in one piece, which stays readable
// when the child is killed.
func (c *child) say(r Reply) {
	c.mu.Lock()
	err := c.out.Encode(r)
	c.mu.Unlock()
	if err != nil {
		os.Exit(1) // the parent is gone
	}
}

// obey calls stop when the child is told to, and ends the process when the
// supervisor is gone.
func (c *child) obey(stop func()) {
	for {
		var cmd Command
		if err := c.in.Decode(&cmd); err != nil {
			os.Exit(1)
		}
		switch cmd.Op {
		case OpStop:
			stop()
		case OpVitals:
			c.say(Reply{Goroutines: runtime.NumGoroutine()})
		case OpLimit:
			r := Reply{Limited: true}
			if err := limitFiles(int64(cmd.N)); err != nil {
				r.Error = err.Error()
			}
			c.say(r)
		}
	}
}

// queue opens the store and the ledger of a child that does nothing special to
// either.
func (c *child) queue() (*plainjobs.Queue, *journal, error) {
	j, err := openJournal(c.Ledger)
	if err != nil {
		return nil, nil, err
	}
	b, err := c.Open(c.Path, c.options())
	if err != nil {
		return nil, nil, err
	}
	return plainjobs.New(b, nil), j, nil
}

// options returns the options of the store.
func (c *child) options() *sqlite.Options {
	opts := &sqlite.Options{Clock: c.clock(), History: backend.History{Done: c.Keep}}
	if c.Normal {
		opts.Durability = backend.ProcessCrash
	}
	if c.Role != Serve { // what it says of the file system is known
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return opts
}
