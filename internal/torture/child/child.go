// Package child is the common part of the programs that torture tests kill,
// stop and starve. Two of the drivers cannot be linked into one program, so
// every driver has its own program.
//
// A child reads an [Order] from its input, then commands, and writes replies to
// its output, all as JSON values. When its input ends, the supervisor has
// ended, and the child ends at once.
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
	// Open is the Open function of a driver's package. Nil is the store in
	// memory.
	Open func(path string, opts *sqlite.Options) (*sqlite.Backend, error)
	// SQL is the driver's name in database/sql.
	SQL string
	// VFS is the name of a faulty VFS, and Disk makes it fail. Only the ncruces
	// driver has one.
	VFS  string
	Disk Disk
}

// An Order says what a child does for as long as it lives.
type Order struct {
	Role   Role
	Path   string // of the database
	Ledger string // file to which the child appends its runs; empty is none
	Seed   uint64

	Concurrency int
	Lease       time.Duration // of a worker; zero is the worker's default
	Grace       time.Duration
	// First is the number of a pusher's first task.
	First int64
	// Rounds bounds the work of a child that ends by itself. Until, if it is
	// not zero, bounds its time.
	Rounds int
	Until  time.Time
	// Repeat is the ledger of a pusher whose keyed batches are pushed again.
	// Empty is none.
	Repeat string
	// Point is where a child kills itself, see [Points], the Hit-th time that
	// it gets there.
	Point string
	Hit   int
	// Pause is how long a pusher waits between two pushes.
	Pause time.Duration
	// Normal is set if a pusher's pushes need not survive a power cut.
	Normal bool
	// Log is set if a worker's log goes into the ledger.
	Log bool
	// Offset is a file with the offset of the clock. Empty is none.
	Offset string
	// Keep is how long completed jobs are kept; zero is the store's default.
	Keep time.Duration
	// Ticks is set if a worker also has the schedules of [Tick].
	Ticks bool
}

// A Role is what a child does.
type Role string

// The roles.
const (
	// Work runs a worker until [OpStop].
	Work Role = "work"
	// Push pushes without end, and reports what was acknowledged.
	Push Role = "push"
	// Serve obeys commands, see [Command].
	Serve Role = "serve"
	// PushUnique pushes tasks with few unique keys.
	PushUnique Role = "pushunique"
	// Tick runs a worker with schedules.
	Tick Role = "tick"
	// Lin checks that the store's answers are linearizable.
	Lin Role = "lin"
	// Groups works on groups, and creates some.
	Groups Role = "groups"
	// Flows works on flows, and creates some.
	Flows Role = "flows"
	// Script calls every method of the store in turn.
	Script Role = "script"
)

// A Command asks a child for an operation.
type Command struct {
	Op    Op
	Tasks []Task        // to push
	Path  string        // of another database
	Mode  string        // of an operation that has several
	For   time.Duration // how long the operation goes on
	// Leases to settle.
	Leases []Lease
	// Method to cancel, at each Stride-th of its driver calls from Offset on.
	Method         string
	Stride, Offset int
	N              int // number of calls
	// Where the failing disk is, and how it fails.
	Where string
	Fault DiskFault
}

// A Lease is a lost lease.
type Lease struct{ ID, Token int64 }

// An Op is the operation of a command.
type Op string

