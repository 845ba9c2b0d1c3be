package doctor

import (
	"context"
	"errors"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/encrypt"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// keysMost is how many jobs that wait for a key are counted.
const keysMost = 1000

// keys adds that jobs wait for the keys with which they are encrypted.
func (r *Report) keys(ctx context.Context, q *plainjobs.Queue) error {
	waiting := plainjobs.Filter{States: []plainjobs.State{plainjobs.Scheduled}, Error: encrypt.ErrUnavailable.Error()}
	jobs, next, err := q.List(ctx, waiting, 0, keysMost)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil || len(jobs) == 0 {
		return err
	}
	first, err := q.Get(ctx, jobs[0].ID)
	if errors.Is(err, plainjobs.ErrNotFound) || err == nil && len(first.Errors) == 0 {
		return nil // it has run meanwhile
	}
	if err != nil {
		return err
	}
	more := ""
	if next != 0 {
		more = " or more"
	}
	r.Bad("keys", "give the workers the key, or run rekey in a program that has it", "jobs wait that cannot be decrypted: %s%s, for example #%d: %s",
		engine.Thousands(int64(len(jobs))), more, first.ID, first.Errors[len(first.Errors)-1].Error)
	return nil
}
