package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// NewJob returns the job with a payload, with the options of one performed with With. The
// error names every mismatch of the payload.
func NewJob(d *engine.Definition, data []byte) (backend.NewJob, error) {
	v, err := Decode(d, data)
	if err != nil {
		if all := Mismatches(d, data); len(all) > 1 {
			err = errors.New(strings.Join(all, "; "))
		}
		return backend.NewJob{}, fmt.Errorf("%w; the payload must be a %v, e.g. %s", err, d.Type, Example(d))
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return backend.NewJob{}, err
	}
	return d.NewJob(v, encoded)
}

// Unchecked returns a job with any JSON as its payload, without the keys that a type would
// give it. The definition is nil if the program does not define the job.
func Unchecked(d *engine.Definition, name string, data []byte) (backend.NewJob, error) {
	job := backend.NewJob{Name: name, Payload: data, MaxAttempts: plainjobs.DefaultMaxAttempts}
	if !json.Valid(data) {
		return job, errors.New("the payload is not valid JSON")
	}
	if d != nil {
		job.MaxAttempts, job.Priority, job.MaxPending = d.MaxAttempts, d.Priority, d.MaxPending
	}
	return job, nil
}
