package backend

import "strings"

// A Describer is a Backend that describes itself. Without it, [Describe] returns the zero
// Description: the store keeps no optional field.
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
	Store      string     // names the implementation and its driver in messages
	Fields     Fields     // the optional fields that the store keeps
	Durability Durability // of an acknowledged Push
	Shared     bool       // several processes may use the store at once
	MaxPayload int        // the size of the largest payload, in bytes; zero means no limit
}

// Fields is a set of the fields of [NewJob] and [Settings] that a store may decline. All others are
// mandatory.
type Fields uint32

// The optional fields.
const (
	FieldExpires    Fields = 1 << iota // NewJob.Expires and NewJob.ExpiresAt
	FieldUnique                        // NewJob.Unique
	FieldSerial                        // NewJob.Serial
	FieldMaxPending                    // NewJob.MaxPending
	FieldMaxRunning                    // Settings.MaxRunning
	FieldRate                          // Settings.Rate and Settings.Per
	FieldHistory                       // Settings.History, but for FieldDrop
	FieldMaxCrashes                    // Settings.MaxCrashes
	FieldGates                         // NewJob.Gating; a store that keeps it is a GateStore
	FieldDrop                          // History.DropDone and History.DropFailed
	FieldFair                          // NewJob.Fair and Override.Weights
)

var fieldNames = []string{"Expires", "Unique", "Serial", "MaxPending", "MaxRunning", "Rate", "History", "MaxCrashes", "Gates", "Drop", "Fair"}

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
	None         Durability = iota // the jobs live in the process
	ProcessCrash                   // a crash of the process, not of the machine
	PowerLoss                      // a power cut
)

// String returns "none", "normal" or "full", after the settings that select it.
func (d Durability) String() string {
	switch d {
	case ProcessCrash:
		return "normal"
	case PowerLoss:
		return "full"
	}
	return "none"
}
