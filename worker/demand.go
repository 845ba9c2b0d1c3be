package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

const (
	// prefetchTime is how long the waiting runs should last: long enough to claim
	// the next ones.
	prefetchTime = 20 * time.Millisecond

	// maxPrefetch bounds the runs that wait for a slot, and maxClaim those that one
	// claim returns: one claim runs while the next is made. The payloads of the
	// waiting runs are at most [backend.DefaultMaxBytes] together, except for a
	// single run.
	maxPrefetch = 1024
	maxClaim    = maxPrefetch / 2

	// prefetchAgain is after how many claims that could prefetch nothing the next one
	// tries again: the limits may have been lifted.
	prefetchAgain = 64
)

// A demand is what the number of jobs to claim depends on, and how the claimer is woken
// when it changes. The mutex of the dispatcher guards the fields after settling.
type demand struct {
	concurrency int
	batch       int           // the maximum number of runs of a batch, or 0 without batches
	changed     chan struct{} // wakes the claimer where it waits for demand
	settling    atomic.Bool   // the settler is about to write

	average    time.Duration      // of a handler, weighted to the latest
	unfetched  int                // how many claims in a row could prefetch nothing
	awaited    bool               // the claimer waits until there is demand
	exhaust    bool               // the waiting runs run out first, for a suspect
	cancelWait context.CancelFunc // ends the claimer's wait for jobs; may be nil
}

func newDemand(concurrency, batch int) *demand {
	return &demand{concurrency: concurrency, batch: batch, changed: make(chan struct{}, 1)}
}

// observe updates the average with the duration of a run.
func (d *demand) observe(took time.Duration) {
	if d.average == 0 {
		d.average = max(took, 1)
	} else {
		d.average = max(d.average+(took-d.average)/8, 1)
	}
}

// limit returns how many jobs to claim for free slots, or zero where that is not worth
// a claim. A claim costs the same for a few jobs, so it is worth its cost when half of
// the prefetched runs have started, or a quarter if it shares a transaction with the
// settler. suspect is set while the worker has a suspect.
func (d *demand) limit(free int, waiting *runQueue, suspect, shared bool) int {
	prefetch := 0
	if d.average > 0 && !suspect && d.unfetched%prefetchAgain == 0 {
		prefetch = int(min(maxPrefetch, time.Duration(d.concurrency*max(1, d.batch))*prefetchTime/d.average))
	}
	if d.exhaust && (!waiting.empty() || free == 0) {
		return 0
	}
	enough := prefetch / 2
	if shared {
		enough += prefetch / 4
	}
	if d.batch > 0 { // a batch that is not full does not occupy its slot
		enough += max(0, free-1)
	}
	if waiting.len() > enough || waiting.bytes > backend.DefaultMaxBytes/2 {
		return 0
	}
	return max(0, min(maxClaim, free+prefetch-waiting.len()))
}

// claimed notes whether a claim could prefetch nothing, because stores do not let workers
// prefetch jobs of limited names. Then the next ones ask for no more than can start: a
// claim while all slots are busy would be in vain. A batch needs more jobs than slots.
func (d *demand) claimed(unfetched bool) {
	if unfetched && d.batch == 0 {
		d.unfetched++
	} else {
		d.unfetched = 0
	}
}

// settleSoon notes that the settler is about to write, so that a claim may share its
// transaction.
func (d *demand) settleSoon() {
	d.settling.Store(true)
	d.wake()
}

// wake makes the claimer look at the demand again, where it waits for demand.
func (d *demand) wake() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// interrupt ends the claimer's wait for jobs, as more may be claimed now.
func (d *demand) interrupt() {
	if d.cancelWait != nil {
		d.cancelWait()
	}
}
