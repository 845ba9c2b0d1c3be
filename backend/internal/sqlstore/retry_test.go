package sqlstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend/internal/sqlstore"
)

var errConflict, errOther = errors.New("conflict"), errors.New("other")

func conflicts(err error) bool { return errors.Is(err, errConflict) }

func TestRetry(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		until time.Time
		errs  []error // of the calls; the last one repeats
		want  error
		calls int
	}{
		"conflicts":      {t.Context(), time.Now().Add(time.Hour), []error{errConflict, errConflict, nil}, nil, 3},
		"other":          {t.Context(), time.Now().Add(time.Hour), []error{errOther}, errOther, 1},
		"lost":           {t.Context(), time.Now().Add(time.Hour), []error{sqlstore.Lost(errOther), nil}, nil, 2},
		"lost too often": {t.Context(), time.Now().Add(time.Hour), []error{sqlstore.Lost(errOther)}, errOther, 6},
		"too late":       {t.Context(), time.Now().Add(-time.Hour), []error{errConflict}, errConflict, 1},
		"ended":          {done, time.Now().Add(time.Hour), []error{errConflict}, context.Canceled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := sqlstore.Retry(c.ctx, c.until, conflicts, func() error {
				calls++
				return c.errs[min(calls, len(c.errs))-1]
			})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || calls != c.calls {
				t.Errorf("Retry = %v after %d calls, want %v after %d", err, calls, c.want, c.calls)
			}
		})
	}
}
