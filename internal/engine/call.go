package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// A PanicError is the error of a handler that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Where returns the file and line of the call that panicked, or an empty string if the
// stack does not show it.
func (e *PanicError) Where() string {
	lines := strings.Split(string(e.Stack), "\n")
	panics := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "panic(") })
	if panics < 0 {
		return ""
	}
	for i := panics + 2; i+1 < len(lines); i += 2 { // a function, and where it is
		if strings.HasPrefix(lines[i], "runtime.") { // frames of a fault, for example of a nil pointer
			continue
		}
		where, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		return where
	}
	return ""
}

// PanicAt returns where the handler panicked whose error is err, or an empty string.
func PanicAt(err error) (where string) {
	defer func() { _ = recover() }() // the Unwrap of an error is the user's code
	if e, ok := errors.AsType[*PanicError](err); ok {
		return e.Where()
	}
	return ""
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A goexitError is the error of a handler that calls runtime.Goexit.
type goexitError struct{ stack []byte }

func (*goexitError) Error() string { return "the handler called runtime.Goexit" }

// stackOf returns the stack of err, if it has one.
func stackOf(err error) string {
	if e := (*PanicError)(nil); errors.As(err, &e) {
		return string(e.Stack)
	}
	if e := (*goexitError)(nil); errors.As(err, &e) {
		return string(e.stack)
	}
	return ""
}

// arguments matches the arguments of a call in a stack.
var arguments = regexp.MustCompile(`(?m)^(\S.*)\((.*)\)$`)

// PlainStack returns a stack without arguments, which may be parts of a payload.
func PlainStack(stack []byte) []byte {
	return arguments.ReplaceAllFunc(stack, func(line []byte) []byte {
		open := bytes.LastIndexByte(line, '(')
		if bytes.HasPrefix(line, []byte("created by ")) || open < 0 {
			return line
		}
		return append(line[:open:open], "(…)"...)
	})
}

// Call runs a handler and calls done once with its error, also when the handler panics
// or ends its goroutine. In the latter case exits is true, and Call does not return: the
// goroutine ends after done.
func Call(ctx context.Context, run Run, payload []byte, done func(err error, exits bool)) {
	returned := false
	var err error
	defer func() {
		if returned {
			done(err, false)
			return
		}
		if v := recover(); v != nil {
			done(&PanicError{Value: v, Stack: PlainStack(debug.Stack())}, false)
			return
		}
		done(&goexitError{PlainStack(debug.Stack())}, true)
	}()
	err = run(ctx, payload)
	if info := InfoOf(ctx); info != nil {
		err = info.awake(err)
	}
	returned = true
}
