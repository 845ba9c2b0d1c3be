package transfer

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/plainjobs/plainjobs/backend"
)

// formatVersion is the version of the lines that Export writes.
const formatVersion = 1

// A line is one line of an export. It has exactly one of the fields, and ends with the
// checksum of the text before it.
type line struct {
	Header   *headerLine   `json:"plainjobs,omitempty"`
	Setting  *settingLine  `json:"setting,omitempty"`
	Group    *groupLine    `json:"group,omitempty"`
	Job      *jobLine      `json:"job,omitempty"`
	Key      *keyLine      `json:"key,omitempty"` // of a deleted job, in older exports
	Schedule *scheduleLine `json:"schedule,omitempty"`
	Signal   *signalLine   `json:"signal,omitempty"`
	End      *endLine      `json:"end,omitempty"`
}

type headerLine struct {
	Version    int       `json:"version"`
	Store      string    `json:"store,omitempty"`
	ExportedAt time.Time `json:"exported_at"`
	LastID     int64     `json:"last_id"`
}

type endLine struct {
	Jobs      int64  `json:"jobs"`
	Keys      int64  `json:"keys,omitempty"`
	Schedules int64  `json:"schedules"`
	Settings  int64  `json:"settings"`
	Groups    int64  `json:"groups,omitempty"`
	Signals   int64  `json:"signals,omitempty"`
	Sum       string `json:"sha256"`
}

// A settingLine has durations in nanoseconds.
type settingLine struct {
	Name       string        `json:"name"`
	Paused     bool          `json:"paused,omitempty"`
	MaxRunning int           `json:"max_running,omitempty"`
	Rate       int           `json:"rate,omitempty"`
	Per        time.Duration `json:"per,omitempty"`
	KeepDone   time.Duration `json:"keep_done,omitempty"`
	KeepFailed time.Duration `json:"keep_failed,omitempty"`
	KeepRows   int           `json:"keep_rows,omitempty"`
	KeepBytes  int64         `json:"keep_bytes,omitempty"`
	DropDone   bool          `json:"drop_done,omitempty"`
	DropFailed bool          `json:"drop_failed,omitempty"`
	MaxCrashes int           `json:"max_crashes,omitempty"`
	Override   *overrideLine `json:"override,omitempty"`
}

// An overrideLine is what people set instead of the fields of its settingLine.
type overrideLine struct {
	MaxRunning  int           `json:"max_running,omitempty"`
	Rate        int           `json:"rate,omitempty"`
	Per         time.Duration `json:"per,omitempty"`
	KeepDone    time.Duration `json:"keep_done,omitempty"`
	KeepFailed  time.Duration `json:"keep_failed,omitempty"`
	KeepRows    int           `json:"keep_rows,omitempty"`
	KeepBytes   int64         `json:"keep_bytes,omitempty"`
	DropDone    bool          `json:"drop_done,omitempty"`
	DropFailed  bool          `json:"drop_failed,omitempty"`
	MaxCrashes  int           `json:"max_crashes,omitempty"`
	Concurrency int           `json:"concurrency,omitempty"`
	// Weights are those of fair keys.
	Weights map[string]int `json:"weights,omitempty"`
	By      string         `json:"by,omitempty"`
	At      *time.Time     `json:"at,omitempty"`
}

type keyLine struct {
	Name  string    `json:"name"`
	Key   string    `json:"key"`
	Job   int64     `json:"job"`
	Until time.Time `json:"until"`
}

type scheduleLine struct {
	Name       string     `json:"name"`
	Definition string     `json:"definition"`
	Next       time.Time  `json:"next"`
	Last       *time.Time `json:"last,omitempty"`
	Paused     bool       `json:"paused,omitempty"`
	RemovedAt  *time.Time `json:"removed_at,omitempty"`
	Runs       []int64    `json:"runs,omitempty"`
	Pushes     *tickLine  `json:"pushes,omitempty"` // only of a stored schedule
}

