package plainjobs

import (
	"fmt"
	"reflect"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Unique lets at most one job of the name have a key, of at most 255 bytes of
// UTF-8 without NUL, in all processes. It has the key from when it is pushed
// until it is finished: done, failed or cancelled. Aliases of the job are names
// apart. If the key is taken,
// Perform stores nothing and returns the ID of the job that has it, unless an
// option says otherwise. [Stored] tells which it was.
//
// A job that is to be retried when another has its key by then (see
// [UntilStarted]) is cancelled as superseded.
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

// Stored has Perform set *stored, when its error is nil, to whether it stored the
// task: false says that there is one already, or that [Replace] has changed that.
func Stored(stored *bool) TaskOption {
	return taskOption(func(t *Task) error {
		if stored == nil {
			return fmt.Errorf("Stored(nil) has nowhere to say it")
		}
		t.isNew = stored
		return nil
	})
}

// UniqueBy makes every task of a job [Unique] by a key of its data; an empty
// key is none. T is the job's type.
func UniqueBy[T any](key func(data T) string, opts ...UniqueOption) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		u, err := unique(opts)
		switch {
		case err != nil:
			return fmt.Errorf("UniqueBy: %w", err)
		case key == nil:
			return fmt.Errorf("UniqueBy(nil) is no key")
		}
		d.Unique = func(data any) backend.Unique {
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

// A UniqueOption changes what [Unique] means.
type UniqueOption func(*backend.Unique) error

func unique(opts []UniqueOption) (u backend.Unique, err error) {
	for _, opt := range opts {
		if err := opt(&u); err != nil {
			return u, err
		}
	}
	if u.Conflict == backend.Replace && u.For != 0 {
		return u, fmt.Errorf("Replace and For contradict each other: what is kept for a time cannot be replaced")
	}
	return u, nil
}

// UntilStarted gives the key back when the job starts, so that one more may
// wait meanwhile.
func UntilStarted() UniqueOption {
	return func(u *backend.Unique) error { u.Scope = backend.UntilStarted; return nil }
}

// For keeps the key for a time after the push at least, even if the job is done
// or has failed sooner. So long the job is kept, too, whatever its [Keep] says. A
// job that is cancelled or deleted gives the key back; see also
// [Queue.FreeKeys].
func For(d time.Duration) UniqueOption {
	return func(u *backend.Unique) error {
		if u.For = d; d <= 0 || d > maxDelay {
			return fmt.Errorf("For(%v) is not above 0 and at most 100 years", d)
		}
		return nil
	}
}

// Replace gives the job that has the key and waits the new data, priority and
// time, and returns its ID: the last of many calls counts (debouncing). It
// implies [UntilStarted].
func Replace() UniqueOption {
	return func(u *backend.Unique) error {
		u.Scope = backend.UntilStarted
		return resolveBy(u, backend.Replace)
	}
}

// Reject makes Perform return the ID of the job that has the key and
// [ErrDuplicate]. PerformMany then stores none of its tasks.
func Reject() UniqueOption {
	return func(u *backend.Unique) error { return resolveBy(u, backend.Reject) }
}

func resolveBy(u *backend.Unique, c backend.Conflict) error {
	if u.Conflict != backend.KeepFirst && u.Conflict != c {
		return fmt.Errorf("Replace and Reject contradict each other")
	}
	u.Conflict = c
	return nil
}

// Serial runs the jobs of the name with one key one at a time, in the order in
// which they were pushed, in all processes; others pass them by. A job that is
// scheduled, or waits for a retry, holds up those behind it. A key is of at
// most 255 bytes of UTF-8 without NUL.
func Serial(key string) TaskOption {
	return taskOption(func(t *Task) error {
		t.job.Serial = key
		return checkKey("Serial", key)
	})
}

// SerialBy makes every task of a job [Serial] by a key of its data; an empty
// key is none. T is the job's type.
func SerialBy[T any](key func(data T) string) DefineOption {
	return defineOption(func(d *engine.Definition) error {
		if key == nil {
			return fmt.Errorf("SerialBy(nil) is no key")
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
	if err := backend.CheckKey(key); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}
