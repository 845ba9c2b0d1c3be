package worker

import (
	"bytes"
	"runtime"
	"strconv"

	"github.com/plainjobs/plainjobs/internal/engine"
)

// goroutineID returns the ID of the calling goroutine. A slot calls it once and runs
// many handlers.
func goroutineID() int64 {
	var buf [64]byte
	text, _ := bytes.CutPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	digits, _, _ := bytes.Cut(text, []byte(" "))
	id, _ := strconv.ParseInt(string(digits), 10, 64)
	return id
}

// maxStacks bounds the memory for the stacks of all goroutines.
const maxStacks = 16 << 20

// stackOf returns the stack of a goroutine.
func stackOf(id int64) string {
	var buf []byte
	for size := 64 << 10; size <= maxStacks; size *= 2 {
		buf = make([]byte, size)
		n := runtime.Stack(buf, true)
		buf = buf[:n]
		if n < size {
			break
		}
	}
	for part := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if bytes.HasPrefix(part, []byte("goroutine "+strconv.FormatInt(id, 10)+" ")) {
			return string(engine.PlainStack(part))
		}
	}
	return "not found among the goroutines"
}
