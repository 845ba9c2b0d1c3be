package sqlite

import (
	"fmt"
	"runtime/debug"
)

// A panicked is what a driver panicked with.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("the SQLite driver panicked: %v", p.value) }

// Unwrap returns the value if it is an error.
func (p *panicked) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// caught is deferred. It turns a panic into an error.
func caught(err *error) {
	if value := recover(); value != nil {
		*err = &panicked{value, debug.Stack()}
	}
}
