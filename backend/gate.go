package backend

import (
	"context"
	"database/sql"
	"time"
)

// GateError is the beginning of the error text with which a gate cancels a job that waits for
// [WhenDone]. The figures follow it; see lifecycle.GateText.
const GateError = "not all jobs of the group are done: "

// NeedError is [GateError] of a job that waits for [NeedsDone].
const NeedError = "not all jobs that it depends on are done: "

// DeadlineError is the beginning of the error text of a job that is cancelled at the deadline of
// its gate; the gate's ID follows it.
const DeadlineError = "cancelled: the deadline has passed of group "

// The retention of gates. Reap deletes a gate that ended KeepGate ago if none of its members and
// waiters is stored any more. It deletes a [GroupGate] and a [FlowGate] at the latest KeepEnded after
// the end.
const (
	KeepGate  = time.Hour
	KeepEnded = 30 * 24 * time.Hour
)

// A When is the condition on which a gate lets a job run that waits behind it.
type When uint8

// The conditions.
const (
	// WhenDone holds at the gate's end if no member has failed or was cancelled. Otherwise the job
	// is Cancelled at the end, with [GateError] and the figures.
	WhenDone When = iota + 1
	// WhenEnded holds at the gate's end.
	WhenEnded
	// WhenFailed holds from the moment at which a member fails. If the gate ends and no member has
	// failed, the job is deleted. In gates of its own it counts as done then.
	WhenFailed
	// NeedsDone and NeedsEnded are WhenDone and WhenEnded of a job that depends on the members. The
	// error of NeedsDone begins with [NeedError].
	NeedsDone
	NeedsEnded
)

// Needs reports whether a job that waits for w depends on the members of its gate.
func (w When) Needs() bool { return w >= NeedsDone }

// A GateKind says what a gate is for.
type GateKind uint8

// The kinds. The members of the last three are what jobs of a flow depend on.
const (
	GroupGate GateKind = iota
	// FlowGate counts the jobs of a flow. History does not delete its finished members before the gate
	// has ended.
	FlowGate
	NeedGate
	// NeedEndGate is a NeedGate that counts in its parent as done, however it ended.
	NeedEndGate
	// HubGate is a NeedGate that counts in any number of gates: those that name it as Awaits.
	HubGate
)

// Gating says in which gates a job counts and behind which gate it waits; see [GateStore]. It is nil
// for a job without gates.
//
// A push fails with ErrNotFound if one of the gates does not exist, and with ErrGateEnded if one has
// ended or its deadline has passed. Delay and Expires of a job that waits count from the time at
// which its condition holds. A duplicate counts the job that has the unique key, by its state if it
// has ended, and does not change behind which gate it waits.
type Gating struct {
	// Gates are the gates in which the job counts, at most 64. Stores return them ascending.
	Gates []int64
	// Gate is the gate behind which the job waits, or has waited; zero means none. It is not one of
	// Gates.
	Gate int64
	When When // holds before the job may run; zero if Gate is
}

