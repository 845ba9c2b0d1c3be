package postgres

import (
	"context"
	"fmt"
	"time"
)

// A job or a result may be too large to be read or stored within the role's
// statement_timeout. Such a job would be the first of every claim, and so block all
// others; such a result would never be stored. So a claim or a completion that timed out
// runs once more, with the time that the call may take.

// timedOut reports whether statement_timeout may have cancelled a call.
func timedOut(ctx context.Context, err error) bool {
	return code(err) == codeCancelled && ctx.Err() == nil
}

const setStatementTimeout = `SELECT set_config('statement_timeout', $1::text, true)`

// allowTime returns f with a statement_timeout of the time that the call may take.
func allowTime(f func(*tx) error) func(*tx) error {
	return func(t *tx) error {
		wait := lockWait
		if deadline, ok := t.ctx.Deadline(); ok {
			wait = max(time.Until(deadline), time.Millisecond)
		}
		if _, err := t.exec(setStatementTimeout, fmt.Sprintf("%dms", wait.Milliseconds())); err != nil {
			return err
		}
		return f(t)
	}
}
