package conformance

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// empty is a store on its first day: its verbs do nothing and return no error.
type empty struct{}

func (empty) Push(context.Context, []backend.NewJob) ([]backend.Pushed, error)   { return nil, nil }
func (empty) Claim(context.Context, backend.ClaimRequest) ([]backend.Job, error) { return nil, nil }
func (empty) Complete(context.Context, []backend.Completion) ([]backend.Lease, error) {
	return nil, nil
}
func (empty) Fail(context.Context, []backend.Failure) ([]backend.Lease, error) { return nil, nil }
func (empty) Reap(context.Context, backend.ReapRequest) (backend.ReapResult, error) {
	return backend.ReapResult{}, nil
}

// emptyCapable also has the capabilities that most cases need, which do nothing.
type emptyCapable struct{ empty }

func (emptyCapable) Get(context.Context, int64) (backend.Info, error) { return backend.Info{}, nil }
func (emptyCapable) List(context.Context, backend.ListRequest) (backend.Page, error) {
	return backend.Page{}, nil
}
func (emptyCapable) Count(context.Context) ([]backend.Count, error)        { return nil, nil }
func (emptyCapable) Workers(context.Context) ([]backend.WorkerInfo, error) { return nil, nil }
func (emptyCapable) Heartbeat(context.Context, backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	return backend.HeartbeatResult{}, nil
}
func (emptyCapable) StoreProgress(context.Context, []backend.Progress) error { return nil }

// On a store that does nothing yet, every case ends without a panic, and most
// fail. A case that passes requires that nothing happens.
func TestFirstDay(t *testing.T) {
	defer func(d time.Duration) { caseTime = d }(caseTime)
	caseTime = time.Second
	for name, store := range map[string]backend.Backend{"verbs": empty{}, "capabilities": emptyCapable{}} {
		ended := make(chan *firstDay)
		open := map[string]bool{}
		for _, c := range cases() {
			open[c.name] = true
			r := &firstDay{recorder: recorder{TB: t}, name: c.name}
			go func() {
				defer func() { ended <- r }() // FailNow ends the goroutine
				clock := NewClock()
				c.check(r, func(testing.TB, Options) Store {
					return Store{Open: func(testing.TB) backend.Backend { return store }, Advance: clock.Advance}
				})
			}()
		}
		limit := time.After(time.Minute)
		failed := 0
		for len(open) > 0 {
			select {
			case r := <-ended:
				r.end()
				delete(open, r.name)
				if r.Failed() {
					failed++
				}
			case <-limit:
				t.Fatalf("%s: %d cases do not end: %v", name, len(open), slices.Sorted(maps.Keys(open)))
			}
		}
		if total := len(cases()); failed < total*9/10 {
			t.Errorf("%s: %d of %d cases failed or were skipped", name, failed, total)
		}
	}
}

// A firstDay is a recorder for a store that may lack capabilities.
type firstDay struct {
	recorder
	name string
}

func (r *firstDay) SkipNow()             { r.FailNow() }
func (r *firstDay) Skip(...any)          { r.FailNow() }
func (r *firstDay) Skipf(string, ...any) { r.FailNow() }
