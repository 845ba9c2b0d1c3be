package sqlite

// A flag marks what a job has beside its row, so that one without flags costs
// nothing more when it is claimed and settled.
type flag int64

const (
	flagUnique       flag = 1 << iota // it has, or had, a unique key
	flagUntilStarted                  // which it gives back when it is claimed
	flagSerial
	flagExpires  // it was pushed with an expiry
	flagMetadata // it has some
	flagResult
	flagProgress
	flagCancelling // an operator has cancelled it while it ran
)

// flagsAtEnd are those of jobs that others may wait for.
const flagsAtEnd = flagUnique | flagSerial

// flagsAtClaim are those of jobs with more to read or write at a claim.
const flagsAtClaim = flagUnique | flagUntilStarted | flagSerial | flagExpires | flagMetadata
