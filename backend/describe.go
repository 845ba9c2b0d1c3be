package backend

import "strings"

// A Describer is a Backend that describes itself. A store without it has the
// zero [Description]: it keeps no optional field.
type Describer interface {
	Describe() Description
}

// Describe returns the description of b.
func Describe(b Backend) Description {
	if d, ok := b.(Describer); ok {
		return d.Describe()
	}
	return Description{}
}

// A Description is what a store promises.
type Description struct {
	// Store names the implementation and its driver in messages.
	Store string
	// Fields are the optional fields that the store keeps.
	Fields Fields
	// Durability of an acknowledged Push.
	Durability Durability
	// Shared reports whether several processes may use the store at once.
	Shared bool
	// MaxPayload is the size of the largest payload that the store can keep, in
	// bytes; zero means no limit.
	MaxPayload int
}

// Fields is a set of the fields of [NewJob] and [Settings] that a store need
// not keep. All other fields are mandatory.
type Fields uint32

// The optional fields.
const (
	FieldExpires    Fields = 1 << iota // NewJob.Expires and NewJob.ExpiresAt
	FieldUnique                        // NewJob.Unique
	FieldSerial                        // NewJob.Serial
	FieldMaxPending                    // NewJob.MaxPending
	FieldMaxRunning                    // Settings.MaxRunning
	FieldRate                          // Settings.Rate and Settings.Per
	FieldHistory                       // Settings.History
	FieldMaxCrashes                    // Settings.MaxCrashes
)

var fieldNames = []string{"Expires", "Unique", "Serial", "MaxPending", "MaxRunning", "Rate", "History", "MaxCrashes"}

// String returns the names of the fields, separated by commas.
func (f Fields) String() string {
	var names []string
	for i, name := range fieldNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Durability is what an acknowledged Push survives.
type Durability uint8

// The durabilities, weakest first.
const (
	// None survives nothing: the jobs live in the process.
	None Durability = iota
	// ProcessCrash survives a crash of the process, not of the machine.
	ProcessCrash
	// PowerLoss survives a power cut.
	PowerLoss
)

// String returns "none", "normal" or "full", after the settings that select
// it.
func (d Durability) String() string {
	switch d {
	case ProcessCrash:
		return "normal"
	case PowerLoss:
		return "full"
	}
	return "none"
}
