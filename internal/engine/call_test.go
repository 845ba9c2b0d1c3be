package engine_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// The ways to call a handler, each with words of a payload as its arguments.
type caller[T any] struct{ stack []byte }

//go:noinline
func (c *caller[T]) generic(secret int, _ string, _ []byte, _ T) {
	if secret > 0 {
		c.stack = debug.Stack()
	}
}

type plain struct{ stack []byte }

//go:noinline
func (p *plain) method(secret int, words string, b []byte) {
	if secret > 0 {
		p.stack = debug.Stack()
	}
}

//go:noinline
func (p plain) value(secret int, words string, to *plain) {
	to.method(secret, words, nil)
}

//go:noinline
func function[T any](secret int, words T, f func(int, T)) { f(secret, words) }

// A stack says where a handler stood, and nothing of what it was given.
func TestPlainStack(t *testing.T) {
	const secret = 0xfeedbeef
	var p plain
	function(secret, "words", func(n int, s string) { plain{}.value(n, s, &p) })
	var c caller[map[string]int]
	f := c.generic
	f(secret, "words", []byte("words"), nil)
	argument := regexp.MustCompile(`(?m)^\S.*\(.*(0x|\{|\?|_).*\)$`)
	for what, stack := range map[string][]byte{"methods, generics and closures": p.stack, "generic methods": c.stack} {
		if !argument.Match(stack) {
			t.Fatalf("%s: the stack shows no arguments, so this test shows nothing: %s", what, stack)
		}
		plain := string(engine.PlainStack(stack))
		if strings.Contains(plain, "feedbeef") || argument.MatchString(plain) {
			t.Errorf("%s: arguments are left in %s", what, plain)
		}
		if got, want := strings.Count(plain, "\n"), strings.Count(string(stack), "\n"); got != want || !strings.Contains(plain, "call_test.go:") {
			t.Errorf("%s: %d of %d lines are left of %s", what, got, want, plain)
		}
	}
	for _, want := range []string{"engine_test.(*plain).method(…)", "engine_test.plain.value(…)", "engine_test.function[...](…)", "engine_test.TestPlainStack.func1(…)"} {
		if plain := string(engine.PlainStack(p.stack)); !strings.Contains(plain, want) {
			t.Errorf("%s is not in %s", want, plain)
		}
	}
	if plain := string(engine.PlainStack(c.stack)); !strings.Contains(plain, "engine_test.(*caller[...]).generic(…)") || !strings.Contains(plain, "created by testing.(*T).Run") {
		t.Errorf("the stack is %s", plain)
	}
}

// What a panic is stored with is a plain stack.
func TestCallHidesArguments(t *testing.T) {
	engine.Call(t.Context(), func(_ context.Context, p []byte) error {
		function(0xfeedbeef, string(p), func(int, string) { panic("ouch") })
		return nil
	}, []byte("words"), func(err error, _ bool) {
		var p *engine.PanicError
		if !errors.As(err, &p) || !strings.Contains(string(p.Stack), "engine_test.function[...](…)") || strings.Contains(string(p.Stack), "feedbeef") {
			t.Errorf("it is %s", fmt.Sprint(p, string(p.Stack)))
		}
	})
}

// boom panics where its first line says.
func boom(how string) (where string, err error) {
	_, file, line, _ := runtime.Caller(0)
	where = fmt.Sprintf("%s:%d", file, line+6)
	engine.Call(context.Background(), func(context.Context, []byte) error {
		var nothing map[string]int
		switch how { // each panics in the line that is named
		case "value":
			panic("boom")
		case "nil map":
			where = fmt.Sprintf("%s:%d", file, line+9)
			nothing["x"] = 1 //nolint:staticcheck // it is to panic
		case "index":
			where = fmt.Sprintf("%s:%d", file, line+12)
			_ = []int{}[len(nothing)]
		}
		return nil
	}, nil, func(e error, _ bool) { err = e })
	return where, err
}

// A panic's place is the handler's own, not that of the code that found the fault.
func TestPanicAt(t *testing.T) {
	for _, how := range []string{"value", "nil map", "index"} {
		want, err := boom(how)
		if got := engine.PanicAt(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%s: it panicked at %q, want %q\n%v", how, got, want, err)
		}
	}
	if got := engine.PanicAt(errors.New("no panic")); got != "" {
		t.Errorf("an error happened at %q", got)
	}
}
