package postgres

// A flag marks a job with data outside its row, so that claiming and settling a
// job without flags costs nothing more.
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

const (
	flagSteps flag = 1 << (12 + iota) // the job has steps
	flagWaits                         // it has a row in signal_wait, which counts while it is scheduled
	flagFair                          // it has a row in job_fair
)

const flagHeld flag = 1 << 18 // a gate of the job was paused when it was to run; the job has flagBehind too

const flagDropped flag = 1 << 20 // the payload was deleted when the job ended

// flagsAtEnd are the flags of jobs that other jobs may wait for.
const flagsAtEnd = flagUnique | flagSerial

// flagsOfGates are the flags of jobs that have to do with gates.
const flagsOfGates = flagMember | flagWaiter
