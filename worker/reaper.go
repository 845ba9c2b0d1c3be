package worker

import (
	"context"
	"errors"

	"github.com/plainjobs/plainjobs/backend"
)

// A reaper rescues the jobs of dead workers and prunes old jobs.
type reaper struct {
	*setup
	leases   *leases
	requests chan backend.ReapRequest // from the heartbeats
}

// loop reaps each time that the heartbeats send how long the worker has been stable,
// until ctx ends. It is a goroutine of its own: pruning must not delay heartbeats.
func (p *reaper) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case req := <-p.requests:
			for {
				if more, err := p.once(ctx, req); !more || err != nil {
					break
				}
				select { // a newer request replaces this one
				case req = <-p.requests:
				default:
				}
			}
		}
	}
}

// watchDead rescues the jobs of workers whose processes have ended, as soon as the store
// detects that, until ctx ends.
func (p *reaper) watchDead(ctx context.Context) {
	detector, ok := p.store.(backend.DeathDetector)
	if !ok {
		return
	}
	pause := newBackoff()
	for ctx.Err() == nil {
		self, _ := p.leases.worker()
		limited, cancel := context.WithTimeout(ctx, p.opts.Lease) // self may change
		dead, err := detector.WatchDead(limited, self.ID)
		cancel()
		switch {
		case len(dead) > 0:
			more := true
			for more && err == nil {
				more, err = p.once(ctx, backend.ReapRequest{Dead: dead})
			}
			if err != nil { // WatchDead would return the same at once
				pause.wait(ctx)
				continue
			}
			pause.reset()
		case errors.Is(err, context.DeadlineExceeded):
		case err != nil && ctx.Err() == nil:
			if !permanent(err) {
				p.log.warn("detect dead workers", err)
			}
			pause.wait(ctx)
		}
	}
}

// once reaps once and reports whether there is more to do. It has logged the error that
// it returns.
func (p *reaper) once(ctx context.Context, req backend.ReapRequest) (more bool, err error) {
	limited, cancel := context.WithTimeout(ctx, p.opts.Lease/3)
	defer cancel()
	r, err := p.store.Reap(limited, req)
	if r.Rescued+r.Failed > 0 || len(r.Workers) > 0 {
		p.opts.Logger.Warn("plainjobs: rescued the jobs of dead workers",
			"workers", len(r.Workers), "rescued", r.Rescued, "failed", r.Failed)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrClosed) {
		p.log.warn("rescue the jobs of dead workers and prune", err)
	}
	return r.More && ctx.Err() == nil, err
}
