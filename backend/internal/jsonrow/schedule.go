package jsonrow

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A job is a backend.NewJob without its zero fields.
type job struct {
	Name             string
	Payload          []byte          `json:",omitempty"`
	Priority         int16           `json:",omitempty"`
	MaxAttempts      int             `json:",omitempty"`
	Delay            time.Duration   `json:",omitempty"`
	Expires          time.Duration   `json:",omitempty"`
	RunAt, ExpiresAt time.Time       `json:",omitzero"`
	Unique           backend.Unique  `json:",omitzero"`
	Serial           string          `json:",omitempty"`
	Fair             string          `json:",omitempty"`
	MaxPending       int             `json:",omitempty"`
	Metadata         []byte          `json:",omitempty"`
	Gating           *backend.Gating `json:"-"`
}

// StoredJobText encodes the job of a stored schedule for [StoredJob].
func StoredJobText(j backend.NewJob) string { return encode(job(j)) }

// StoredJob decodes the job of a stored schedule.
func StoredJob(text string) (backend.NewJob, error) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return backend.NewJob{}, fmt.Errorf("%w: the job of a schedule: %w", backend.ErrCorrupt, err)
	}
	return backend.NewJob(j), nil
}

// RunsText encodes the IDs of jobs for [Runs].
func RunsText(ids []int64) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(parts, ",")
}

// Runs decodes the last jobs of a schedule. An empty text is none.
func Runs(text string) (ids []int64, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		id, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: the jobs of a schedule: %w", backend.ErrCorrupt, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
