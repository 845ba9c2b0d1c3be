package postgres

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// fullScanInterval is the longest time between full scans, which bounds how late a
// claim finds a job before the position.
const fullScanInterval = 800 * time.Millisecond

// maxWastedReads is how many index entries a claim may read in vain before later claims
// begin at a position. Reading that many takes about a millisecond.
const maxWastedReads = 4000

// A scanPosition is where claims begin to read: the rank and run_at of the last claimed
// job. Before it are index entries of claimed spans, which every claim would read while
// a session holds an older snapshot.
//
// Claims read everything, and are exact, until one has read many entries to find few
// jobs. From then on a job before the position is claimed at once if this process made
// it claimable, and otherwise by the next full scan. Such a job has a higher priority,
// waits again, or was committed later than jobs with a later run_at were claimed.
type scanPosition struct {
	mu     sync.Mutex
	names  []string // of the claims
	rank   int64
	runAt  int64
	whole  time.Time // the last full scan
	active bool
	pushed int64 // the lowest rank of the jobs pushed since then
	resets int
}

// A scan is where one claim begins.
type scan struct {
	rank, runAt int64
	whole       bool
	resets      int
}

// everywhere is a scan of everything.
var everywhere = scan{math.MinInt32, math.MinInt64, true, 0}

// begin returns where a claim of names begins.
func (p *scanPosition) begin(names []string) scan {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.active && now.Sub(p.whole) < fullScanInterval && slices.Equal(p.names, names) {
		return scan{p.rank, p.runAt, false, p.resets}
	}
	p.whole, p.pushed = now, math.MaxInt64 // one full scan at a time is enough
	all := everywhere
	all.resets = p.resets
	return all
}

// learn sets the position after the jobs of a claim, in claim order. read is how many
// entries it read. bounded says that it left jobs of some names.
func (p *scanPosition) learn(s scan, names []string, jobs []backend.Job, read int64, bounded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.whole {
		p.active = !bounded && len(jobs) > 0 && read > maxWastedReads+4*int64(len(jobs)) && s.resets == p.resets
		p.names, p.rank, p.runAt = names, math.MinInt32, math.MinInt64
	}
	if last := len(jobs) - 1; p.active && last >= 0 && s.resets == p.resets && slices.Equal(p.names, names) {
		rank, runAt := -int64(jobs[last].Priority), jobs[last].RunAt.UnixMicro()
		if p.pushed < rank {
			p.active = false
			return
		}
		if cmp.Or(cmp.Compare(rank, p.rank), cmp.Compare(runAt, p.runAt)) > 0 {
			p.rank, p.runAt = rank, runAt
		}
	}
}

// reset makes the next claim read everything.
func (p *scanPosition) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = false
	p.resets++
}

// push notes new jobs with ranks from lowest on.
func (p *scanPosition) push(lowest int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pushed = min(p.pushed, lowest)
	p.active = p.active && p.rank <= lowest
}
