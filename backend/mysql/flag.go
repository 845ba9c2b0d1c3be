package mysql

import "github.com/plainjobs/plainjobs/backend"

// A flag marks a job with data outside its row, so that claiming and settling a job without
// flags costs nothing more.
type flag int64

const (
	flagUnique       flag = 1 << iota // the job has, or had, a unique key
	flagUntilStarted                  // the job releases its unique key when it is claimed
	flagSerial
	flagCancelling // an operator cancelled the job while it ran
)

const (
	flagMember flag = 1 << (8 + iota) // the job counts in a gate
	flagWaiter                        // it has a row in gate_waiter
	flagBehind                        // it waits behind a gate
)

// flagsOfGates are the flags of jobs that have to do with gates.
const flagsOfGates = flagMember | flagWaiter

const (
	flagSteps flag = 1 << (12 + iota) // the job has steps
	flagWaits                         // it has a row in signal_wait, which counts while it is scheduled
	flagFair                          // it has a row in job_fair
)

const flagDropped flag = 1 << 20 // the payload was deleted when the job ended

// flagsAtEnd are the flags of jobs that other jobs may wait for.
const flagsAtEnd = flagUnique | flagSerial

func flagsOf(j *backend.NewJob) (f flag) {
	if j.Unique.Key != "" {
		f |= flagUnique
		if j.Unique.Scope == backend.UntilStarted {
			f |= flagUntilStarted
		}
	}
	if j.Serial != "" {
		f |= flagSerial
	}
	if j.Fair != "" {
		f |= flagFair
	}
	if g := j.Gating; g != nil {
		if len(g.Gates) > 0 {
			f |= flagMember
		}
		if g.Gate != 0 {
			f |= flagWaiter | flagBehind
		}
	}
	return f
}
