package plainjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// DefaultMaxAttempts is the maximum number of attempts of a job without the option
// MaxAttempts.
const DefaultMaxAttempts = 25

// A Job defines a kind of job: its name, the type of its payload, and its options. It is
// immutable and belongs in a package-level variable.
type Job[T any] struct{ def *engine.Definition }

// AnyJob is a *Job of any type.
type AnyJob interface {
	// Name returns the job's name.
	Name() string
	definition() *engine.Definition
}

// Define returns the job with a name and a handler. It belongs in a package-level
// variable: importing the package makes the job known to workers.
//
// A name has 1 to 128 characters of a-z, A-Z, 0-9, ".", "_", "/", ":" and "-", and begins
// with a letter or digit; see [Filename]. Names that differ only in case are not allowed
// in one program. Define panics with the file and line of its caller if the name is
// invalid or taken, if fn is nil, or if an option is out of bounds.
func Define[T any](name string, fn func(ctx context.Context, data T) error, opts ...DefineOption) *Job[T] {
	where := caller()
	if fn == nil {
		panic(fmt.Sprintf("plainjobs: %s: job %q is defined with a nil handler; use Declare to bind one later", where, name))
	}
	return define[T](name, where, decoding(fn), opts)
}

// Declare is [Define] without a handler. [Handle] binds the handler to a queue. Use it
// for handlers with dependencies, for a job whose handler performs the job itself, and
// for jobs whose handlers perform one another: Define would create an initialization or
// import cycle.
func Declare[T any](name string, opts ...DefineOption) *Job[T] {
	return define[T](name, caller(), nil, opts)
}

func define[T any](name, where string, run func(*engine.Definition) engine.Run, opts []DefineOption) *Job[T] {
	d := newDefinition[T](name, where)
	for _, opt := range opts {
		if err := opt.define(d); err != nil {
			panic(fmt.Sprintf("plainjobs: %s: job %q: %v", where, name, err))
		}
	}
	if run != nil {
		d.Run = run(d)
	}
	engine.Register(d)
	return &Job[T]{def: d}
}

func newDefinition[T any](name, where string) *engine.Definition {
	return &engine.Definition{
		Name:            name,
		Where:           where,
		MaxAttempts:     DefaultMaxAttempts,
		InitialAttempts: DefaultMaxAttempts,
		Type:            reflect.TypeFor[T](),
	}
}

// Handle binds a handler to a job for one queue; [HandleResult] binds that of a
// [ResultJob]. It overrides the handler of the definition, if there is one. It panics if
// an argument is nil.
func Handle[T any](q *Queue, job *Job[T], fn func(ctx context.Context, data T) error) {
	if q == nil || job == nil || fn == nil {
		panic(fmt.Sprintf("plainjobs: %s: Handle with a nil queue, job or handler", caller()))
	}
	if job.def.Batch {
		panic(fmt.Sprintf("plainjobs: %s: job %q runs in batches: its handler is that of DefineBatch", caller(), job.Name()))
	}
	if job.def.Results {
		panic(fmt.Sprintf("plainjobs: %s: job %q has a result: bind its handler with HandleResult", caller(), job.Name()))
	}
	q.engine().Handle(job.def, decoding(fn)(job.def))
}

// decoding returns fn as the engine runs it.
func decoding[T any](fn func(context.Context, T) error) func(*engine.Definition) engine.Run {
	return func(d *engine.Definition) engine.Run {
		return func(ctx context.Context, payload []byte) error {
			var data T
			if err := json.Unmarshal(payload, &data); err != nil {
				info, _ := FromContext(ctx)
				return &DecodeError{Job: d.Name, ID: info.ID, Field: field(err), reason: reason(err)}
			}
			return fn(ctx, data)
		}
	}
}

// A DecodeError is the error of a run whose payload does not fit the job's type. The run
// is retried like any other, because a deployment may be in progress. The error contains
// nothing of the payload.
type DecodeError struct {
	Job   string
	ID    int64
	Field string // path of the field; empty if the payload as a whole does not fit

	reason string
}

