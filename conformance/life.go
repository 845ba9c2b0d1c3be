package conformance

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// everyMethod calls each method with ctx and hands its error to check.
func (e *env) everyMethod(ctx context.Context, b backend.Backend, check func(method string, err error)) {
	lease := backend.Lease{ID: 1, Token: 1}
	_, err := b.Push(ctx, []backend.NewJob{newJob("a")})
	check("Push", err)
	_, err = b.Claim(ctx, request(e.worker(), 1, "a"))
	check("Claim", err)
	_, err = b.Complete(ctx, []backend.Completion{{Lease: lease}})
	check("Complete", err)
	_, err = b.Fail(ctx, []backend.Failure{{Lease: lease, Ending: backend.EndRetry}})
	check("Fail", err)
	_, err = b.Reap(ctx, backend.ReapRequest{})
	check("Reap", err)
	if b, ok := b.(backend.Heartbeater); ok {
		_, err := b.Heartbeat(ctx, backend.HeartbeatRequest{Worker: e.worker()})
		if !errors.Is(err, backend.ErrWorkerGone) {
			check("Heartbeat", err)
		}
	}
	if b, ok := b.(backend.Reader); ok {
		_, err := b.List(ctx, backend.ListRequest{})
		check("List", err)
		_, err = b.Count(ctx)
		check("Count", err)
		_, err = b.Workers(ctx)
		check("Workers", err)
	}
	if b, ok := b.(backend.SettingsStore); ok {
		_, err := b.Set(ctx, 0, []backend.Settings{{Name: "a"}})
		check("Set", err)
		check("Override", b.Override(ctx, backend.Override{Settings: backend.Settings{Name: "a"}, Concurrency: 1}, false))
		check("Pause", b.Pause(ctx, "b", true))
		_, err = b.Names(ctx)
		check("Names", err)
	}
	if b, ok := b.(backend.Scheduler); ok {
		next := time.Unix(1, 0)
		check("Define", b.Define(ctx, []backend.Schedule{{Name: "a", Next: next}}))
		_, err := b.Schedules(ctx)
		check("Schedules", err)
		_, err = b.Tick(ctx, tickOf("a", "", next, next.Add(time.Second)))
		check("Tick", err)
		if err := b.PauseSchedule(ctx, "a", true); !errors.Is(err, backend.ErrNotFound) {
			check("PauseSchedule", err)
		}
	}
	if b, ok := b.(backend.Operator); ok {
		_, err := b.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel})
		check("Operate", err)
	}
	if b, ok := b.(backend.GateStore); ok {
		_, err := b.CreateGates(ctx, nil, backend.GateRequest{Gates: []backend.NewGate{{}}})
		check("CreateGates", err)
		if err := b.SealGates(ctx, nil, []int64{1 << 40}); !errors.Is(err, backend.ErrNotFound) {
			check("SealGates", err)
		}
		if err := b.PauseGates(ctx, []int64{1 << 40}, true); !errors.Is(err, backend.ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) {
			check("PauseGates", err)
		}
		_, err = b.Gates(ctx, backend.GateQuery{})
		check("Gates", err)
		_, err = b.DeleteGates(ctx, []int64{1 << 40})
		check("DeleteGates", err)
	}
	if b, ok := b.(backend.Heartbeater); ok {
		check("Progress", b.StoreProgress(ctx, []backend.Progress{{Lease: lease}}))
	}
}

var lifeCases = []testCase{{
	name: "close/closed",
	rule: "after Close, which is idempotent, every method returns ErrClosed",
	run: func(e *env) {
		closer := capability[io.Closer](e, e.b)
		for range 2 {
			if err := closer.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
		}
		e.everyMethod(e.ctx, e.b, func(method string, err error) {
			if !errors.Is(err, backend.ErrClosed) {
				e.Errorf("%s after Close = %v, want ErrClosed", method, err)
			}
		})
		if w, ok := e.b.(backend.Waiter); ok {
			if err := w.Wait(e.ctx, request(e.worker(), 1, "a")); !errors.Is(err, backend.ErrClosed) {
				e.Errorf("Wait after Close = %v, want ErrClosed", err)
			}
		}
	},
}, {
	name: "close/in-use",
	rule: "closing a backend that is in use ends its calls with ErrClosed, and never panics",
	run: func(e *env) {
		closer := capability[io.Closer](e, e.b)
		var wg sync.WaitGroup
		started := make(chan struct{}, 8)
		for range 4 {
			wg.Go(func() {
				defer e.recoverShort()
				for first := true; ; first = false {
					closed := false
					e.everyMethod(e.ctx, e.b, func(method string, err error) {
						if errors.Is(err, backend.ErrClosed) {
							closed = true
						} else if err != nil {
							e.Errorf("%s: %v", method, err)
						}
					})
					if first {
						started <- struct{}{}
					}
					if closed {
						return
					}
				}
			})
		}
		if w, ok := e.b.(backend.Waiter); ok {
			wg.Go(func() {
				defer e.recoverShort()
				if err := w.Wait(e.ctx, request(e.worker(), 1, "never")); !errors.Is(err, backend.ErrClosed) {
					e.Errorf("Wait = %v, want ErrClosed", err)
				}
			})
		}
		for range 4 {
			<-started
		}
		if err := closer.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		wg.Wait()
	},
}, {
	name: "describe/durability",
	rule: "a store says what an acknowledged push survives; a store that outlives the process can be shared or reopened",
	run: func(e *env) {
		d := capability[backend.Describer](e, e.b).Describe()
		if d.Store == "" || d.Durability > backend.PowerLoss {
			e.Errorf("Describe returned %+v", d)
		}
		if d.Durability == backend.None {
			return
		}
		id := e.push(e.b, "a", 1)[0]
		if err := closeBackend(e.b); err != nil {
			e.Fatalf("Close: %v", err)
		}
		e.wantIDs("Claim after reopening", e.claim(e.store.Open(e), e.worker(), 10, "a"), id)
	},
}, {
	name: "describe/payload",
	rule: "a batch with a payload above the store's MaxPayload is refused",
	run: func(e *env) {
		most := capability[backend.Describer](e, e.b).Describe().MaxPayload
		if most < 0 {
			e.Fatalf("MaxPayload is %d", most)
		}
		if most == 0 || most > maxTriedPayload {
			return
		}
		jobs := []backend.NewJob{newJob("a"), newJob("a")}
		jobs[1].Payload = make([]byte, most+1)
		if _, err := e.b.Push(e.ctx, jobs); !errors.Is(err, backend.ErrInvalid) {
			e.Errorf("Push of %d bytes, with a MaxPayload of %d, returned %v; want ErrInvalid", most+1, most, err)
		}
		e.wantIDs("Claim", e.claim(e.b, e.worker(), 10, "a"))
		jobs[1].Payload = jobs[1].Payload[:most]
		if _, err := e.b.Push(e.ctx, jobs); err != nil {
			e.Fatalf("Push of MaxPayload bytes, %d: %v", most, err)
		}
		if claimed := e.claim(e.b, e.worker(), 10, "a"); len(claimed) == 0 {
			e.Error("Claim returned no job")
		}
		if claimed := e.claim(e.b, e.worker(), 10, "a"); len(claimed) != 1 || len(claimed[0].Payload) != most {
			e.Errorf("the job with %d bytes is not given back whole", most)
		}
	},
}}

// maxTriedPayload bounds the payload that a case makes.
const maxTriedPayload = 64 << 20