// A GateStore is a Backend with gates.
//
// A gate counts jobs that have not ended. Jobs count in it as its members, and other jobs, its
// waiters, wait behind it, Blocked, until their condition holds. A gate can be a member of another
// gate, its parent: it counts there as done if at its end no member has failed or was cancelled, and
// otherwise as failed.
//
// A gate is open until it is sealed and has no unfinished member. Then it has ended, once and for
// ever. Before that, a member that ends is counted by its state. If an operator retries it, it counts
// as unfinished again. A member that is deleted before it has ended counts as cancelled. Deleting a
// finished member changes no count. After the gate's end nothing changes its counts.
//
// The transaction that ends a job counts it in its gates, however the job ends. A waiter whose
// condition holds joins its serial key, and its Delay and Expires count from then. Many waiters may
// be let through in several transactions, the first of which counts the last member or follows soon.
// If a process dies between them, Reap continues. A store must not let a waiter run twice or forget
// it, whatever the number of members that end at once.
//
// A waiter that an operator cancels or deletes waits no longer. A finished waiter that is retried
// runs without regard to the gate. The caller must not let a job wait for itself through other gates.
type GateStore interface {
	// CreateGates stores gates and jobs in one transaction, all or none, as durably as a push, or
	// within the caller's transaction if tx is not nil; see [TxPusher]. A store without TxPusher
	// refuses a transaction.
	CreateGates(ctx context.Context, tx *sql.Tx, req GateRequest) (GateResult, error)
	// SealGates seals gates, in a transaction as CreateGates. A gate without unfinished members ends.
	// A sealed gate still takes new members until it ends. Sealing a gate again changes nothing. If
	// one of the gates does not exist, SealGates returns ErrNotFound and seals none.
	SealGates(ctx context.Context, tx *sql.Tx, ids []int64) error
	// PauseGates pauses gates, or with paused false resumes them, as durably as a push. A claim returns
	// no member of a paused gate: it makes such a job Blocked. When no gate of the job is paused any
	// more, the job waits as a job that its gate lets through, which may follow in several
	// transactions, as for waiters. Its RunAt and expiry do not change. Other members and waiters are
	// not affected: those that run go on, and a deadline counts. A gate that is created with a paused
	// parent is paused; otherwise gates that count in a paused gate are not. If one of the gates does
	// not exist, PauseGates returns ErrNotFound and changes none. A store may refuse PauseGates with an
	// error that matches [errors.ErrUnsupported].
	PauseGates(ctx context.Context, ids []int64, paused bool) error
	// Gates returns the gates that the query selects, newest ID first.
	Gates(ctx context.Context, query GateQuery) ([]GateInfo, error)
	// DeleteGates deletes those of the gates that have ended, let their waiters through, and were
	// counted in the gates that await them, but not their jobs. It returns the IDs of the deleted gates, ascending.
	DeleteGates(ctx context.Context, ids []int64) ([]int64, error)
}

// A NewGate is a gate to be created.
type NewGate struct {
	Label  string // for people; at most 255 bytes of UTF-8 without NUL
	Parent int64  // the gate in which this one counts, as in [Gating].Gates; zero means none
	// Awaits is a HubGate of the same request, and an earlier one, that counts in this gate; zero means
	// none.
	Awaits int64
	Kind   GateKind
	Sealed bool
	// Deadline is the time after which Reap seals the gate and cancels its unfinished members with
	// [DeadlineError], those that run as OpCancel does, and does the same to gates that count in it.
	// From then on no job can be added. Zero means none.
	Deadline time.Duration
}

// A GateRequest asks for gates, and for jobs that are pushed with them.
type GateRequest struct {
	Gates []NewGate // at least one
	// Jobs may name the new gates in Gates and Gate: −1−i stands for Gates[i]. So may the Parent and
	// the Awaits of a later gate.
	Jobs []NewJob
}

// A GateResult is the answer to a [GateRequest].
type GateResult struct {
	Gates []int64  // the IDs, greater than zero, in the order of the request; never used twice
	Jobs  []Pushed // as Push returns them
}

// A GateQuery selects gates. Zero fields do not filter.
type GateQuery struct {
	IDs    []int64 // at most 1000; a gate that does not exist is left out
	Parent int64   // only gates that count in this one
	Open   bool    // only gates that have not ended
	Needs  bool    // also gates of the last three kinds, which are left out without IDs and Parent
	Before int64   // only IDs below; for the next page, the last ID of the previous one
	Limit  int     // at most 1000; zero means 100
}

// A GateInfo is a stored gate. Counts of members include gates that count in it.
type GateInfo struct {
	ID     int64
	Label  string
	Parent int64
	Kind   GateKind
	// Awaits is the hub that counts in this gate, which may be deleted by now. Awaiting is set until the
	// end of the hub is counted, which may follow soon after that end, as waiters do.
	Awaits   int64
	Awaiting bool
	Sealed   bool
	Paused   bool
	Fired    bool // a member has failed: WhenFailed holds
	// Total is the number of members so far. Open of them have not ended.
	Total, Open, Done, Failed, Cancelled int64
	Waiting                              int64 // jobs that wait behind the gate now; Import ignores it
	CreatedAt                            time.Time
	EndedAt                              time.Time // zero until the gate has ended
	Deadline                             time.Time // zero if there is none
}
