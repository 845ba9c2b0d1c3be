package child

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// A recorder is a store that notes its calls in a journal.
type recorder struct {
	*sqlite.Backend
	*journal

	mu     sync.Mutex
	claims map[int64]claim // the latest of each job, until it is settled
	point  func(string)    // called at a point, see Points
}

// A claim says how a job was claimed.
type claim struct {
	backend.Lease
	worker  int64
	suspect bool
}

func newRecorder(b *sqlite.Backend, j *journal) *recorder {
	return &recorder{Backend: b, journal: j, claims: map[int64]claim{}, point: func(string) {}}
}

// claim returns the latest claim of a job.
func (r *recorder) claim(id int64) claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claims[id]
}

func (r *recorder) Claim(ctx context.Context, req backend.ClaimRequest) ([]backend.Job, error) {
	began := time.Now()
	jobs, err := r.Backend.Claim(ctx, req)
	r.noteError(ctx, "claim", began, err)
	r.mu.Lock()
	for i := range jobs {
		r.claims[jobs[i].ID] = claim{jobs[i].Lease, req.Worker.ID, jobs[i].Suspect}
	}
	r.mu.Unlock()
	r.note(time.Now(), NoteClaimed, len(jobs), func(i int) string {
		suspect := 0
		if jobs[i].Suspect {
			suspect = 1
		}
		return fmt.Sprintf("%d %d %d %d %d", jobs[i].Token, jobs[i].ID, jobs[i].Attempt, suspect, began.UnixMicro())
	})
	return jobs, err
}

func (r *recorder) Heartbeat(ctx context.Context, req backend.HeartbeatRequest) (backend.HeartbeatResult, error) {
	began := time.Now()
	result, err := r.Backend.Heartbeat(ctx, req)
	r.noteError(ctx, "heartbeat", began, err)
	return result, err
}

func (r *recorder) Reap(ctx context.Context, req backend.ReapRequest) (backend.ReapResult, error) {
	began := time.Now()
	result, err := r.Backend.Reap(ctx, req)
	r.noteError(ctx, "reap", began, err)
	if len(result.Workers) > 0 {
		r.one(NoteReaped, fmt.Sprintf("%d %d %d", len(result.Workers), result.Rescued, result.Failed))
	}
	return result, err
}

func (r *recorder) Complete(ctx context.Context, done []backend.Completion) ([]backend.Lease, error) {
	r.point("handler.returned")
	return r.settle(ctx, "complete", len(done),
		func(i int) (int64, string) { return done[i].Token, backend.Done.String() },
		func() ([]backend.Lease, error) { return r.Backend.Complete(ctx, done) })
}

var endings = map[backend.Ending]string{
	backend.EndRetry: "retry", backend.EndSnooze: "snooze", backend.EndRelease: Released,
	backend.EndFailed: "failed", backend.EndCancelled: "cancelled",
}

func (r *recorder) Fail(ctx context.Context, failures []backend.Failure) ([]backend.Lease, error) {
	return r.settle(ctx, "fail", len(failures),
		func(i int) (int64, string) { return failures[i].Token, endings[failures[i].Ending] },
		func() ([]backend.Lease, error) { return r.Backend.Fail(ctx, failures) })
}

func (r *recorder) settle(
	ctx context.Context, op string, n int, of func(int) (token int64, ending string), call func() ([]backend.Lease, error),
) ([]backend.Lease, error) {
	began := time.Now()
	r.note(began, NoteSettles, n, func(i int) string {
		token, ending := of(i)
		return fmt.Sprintf("%d %s", token, ending)
	})
	lost, err := call()
	r.noteError(ctx, op, began, err)
	if err != nil {
		return lost, err
	}
	gone := map[int64]bool{}
	for _, l := range lost {
		gone[l.Token] = true
	}
	now := time.Now()
	var accepted []int
	var ended []int64 // tokens
	for i := range n {
		token, ending := of(i)
		if gone[token] {
			continue
		}
		accepted = append(accepted, i)
		if ending != Released { // a worker that releases an unknown lease may start its run yet
			ended = append(ended, token)
		}
	}
	r.forget(ended)
	r.note(now, NoteAccepted, len(accepted), func(i int) string {
		token, ending := of(accepted[i])
		return fmt.Sprintf("%d %s %d", token, ending, began.UnixMicro())
	})
	r.note(now, NoteLost, len(lost), func(i int) string { return fmt.Sprint(lost[i].Token) })
	for _, l := range lost {
		r.settleStale(l)
	}
	r.point("complete.answered")
	return lost, err
}

// forget removes settled claims, by token: their jobs may have been claimed
// again.
func (r *recorder) forget(tokens []int64) {
	settled := map[int64]bool{}
	for _, token := range tokens {
		settled[token] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.claims, func(_ int64, c claim) bool { return settled[c.Token] })
}

// staleSettlements are when a lost lease is settled all the same: at once, when
// its job probably waits or runs elsewhere, and when that run has ended.
var staleSettlements = []time.Duration{0, 300 * time.Millisecond, 2 * time.Second}

// settleStale completes the job of a lost lease, as a worker may that does not
// know of the loss.
func (r *recorder) settleStale(l backend.Lease) {
	for _, after := range staleSettlements {
		time.AfterFunc(after, func() {
			lost, err := r.Backend.Complete(context.Background(), []backend.Completion{{Lease: l}})
			if err != nil {
				return // the process ends
			}
			how := Refused
			if len(lost) == 0 {
				how = Accepted
			}
			r.one(NoteStale, fmt.Sprintf("%d %s", l.Token, how))
		})
	}
}

// noteLostLeases settles a lease that its worker considers lost, as soon as the
// store does, too.
func (r *recorder) noteLostLeases(c claim) {
	for {
		lost, err := r.lost(c.ID, c.worker)
		if lost {
			r.settleStale(c.Lease)
		}
		if lost || errors.Is(err, backend.ErrClosed) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lost reports whether a worker no longer has a job. A worker that cannot reach
// the store for the length of its lease gives its jobs up. The lease stays
// valid until the job is rescued.
func (r *recorder) lost(id, worker int64) (bool, error) {
	info, err := r.Get(context.Background(), id)
	if errors.Is(err, backend.ErrNotFound) {
		return true, nil
	}
	return err == nil && (info.State != backend.Running || info.Worker != worker), err
}

// The results of settling a lost lease.
const (
	Accepted = "accepted"
	Refused  = "refused"
)

// noteError notes an error of a call, unless the caller cancelled the call: a
// worker that stops does so.
func (r *recorder) noteError(ctx context.Context, op string, began time.Time, err error) {
	if err == nil || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	r.one(NoteError, fmt.Sprintf("%s %d %s %s", Kind(err), time.Since(began).Microseconds(), op,
		strings.ReplaceAll(err.Error(), "\n", " ")))
}

// Kind returns the kind of an error, "other" if it has none.
func Kind(err error) string {
	for _, k := range []struct {
		err  error
		name string
	}{
		{nil, "none"},
		{backend.ErrSchemaTooNew, "schema"}, {backend.ErrCorrupt, "corrupt"}, {backend.ErrNoSpace, "nospace"},
		{backend.ErrClosed, "closed"}, {backend.ErrNotFound, "notfound"}, {backend.ErrWorkerGone, "workergone"},
		{backend.ErrInvalid, "invalid"}, {backend.ErrUnavailable, "unavailable"},
		{context.DeadlineExceeded, "deadline"}, {context.Canceled, "canceled"},
	} {
		if err == k.err || k.err != nil && errors.Is(err, k.err) { //nolint:errorlint // nil is compared
			return k.name
		}
	}
	return "other"
}
