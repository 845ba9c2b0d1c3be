package check

import (
	"errors"
	"fmt"

	"github.com/plainjobs/plainjobs/backend"
)

// JobFields returns the optional fields that are set in j.
func JobFields(j *backend.NewJob) backend.Fields {
	var f backend.Fields
	if j.Expires != 0 || !j.ExpiresAt.IsZero() {
		f |= backend.FieldExpires
	}
	if j.Unique != (backend.Unique{}) {
		f |= backend.FieldUnique
	}
	if j.Serial != "" {
		f |= backend.FieldSerial
	}
	if j.Fair != "" {
		f |= backend.FieldFair
	}
	if j.MaxPending != 0 {
		f |= backend.FieldMaxPending
	}
	if j.Gating != nil {
		f |= backend.FieldGates
	}
	return f
}

// SettingsFields returns the optional fields that are set in s.
func SettingsFields(s *backend.Settings) backend.Fields {
	var f backend.Fields
	if s.MaxRunning != 0 {
		f |= backend.FieldMaxRunning
	}
	if s.Rate != 0 {
		f |= backend.FieldRate
	}
	h := s.History
	if h.DropDone || h.DropFailed {
		f |= backend.FieldDrop
	}
	if h.DropDone, h.DropFailed = false, false; h != (backend.History{}) {
		f |= backend.FieldHistory
	}
	if s.MaxCrashes != 0 {
		f |= backend.FieldMaxCrashes
	}
	return f
}

// Push returns an error if the store that d describes must refuse the jobs: what [NewJobs]
// or [Payloads] returns, or an error that matches [errors.ErrUnsupported] for a job with a
// field that the store does not keep.
func Push(d backend.Description, jobs []backend.NewJob) error {
	if err := NewJobs(jobs); err != nil {
		return err
	}
	if err := Payloads(jobs, d.MaxPayload); err != nil {
		return err
	}
	for i := range jobs {
		if err := Fields(d, &jobs[i]); err != nil {
			return fmt.Errorf("job %d: %w", i, err)
		}
	}
	return nil
}

// Fields returns an error that matches [errors.ErrUnsupported] if j has a field that the
// store does not keep.
func Fields(d backend.Description, j *backend.NewJob) error {
	if lacks := JobFields(j) &^ d.Fields; lacks != 0 {
		return fmt.Errorf("job %s: %w", j.Name, unsupported(d, lacks))
	}
	return nil
}

// Set returns an error if the store that d describes must refuse the settings: what
// [Settings] returns, or an error that matches [errors.ErrUnsupported] for a field that the
// store does not keep.
func Set(d backend.Description, settings []backend.Settings) error {
	if err := Settings(settings); err != nil {
		return err
	}
	for i := range settings {
		if lacks := SettingsFields(&settings[i]) &^ d.Fields; lacks != 0 {
			return fmt.Errorf("job %s: %w", settings[i].Name, unsupported(d, lacks))
		}
	}
	return nil
}

// SetOverride is [Set] for an override.
func SetOverride(d backend.Description, o backend.Override) error {
	if err := Override(o); err != nil {
		return err
	}
	fields := SettingsFields(&o.Settings)
	if len(o.Weights) > 0 {
		fields |= backend.FieldFair
	}
	if lacks := fields &^ d.Fields; lacks != 0 {
		return fmt.Errorf("job %s: %w", o.Name, unsupported(d, lacks))
	}
	return nil
}

func unsupported(d backend.Description, lacks backend.Fields) error {
	return fmt.Errorf("%w: the store %sdoes not keep %v: remove the option that sets it, or use another store",
		errors.ErrUnsupported, spaced(d.Store), lacks)
}

func spaced(store string) string {
	if store == "" {
		return ""
	}
	return store + " "
}
