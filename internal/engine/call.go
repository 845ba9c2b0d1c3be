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

// A PanicError is a handler's panic.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Where returns the file and line of the call that panicked, or nothing if the
// stack does not tell.
func (e *PanicError) Where() string {
	lines := strings.Split(string(e.Stack), "\n")
	panics := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "panic(") })
	if panics < 0 {
		return ""
	}
	for i := panics + 2; i+1 < len(lines); i += 2 { // a function, and where it is
		if strings.HasPrefix(lines[i], "runtime.") { // what stands for a fault, as of a nil pointer
			continue
		}
		where, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		return where
	}
	return ""
}

// PanicAt returns where the handler panicked whose error is err, or nothing.
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

// A goexitError is what a handler that calls runtime.Goexit fails with.
type goexitError struct{ stack []byte }

func (*goexitError) Error() string { return "the handler called runtime.Goexit" }

// stackOf returns where err happened, if it is known.
func stackOf(err error) string {
	if e := (*PanicError)(nil); errors.As(err, &e) {
		return string(e.Stack)
	}
	if e := (*goexitError)(nil); errors.As(err, &e) {
		return string(e.stack)
	}
	return ""
}

// arguments are those of a call in a stack.
var arguments = regexp.MustCompile(`(?m)^(\S.*)\((.*)\)$`)

// PlainStack returns a stack without the words of arguments, which may be parts
// of a payload.
func PlainStack(stack []byte) []byte {
	return arguments.ReplaceAllFunc(stack, func(line []byte) []byte {
		open := bytes.LastIndexByte(line, '(')
		if bytes.HasPrefix(line, []byte("created by ")) || open < 0 {
			return line
		}
		return append(line[:open:open], "(…)"...)
	})
}

// Call runs a handler and calls done once with its error, also when it panics
// or ends its goroutine. In the latter case Call does not return, and done is
// told so: the goroutine ends after it.
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
	returned = true
}