type jobLine struct {
	ID           int64       `json:"id"`
	Name         string      `json:"name"`
	State        string      `json:"state"`
	Priority     int16       `json:"priority,omitempty"`
	Failures     int         `json:"failures,omitempty"`
	MaxAttempts  int         `json:"max_attempts"`
	Crashes      int         `json:"crashes,omitempty"`
	Suspect      bool        `json:"suspect,omitempty"`
	Cancelling   bool        `json:"cancelling,omitempty"`
	CreatedAt    time.Time   `json:"created_at"`
	RunAt        time.Time   `json:"run_at"`
	FinishedAt   *time.Time  `json:"finished_at,omitempty"`
	ExpiresAt    *time.Time  `json:"expires_at,omitempty"`
	UniqueKey    string      `json:"unique_key,omitempty"`
	UntilStarted bool        `json:"until_started,omitempty"`
	KeyUntil     *time.Time  `json:"key_until,omitempty"`
	SerialKey    string      `json:"serial_key,omitempty"`
	FairKey      string      `json:"fair_key,omitempty"`
	Gating       *gatingLine `json:"group,omitempty"`
	Done         int64       `json:"done,omitempty"`
	Total        int64       `json:"total,omitempty"`
	Metadata     blob        `json:"metadata,omitempty"`
	Payload      blob        `json:"payload"`
	Dropped      bool        `json:"dropped,omitempty"`
	Result       *blob       `json:"result,omitempty"`
	Errors       []errorLine `json:"errors,omitempty"`
	Steps        []stepLine  `json:"steps,omitempty"`
	Sleeps       bool        `json:"sleeps,omitempty"`
	Waits        *signalLine `json:"waits,omitempty"`
}

type errorLine struct {
	Attempt int           `json:"attempt"`
	At      time.Time     `json:"at"`
	Error   string        `json:"error"`
	Stack   string        `json:"stack,omitempty"`
	Took    time.Duration `json:"took,omitempty"`
	Worker  string        `json:"worker,omitempty"`
}

// A blob is a byte slice: in JSON a string if it is text, and otherwise an object with
// base64.
type blob []byte

type encodedBlob struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements [json.Marshaler].
func (b blob) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal(encodedBlob{b})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (b *blob) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var e encodedBlob
		err := json.Unmarshal(data, &e)
		*b = e.Base64
		return err
	}
	var s string
	err := json.Unmarshal(data, &s)
	*b = blob(s)
	return err
}

