package cli

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs"
)

// A record is the output of a job with --json.
type record struct {
	ID          int64             `json:"id"`
	Name        string            `json:"name"`
	State       string            `json:"state"`
	Attempt     int               `json:"attempt"`
	MaxAttempts int               `json:"max_attempts"`
	Failures    int               `json:"failures"`
	Crashes     int               `json:"crashes"`
	Suspect     bool              `json:"suspect"`
	Cancelling  bool              `json:"cancelling"`
	Priority    int16             `json:"priority"`
	CreatedAt   time.Time         `json:"created_at"`
	RunAt       time.Time         `json:"run_at"`
	StartedAt   *time.Time        `json:"started_at,omitempty"`
	FinishedAt  *time.Time        `json:"finished_at,omitempty"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
	UniqueKey   string            `json:"unique_key,omitempty"`
	SerialKey   string            `json:"serial_key,omitempty"`
	FairKey     string            `json:"fair_key,omitempty"`
	BlockedBy   int64             `json:"blocked_by,omitempty"`
	Groups      []int64           `json:"groups,omitempty"`
	CallbackOf  int64             `json:"callback_of,omitempty"`
	CallbackOn  string            `json:"callback_on,omitempty"`
	Worker      int64             `json:"worker,omitempty"`
	Progress    *progress         `json:"progress,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	// A payload that is not JSON, stored by another program, is shown in base64.
	Payload       json.RawMessage `json:"payload,omitempty"`
	PayloadBase64 []byte          `json:"payload_base64,omitempty"`
	Dropped       bool            `json:"payload_dropped,omitempty"`
	Result        json.RawMessage `json:"result,omitempty"`
	Errors        []failure       `json:"errors,omitempty"`
	Logs          []runLog        `json:"logs,omitempty"`
}

type progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// A runLog is what the handler of one run has logged.
type runLog struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Text    string    `json:"text"`
}

type failure struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
	Stack   string    `json:"stack,omitempty"`
	Took    float64   `json:"took_seconds,omitempty"`
	Worker  string    `json:"worker,omitempty"`
}

func recordOf(i *plainjobs.Info) *record {
	r := &record{
		ID: i.ID, Name: i.Name, State: i.State.String(), Attempt: i.Attempt, MaxAttempts: i.MaxAttempts,
		Failures: i.Failures, Crashes: i.Crashes, Suspect: i.Suspect, Cancelling: i.Cancelling, Priority: i.Priority,
		CreatedAt: i.CreatedAt, RunAt: i.RunAt, FinishedAt: some(i.FinishedAt), StartedAt: some(i.StartedAt), ExpiresAt: some(i.ExpiresAt),
		UniqueKey: i.UniqueKey, SerialKey: i.SerialKey, FairKey: i.FairKey, BlockedBy: i.BlockedBy,
		Groups: i.Groups, CallbackOf: i.CallbackOf, CallbackOn: i.CallbackOn, Worker: i.Worker, Metadata: i.Metadata,
	}
	if i.ProgressTotal != 0 || i.ProgressDone != 0 {
		r.Progress = &progress{i.ProgressDone, i.ProgressTotal}
	}
	switch r.Dropped = i.Dropped; {
	case i.Dropped:
	case plainJSON(i.Payload):
		r.Payload = i.Payload
	default:
		r.PayloadBase64 = i.Payload
	}
	if json.Valid(i.Result) {
		r.Result = i.Result
	}
	for _, e := range i.Errors {
		r.Errors = append(r.Errors, failure{e.Attempt, e.At, e.Error, e.Stack, e.Took.Seconds(), e.Worker})
	}
	for _, l := range i.Logs {
		r.Logs = append(r.Logs, runLog(l))
	}
	return r
}

func records(jobs []plainjobs.Info) []*record {
	all := []*record{}
	for i := range jobs {
		all = append(all, recordOf(&jobs[i]))
	}
	return all
}

// plainJSON reports whether an encoder keeps data as it is. An encoder replaces invalid
// UTF-8.
func plainJSON(data []byte) bool { return json.Valid(data) && utf8.Valid(data) }

// some returns nil for the zero time, so that JSON omits it.
func some(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