// The operations.
const (
	// OpStop ends the child after it has released its jobs and closed the
	// store.
	OpStop Op = "stop"
	// OpPush pushes Tasks in one call.
	OpPush Op = "push"
	// OpCount counts the jobs by state.
	OpCount Op = "count"
	// OpList lists all jobs.
	OpList Op = "list"
	// OpCheck has SQLite check the database, and checks the invariants between
	// the tables.
	OpCheck Op = "check"
	// OpLock holds the write lock for a while.
	OpLock Op = "lock"
	// OpCheckpoint makes checkpoints for a while.
	OpCheckpoint Op = "checkpoint"
	// OpSettleStale completes jobs with lost leases, and counts in N those that
	// were accepted.
	OpSettleStale Op = "settlestale"
	// OpDuplicates looks for a while for jobs with the same unique key. Check
	// has the first ones, N is how often it looked.
	OpDuplicates Op = "duplicates"
	// OpSchedules lists the schedules. With the mode "stop" it then stops them.
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
	OpDeadline Op = "deadline"
	// OpFaultyDisk uses a store at Path while its disk fails.
	OpFaultyDisk Op = "faultydisk"
	// OpEffects counts the effects of handlers, see [ActionEffect].
	OpEffects Op = "effects"
	// OpSeal seals all groups, and counts in N those that have not ended.
	OpSeal Op = "seal"
	// OpGroups lists all groups.
	OpGroups Op = "groups"
	// OpVitals asks a worker for its number of goroutines.
	OpVitals Op = "vitals"
	// OpLimit bounds the size of files that the child writes to N bytes. Zero
	// lifts the bound.
	OpLimit Op = "limit"
)

// A Reply is the answer to a command, or a report.
type Reply struct {
	Ready  bool `json:",omitempty"` // the child has begun
	Locked bool `json:",omitempty"` // the child holds the lock
	// Limited is set when a limit is in force, or lifted.
	Limited bool `json:",omitempty"`
	Error   string
	// IDs of pushed jobs, and Numbers of their tasks.
	IDs     []int64 `json:",omitempty"`
	Numbers []int64 `json:",omitempty"`
	// Displaced is set if the file was not in its place when the push began.
	Displaced bool `json:",omitempty"`
	// WAL is the size of the write-ahead log after a push.
	WAL    int64            `json:",omitempty"`
	Counts map[string]int64 `json:",omitempty"` // by state
	Jobs   []Job            `json:",omitempty"`
	Groups []Group          `json:",omitempty"`
	// Schedules are the stored ones.
	Schedules []Schedule  `json:",omitempty"`
	Check     string      `json:",omitempty"` // "ok", or what is wrong
	N         int64       `json:",omitempty"`
	Late      int64       `json:",omitempty"` // ID of a job that waits for its lease to expire
	Lin       *lin.Report `json:",omitempty"`
	Exam      *Exam       `json:",omitempty"`
	Frames    int64       `json:",omitempty"` // pages that checkpoints moved
	Sweep     *Sweep      `json:",omitempty"`
	Endure    *DiskReport `json:",omitempty"`
	// Holds is the ID of a job that runs until its process ends.
	Holds int64 `json:",omitempty"`
	// Effects says how often each job has changed the database.
	Effects map[int64]int `json:",omitempty"`
	// Goroutines is how many the child has.
	Goroutines int `json:",omitempty"`
}

// A Job is a stored job.
type Job struct {
	ID       int64
	N        int64  // of its task; -1 if its payload is damaged
	Batch    int64  `json:",omitempty"` // its task's
	Size     int    `json:",omitempty"`
	Fails    int    `json:",omitempty"` // its task's
	Needs    string `json:",omitempty"` // the numbers of the tasks of which its task needs the results
	After    string `json:",omitempty"` // the same, of those after which it runs
	Sum      uint32 // of its payload
	State    string
	Failures int    `json:",omitempty"`
	Crashes  int    `json:",omitempty"`
	Suspect  bool   `json:",omitempty"`
	Name     string `json:",omitempty"` // of a schedule's job
	Tick     int64  `json:",omitempty"` // of a schedule's job, in microseconds
	Error    string `json:",omitempty"` // the last one, of a failed or cancelled job
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
	case PushUnique:
		return c.pushUnique(ctx)
	case Tick:
		return c.tick(ctx)
	case Groups, Flows:
		return c.group(ctx)
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
// after the child is killed.
func (c *child) say(r Reply) {
	c.mu.Lock()
	err := c.out.Encode(r)
	c.mu.Unlock()
	if err != nil {
		os.Exit(1) // the supervisor has ended
	}
}

// obey obeys the commands of a child that does not serve: it calls stop for
// [OpStop]. It ends the process when the supervisor has ended.
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

// queue opens the store and the ledger of a child.
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
	if c.Role != Serve { // warnings about the file system are expected
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return opts
}
