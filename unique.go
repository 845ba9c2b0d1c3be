package plainjobs

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Unique lets at most one job of the name have a key, in all processes. A key is 1 to
// 255 bytes of UTF-8 without NUL. A job has its key from the push until it is done,
// failed or cancelled. Each alias of the job has its own key space. If the key is taken,
// Perform stores nothing and returns the ID of the job that has it, unless an option
// says otherwise; [Stored] reports whether a job was stored.
//
// With [UntilStarted], a second job may take the key while the first runs. If the first
// is to wait again, for example for a retry, while the second has the key, the first is
// cancelled as superseded. A job that sleeps or waits for a signal is not.
func Unique(key string, opts ...UniqueOption) TaskOption {
	return taskOption(func(t *Task) error {
		u, err := unique(opts)
		if err != nil {
			return fmt.Errorf("Unique(%q): %w", key, err)
		}
		u.Key = key
		t.job.Unique = u
		return checkKey("Unique", key)
	})
}

// Stored makes Perform report in *stored whether it stored a new job. The value is false if
// a job with the key exists already, also if [Replace] changed that job. If Perform returns
// an error, *stored is unchanged.
func Stored(stored *bool) TaskOption {
	return taskOption(func(t *Task) error {
		if stored == nil {
			return fmt.Errorf("Stored(nil): pass a pointer to a bool")
		}
		t.set().stored = stored
		return nil
	})
}

// UniqueBy makes every task of a job [Unique] by a key of its payload. An empty key is
// none. T is the type of the job's payload.
func UniqueBy[T any](key func(data T) string, opts ...UniqueOption) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		u, err := unique(opts)
		switch {
		case err != nil:
			return fmt.Errorf("UniqueBy: %w", err)
		case key == nil:
			return fmt.Errorf("UniqueBy(nil): pass a function that returns the key")
		}
		d.Unique = func(data any, _ []byte) backend.Unique {
			u := u
			v, _ := data.(T) // which it is, but for nil in an interface
			if u.Key = key(v); u.Key == "" {
				return backend.Unique{}
			}
			return u
		}
		return d.Takes(reflect.TypeFor[T](), "UniqueBy")
	})
}

// UniqueByData makes every task of a job [Unique] by its payload: the key is a hash of the
// encoded payload, of whatever size. All fields count. A field that is added to the type, or
// is encoded in another order, changes the hash: a job that an earlier build stored then
// does not count as a duplicate. To leave fields out, use [UniqueBy].
//
// By default the payload is unique until the job has ended. In River, ByArgs by default
// also counts completed jobs until they are deleted, but no cancelled or discarded ones;
// the order of the outer fields does not matter, and ByPeriod counts the jobs of a period.
// asynq's Unique releases its lock when the task has succeeded or the time to live ends,
// whichever comes first. Here the option [For] keeps the key until the job has ended and
// the time has passed. asynq returns an error for a duplicate; Perform does so only with
// [Reject], and otherwise returns the ID of the existing job. [Stored] reports whether a
// new job was stored.
func UniqueByData(opts ...UniqueOption) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		u, err := unique(opts)
		if err != nil {
			return fmt.Errorf("UniqueByData: %w", err)
		}
		d.Unique = func(_ any, payload []byte) backend.Unique {
			u := u
			sum := sha256.Sum256(payload)
			u.Key = "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
			return u
		}
		return nil
	})
}

// A UniqueOption changes what [Unique] means.
type UniqueOption func(*backend.Unique) error

func unique(opts []UniqueOption) (u backend.Unique, err error) {
	for _, opt := range opts {
		if err := opt(&u); err != nil {
			return u, err
		}
	}
	if u.Conflict == backend.Replace && u.For != 0 {
		return u, fmt.Errorf("Replace and For exclude each other: a key that is kept for a time cannot be replaced")
	}
	return u, nil
}

// UntilStarted releases the key when the job starts, or later if [For] says so. So one
// more job may wait meanwhile.
func UntilStarted() UniqueOption {
	return func(u *backend.Unique) error { u.Scope = backend.UntilStarted; return nil }
}

// For keeps the key for at least d after the push, even if the job has started (with
// UntilStarted), is done or has failed before. The store keeps the job for as long, even
// if its [Keep] is shorter. A job that is cancelled or deleted releases the key; see also
// [Queue.FreeKeys].
func For(d time.Duration) UniqueOption {
	return func(u *backend.Unique) error {
		if u.For = d; d <= 0 || d > maxDelay {
			return fmt.Errorf("For(%v) is not above 0 and at most 100 years", d)
		}
		return nil
	}
}

// Replace changes the waiting job that has the key: the job gets the payload, the
// priority, the metadata, the deadline and the time of the new task, and Perform returns
// its ID. So the last of several calls applies (debouncing). If the new task has no
// delay, a job that could already run keeps its place. Replace implies [UntilStarted].
func Replace() UniqueOption {
	return func(u *backend.Unique) error {
		u.Scope = backend.UntilStarted
		return resolveBy(u, backend.Replace)
	}
}

// Reject makes Perform return [ErrDuplicate] and the ID of the job that has the key.
// PerformMany then stores none of its tasks.
func Reject() UniqueOption {
	return func(u *backend.Unique) error { return resolveBy(u, backend.Reject) }
}

func resolveBy(u *backend.Unique, c backend.Conflict) error {
	if u.Conflict != backend.KeepFirst && u.Conflict != c {
		return fmt.Errorf("Replace and Reject exclude each other: use one of them")
	}
	u.Conflict = c
	return nil
}

// Serial runs the jobs of the name with the same key one at a time, in the order in which
// they were pushed, in all processes. Jobs without the key do not wait for them. A job
// that is scheduled or waits for a retry delays the jobs behind it. A key is 1 to 255
// bytes of UTF-8 without NUL.
func Serial(key string) TaskOption {
	return taskOption(func(t *Task) error {
		t.job.Serial = key
		return checkKey("Serial", key)
	})
}

// SerialBy makes every task of a job [Serial] by a key of its payload. An empty key is
// none. T is the type of the job's payload.
func SerialBy[T any](key func(data T) string) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if key == nil {
			return fmt.Errorf("SerialBy(nil): pass a function that returns the key")
		}
		d.Serial = func(data any) string {
			v, _ := data.(T) // as above
			return key(v)
		}
		return d.Takes(reflect.TypeFor[T](), "SerialBy")
	})
}

func checkKey(option, key string) error {
	if key == "" {
		return fmt.Errorf("%s: the key is empty", option)
	}
	if err := check.Key(key); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}
