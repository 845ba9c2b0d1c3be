package backend

import (
	"errors"
	"fmt"
	"strings"
)

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

	allFields = 1<<iota - 1
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

// Used returns the optional fields that are set in j.
func (j *NewJob) Used() Fields {
	var f Fields
	if j.Expires != 0 || !j.ExpiresAt.IsZero() {
		f |= FieldExpires
	}
	if j.Unique != (Unique{}) {
		f |= FieldUnique
	}
	if j.Serial != "" {
		f |= FieldSerial
	}
	if j.MaxPending != 0 {
		f |= FieldMaxPending
	}
	return f
}

// Used returns the optional fields that are set in s.
func (s *Settings) Used() Fields {
	var f Fields
	if s.MaxRunning != 0 {
		f |= FieldMaxRunning
	}
	if s.Rate != 0 {
		f |= FieldRate
	}
	if s.History != (History{}) {
		f |= FieldHistory
	}
	if s.MaxCrashes != 0 {
		f |= FieldMaxCrashes
	}
	return f
}

// CheckNewJobs returns an error if the store must refuse the jobs: one that
// matches [ErrInvalid] where [CheckNewJobs] or [CheckPayloads] finds a fault,
// or one that matches [errors.ErrUnsupported] for a job with a field that the
// store does not keep. A store calls it in Push before it writes.
func (d Description) CheckNewJobs(jobs []NewJob) error {
	if err := CheckNewJobs(jobs); err != nil {
		return err
	}
	if err := CheckPayloads(jobs, d.MaxPayload); err != nil {
		return err
	}
	for i := range jobs {
		if err := d.CheckFields(&jobs[i]); err != nil {
			return fmt.Errorf("job %d: %w", i, err)
		}
	}
	return nil
}

// CheckFields returns an error that matches [errors.ErrUnsupported] if j has a
// field that the store does not keep.
func (d *Description) CheckFields(j *NewJob) error {
	if d.Fields&allFields == allFields {
		return nil
	}
	if lacks := j.Used() &^ d.Fields; lacks != 0 {
		return fmt.Errorf("job %s: %w", j.Name, d.unsupported(lacks))
	}
	return nil
}

// CheckSettings returns an error that matches [ErrInvalid] where
// [CheckSettings] finds a fault, or one that matches [errors.ErrUnsupported]
// for a field that the store does not keep. A store calls it in Set before it
// writes.
func (d Description) CheckSettings(settings []Settings) error {
	if err := CheckSettings(settings); err != nil {
		return err
	}
	for i := range settings {
		if lacks := settings[i].Used() &^ d.Fields; lacks != 0 {
			return fmt.Errorf("job %s: %w", settings[i].Name, d.unsupported(lacks))
		}
	}
	return nil
}

func (d *Description) unsupported(lacks Fields) error {
	return fmt.Errorf("%w: the store %sdoes not keep %v: remove the option that sets it, or use another store",
		errors.ErrUnsupported, spaced(d.Store), lacks)
}

func spaced(store string) string {
	if store == "" {
		return ""
	}
	return store + " "
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
