package sqlite

import (
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const updateTold = `UPDATE plainjobs_jobs SET started_at = ?, started_token = token WHERE id = ? AND +token = ? AND +state = 4`

// ran notes for how long a run has run, if its lease is held, unless that is zero.
func (t *tx) ran(l backend.Lease, took time.Duration, now int64) error {
	if took <= 0 || l.Token == noToken {
		return nil
	}
	_, err := t.exec(updateTold, now-took.Microseconds(), l.ID, l.Token)
	return err
}