// Error names the job, its ID and the field.
func (e *DecodeError) Error() string {
	at := ""
	if e.Field != "" {
		at = " at field " + e.Field
	}
	return fmt.Sprintf("payload of job %s #%d does not decode%s: %s", e.Job, e.ID, at, e.reason)
}

func field(err error) string {
	if e := (*json.UnmarshalTypeError)(nil); errors.As(err, &e) {
		return e.Field
	}
	return ""
}

// reason describes a decoding error without quoting the payload.
func reason(err error) string {
	if e := (*json.UnmarshalTypeError)(nil); errors.As(err, &e) {
		kind, _, _ := strings.Cut(e.Value, " ") // "number 300" quotes it
		return fmt.Sprintf("a JSON %s does not fit the type %v", kind, e.Type)
	}
	if e := (*json.SyntaxError)(nil); errors.As(err, &e) {
		return fmt.Sprintf("not valid JSON after %d bytes", e.Offset)
	}
	return fmt.Sprintf("the type's UnmarshalJSON returned a %T", err)
}

// Name returns the job's name, or an empty string for a nil job.
func (j *Job[T]) Name() string {
	if j == nil {
		return ""
	}
	return j.def.Name
}

func (j *Job[T]) definition() *engine.Definition { return j.def }

// With returns a task: the job with a payload, which With encodes. If the payload does not encode,
// or an option is out of bounds, Perform returns the error.
func (j *Job[T]) With(data T, opts ...TaskOption) Task {
	if j == nil {
		panic(fmt.Sprintf("plainjobs: %s: With of a nil job", caller()))
	}
	t := Task{def: j.def}
	boxed := any(data) // once
	payload, err := json.Marshal(boxed)
	if err != nil {
		err = fmt.Errorf("data do not encode: %w", err)
	}
	if t.job, t.err = j.def.NewJob(boxed, payload); err != nil {
		t.err = err
	}
	for _, opt := range opts {
		if err := opt.task(&t); err != nil && t.err == nil {
			t.err = err
		}
	}
	return t
}

// A Task is a job with a payload, ready to be performed.
type Task struct {
	def *engine.Definition
	job backend.NewJob
	at  time.Time // instead of the job's delay
	err error

	ownAttempts, ownPriority bool   // set by an option of the task
	more                     *extra // nil without one of its options
}

// An extra has what few tasks have, so that the others are smaller.
type extra struct {
	stored   *bool // see Stored
	before   time.Time
	metadata map[string]string
	failure  []Task // performed if the job fails, see OnFailure
}

// set returns what an option of the task sets.
func (t *Task) set() *extra {
	if t.more == nil {
		t.more = &extra{}
	}
	return t.more
}

// extra returns what the task has.
func (t *Task) extra() extra {
	if t.more == nil {
		return extra{}
	}
	return *t.more
}

// Name returns the name of the task's job, or an empty string for a zero Task.
func (t Task) Name() string {
	if t.def == nil {
		return ""
	}
	return t.def.Name
}

// Data returns the task's payload as JSON, which must not be modified. It is nil if the
// payload does not encode.
func (t Task) Data() json.RawMessage { return t.job.Payload }

// Filename returns a job name derived from the name of the calling file, without ".go"
// and "_test", in lower case, with "-" for "_": the job in double_opt_in.go is named
// "double-opt-in". Renaming the file renames the job, see [Aliases].
func Filename() string {
	_, file, _, ok := runtime.Caller(1)
	if !ok {
		panic("plainjobs: Filename does not know its caller")
	}
	return nameOf(file)
}

func nameOf(file string) string {
	name := strings.TrimSuffix(filepath.Base(filepath.ToSlash(file)), ".go")
	name = strings.TrimSuffix(name, "_test")
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// caller returns file:line of the code outside this package that called it.
func caller() string {
	_, file, line, ok := runtime.Caller(2)
	if !ok {
		return "unknown place"
	}
	return fmt.Sprintf("%s:%d", file, line)
}
