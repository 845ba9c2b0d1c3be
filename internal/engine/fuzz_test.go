package engine_test

import (
	"bytes"
	"math"
	"regexp"
	"runtime/debug"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/internal/engine"
)

func FuzzExponential(f *testing.F) {
	f.Add(int64(time.Second), int64(time.Hour), 3)
	f.Add(int64(0), int64(0), 0)
	f.Add(int64(-1), int64(1), math.MaxInt)
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), math.MaxInt)
	f.Add(int64(1), int64(math.MaxInt64), 64)
	f.Fuzz(func(t *testing.T, first, longest int64, attempt int) {
		d := engine.Exponential(time.Duration(first), time.Duration(longest), attempt)
		if float64(d) > max(float64(longest), 0)*1.11+1 || d < 0 {
			t.Errorf("Exponential(%d, %d, %d) = %d", first, longest, attempt, d)
		}
	})
}

// words are what a stack shows of arguments.
var words = regexp.MustCompile(`(?m)^[^\s(][^(\n]*\(0x[0-9a-f, x?.{}]*\)$`)

func FuzzPlainStack(f *testing.F) {
	f.Add(debug.Stack())
	f.Add([]byte("main.f(0xc000012345, {0x1, 0x2})\n\t/a/b.go:12 +0x1d\ncreated by main.(*T).g in goroutine 1\n"))
	f.Add([]byte("main.f({0x1, 0x2}, ...)\r\n()\n(\n)\n"))
	f.Add([]byte("\xff(\x00)"))
	f.Fuzz(func(t *testing.T, stack []byte) {
		before := bytes.Clone(stack)
		plain := engine.PlainStack(stack)
		switch {
		case !bytes.Equal(stack, before):
			t.Error("the stack that was given is changed")
		case bytes.Count(plain, []byte("\n")) != bytes.Count(stack, []byte("\n")):
			t.Error("lines are lost")
		case words.Match(plain) && !bytes.Contains(plain, []byte("created by ")):
			t.Errorf("arguments are left in %q", words.Find(plain))
		case !bytes.Equal(engine.PlainStack(plain), plain):
			t.Errorf("what is plain is changed: %q, %q", plain, engine.PlainStack(plain))
		}
	})
}
