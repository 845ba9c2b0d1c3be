package dashboard

import (
	"context"
	"sync"
	"time"
)

// staleWait is how long a page waits for a newer reading before it shows the last one.
const staleWait = 50 * time.Millisecond

// A reading is the latest answer of the store to a question that may take long. One read
// at a time is in progress, whatever the number of pages. Reads take at most updateShare
// of the time: where they take long, pages show an older answer.
type reading[T any] struct {
	read func(ctx context.Context) (T, error)

	mu     sync.Mutex
	ended  chan struct{} // of the read in progress, or nil
	answer answer[T]
}

type answer[T any] struct {
	value T
	err   error
	at    time.Time // when the read began; zero if there is none
	took  time.Duration
}

// get returns an answer that is not older than age, or a newer one: if it comes soon, or else
// the last one, if there is one.
func (r *reading[T]) get(ctx context.Context, age time.Duration) (T, error) {
	r.mu.Lock()
	last, ended := r.answer, r.ended
	if ended == nil {
		if time.Since(last.at) < max(age, min(updateShare*last.took, updateMost)) {
			r.mu.Unlock()
			return last.value, last.err
		}
		ended = make(chan struct{})
		r.ended = ended
		go r.renew()
	}
	r.mu.Unlock()
	var stale <-chan time.Time
	if !last.at.IsZero() && last.err == nil {
		timer := time.NewTimer(staleWait)
		defer timer.Stop()
		stale = timer.C
	}
	select {
	case <-stale:
		return last.value, nil
	case <-ctx.Done():
		return last.value, ctx.Err()
	case <-ended:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answer.value, r.answer.err
}

func (r *reading[T]) renew() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*readWait)
	defer cancel()
	_, _ = r.fresh(ctx) // its error is in the answer
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.ended)
	r.ended = nil
}

// fresh reads now, and keeps the answer for get unless a later read has one.
func (r *reading[T]) fresh(ctx context.Context) (T, error) {
	begin := time.Now()
	value, err := r.read(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answer.at.Before(begin) {
		r.answer = answer[T]{value, err, begin, time.Since(begin)}
	}
	return value, err
}