// optional returns a pointer to a time, or nil for the zero time.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// given returns the time of a pointer, or the zero time for nil.
func given(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func lineOfRecord(r *backend.Record) *jobLine {
	l := &jobLine{
		ID: r.ID, Name: r.Name, State: r.State.String(), Priority: r.Priority, Failures: r.Failures, MaxAttempts: r.MaxAttempts,
		Crashes: r.Crashes, Suspect: r.Suspect, Cancelling: r.Cancelling, CreatedAt: r.CreatedAt, RunAt: r.RunAt,
		FinishedAt: optional(r.FinishedAt), ExpiresAt: optional(r.ExpiresAt), UniqueKey: r.UniqueKey,
		UntilStarted: r.Scope == backend.UntilStarted, KeyUntil: optional(r.KeyUntil), SerialKey: r.SerialKey, FairKey: r.FairKey,
		Gating: lineOfGating(r), Done: r.Done, Total: r.Total, Metadata: r.Metadata, Payload: r.Payload, Dropped: r.Dropped,
	}
	if r.Result != nil {
		l.Result = (*blob)(&r.Result)
	}
	for _, e := range r.Errors {
		l.Errors = append(l.Errors, errorLine(e))
	}
	l.addSteps(r)
	return l
}

// record returns the job of a line, or an error if its state is unknown.
func (l *jobLine) record() (backend.Record, error) {
	states := backend.States()
	i := slices.IndexFunc(states, func(s backend.State) bool { return s.String() == l.State })
	if i < 0 {
		return backend.Record{}, fmt.Errorf("%w: job %d: unknown state %q", backend.ErrInvalid, l.ID, l.State)
	}
	r := backend.Record{Info: backend.Info{
		ID: l.ID, Name: l.Name, State: states[i], Priority: l.Priority, Failures: l.Failures, MaxAttempts: l.MaxAttempts,
		Crashes: l.Crashes, Suspect: l.Suspect, Cancelling: l.Cancelling, CreatedAt: l.CreatedAt.UTC(), RunAt: l.RunAt.UTC(),
		FinishedAt: given(l.FinishedAt), ExpiresAt: given(l.ExpiresAt), UniqueKey: l.UniqueKey, SerialKey: l.SerialKey, FairKey: l.FairKey, KeyUntil: given(l.KeyUntil),
		Done: l.Done, Total: l.Total, Metadata: l.Metadata, Payload: l.Payload, Dropped: l.Dropped,
	}}
	l.Gating.fill(&r)
	l.fillSteps(&r)
	if l.UntilStarted {
		r.Scope = backend.UntilStarted
	}
	if l.Result != nil {
		r.Result = append([]byte{}, *l.Result...)
	}
	for _, e := range l.Errors {
		r.Errors = append(r.Errors, backend.RunError(e))
	}
	return r, nil
}

func lineOfSetting(n *backend.NameInfo) *settingLine {
	d := n.Defined
	l := &settingLine{
		Name: n.Name, Paused: n.Paused, MaxRunning: d.MaxRunning, Rate: d.Rate, Per: d.Per,
		KeepDone: d.History.Done, KeepFailed: d.History.Failed, KeepRows: d.History.Rows, KeepBytes: d.History.Bytes,
		DropDone: d.History.DropDone, DropFailed: d.History.DropFailed,
		MaxCrashes: d.MaxCrashes,
	}
	if o := n.Override; !o.Zero() {
		l.Override = &overrideLine{
			MaxRunning: o.MaxRunning, Rate: o.Rate, Per: o.Per,
			KeepDone: o.History.Done, KeepFailed: o.History.Failed, KeepRows: o.History.Rows, KeepBytes: o.History.Bytes,
			DropDone: o.History.DropDone, DropFailed: o.History.DropFailed,
			MaxCrashes: o.MaxCrashes, Concurrency: o.Concurrency, Weights: o.Weights, By: o.By, At: optional(o.At),
		}
	}
	return l
}

// override returns the override of a name; it is zero if there is none.
func (l *settingLine) override() backend.Override {
	o := l.Override
	if o == nil {
		return backend.Override{Settings: backend.Settings{Name: l.Name}}
	}
	return backend.Override{
		Settings: backend.Settings{
			Name: l.Name, MaxRunning: o.MaxRunning, Rate: o.Rate, Per: o.Per,
			History: backend.History{
				Done: o.KeepDone, Failed: o.KeepFailed, Rows: o.KeepRows, Bytes: o.KeepBytes, DropDone: o.DropDone, DropFailed: o.DropFailed,
			},
			MaxCrashes: o.MaxCrashes,
		},
		Concurrency: o.Concurrency, Weights: o.Weights, By: o.By, At: given(o.At),
	}
}

// settings returns what workers define for a name, without its pause and override.
func (l *settingLine) settings() backend.Settings {
	return backend.Settings{
		Name: l.Name, MaxRunning: l.MaxRunning, Rate: l.Rate, Per: l.Per,
		History: backend.History{
			Done: l.KeepDone, Failed: l.KeepFailed, Rows: l.KeepRows, Bytes: l.KeepBytes, DropDone: l.DropDone, DropFailed: l.DropFailed,
		},
		MaxCrashes: l.MaxCrashes,
	}
}

func lineOfSchedule(s *backend.Schedule) *scheduleLine {
	return &scheduleLine{
		Name: s.Name, Definition: s.Definition, Next: s.Next, Last: optional(s.Last), Paused: s.Paused, RemovedAt: optional(s.RemovedAt),
	}
}

func (l *scheduleLine) schedule() backend.Schedule {
	return backend.Schedule{
		Name: l.Name, Definition: l.Definition, Next: l.Next.UTC(), Last: given(l.Last), Paused: l.Paused, RemovedAt: given(l.RemovedAt),
	}
}

// The checksum at the end of a line. It finds damage in the damaged line, before
// anything of it is stored.
const (
	sumFormat = `,"crc":"%08x"}`
	sumLength = len(`,"crc":"00000000"}`)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns a line with its checksum and its end.
func (l *line) encode() ([]byte, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1] // the brace
	return append(fmt.Appendf(b, sumFormat, crc32.Checksum(b, castagnoli)), '\n'), nil
}
