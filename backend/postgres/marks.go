package postgres

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"
)

// Low-water marks are where claims begin to read: for each name and priority, the
// first position in claim order that may have a job. Below a mark are index entries
// of claimed jobs, which every claim would read while a session holds an older
// snapshot.
//
// There are no marks, and claims are exact, until a claim has read many entries to
// find few jobs. From then on, a job below a mark may be claimed late: at once if
// this process made it claimable or was notified of it, and otherwise at the next
// full scan, after fullScanInterval. Such a job committed later than jobs with a
// later run_at were claimed, or was added by another process or an application's
// transaction without a notification.
type lowWaterMarks struct {
	mu    sync.Mutex
	names map[string]*lowWaterMark
	scans map[*scan]struct{}
}

// A lowWaterMark is what is known about a name.
type lowWaterMark struct {
	whole time.Time          // the last full scan
	first map[int16]position // by priority
}

// A position is a job's place among the jobs of its name and priority.
type position struct{ runAt, id int64 }

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.runAt, o.runAt), cmp.Compare(p.id, o.id))
}

func minPosition(a, b position) position {
	if a.compare(b) < 0 {
		return a
	}
	return b
}

// A scan is a claim or a poll in progress.
type scan struct {
	names  []string
	began  time.Time
	whole  bool  // it reads everything
	lowest int64 // the lowest run_at of jobs that became claimable meanwhile
}

const (
	// fullScanInterval is the interval between full scans.
	fullScanInterval = 800 * time.Millisecond
	// maxWastedReads is how many more entries than it returns a claim may read
	// before marks are kept. Such a claim takes twice as long as one that wastes no
	// reads.
	maxWastedReads = 4000
	// maxMarks bounds the marks of a name.
	maxMarks = 8
)

// Ranks and times outside all valid ones. A rank is a negated priority.
const (
	firstRank = -40000
	afterRank = 40000
	firstTime = math.MinInt64
)

// Ranges say what to read, in the form of migration 005.
type ranges struct {
	lows, highs                  []int64
	ranks, times, firsts, untils []int64
}

// args returns the ranges as parameters.
func (r *ranges) args() []any {
	return []any{intArray(r.lows), intArray(r.highs), intArray(r.ranks), intArray(r.times), intArray(r.firsts), intArray(r.untils)}
}

// wholeRanges returns ranges that read everything of n names.
func wholeRanges(n int) *ranges {
	r := &ranges{}
	for range n {
		r.add(nil)
	}
	return r
}

// add adds a name with marks.
func (r *ranges) add(marks map[int16]position) {
	r.lows = append(r.lows, int64(len(r.ranks)+1))
	rank, from := int64(firstRank), position{runAt: firstTime}
	add := func(until int64) {
		r.ranks, r.times, r.firsts, r.untils = append(r.ranks, rank), append(r.times, from.runAt), append(r.firsts, from.id), append(r.untils, until)
	}
	for _, p := range slices.Backward(sorted(marks)) {
		add(-int64(p))
		rank, from = -int64(p), marks[p]
	}
	add(afterRank)
	r.highs = append(r.highs, int64(len(r.ranks)))
}

// begin returns what a claim or a poll of names reads. The caller must end the scan
// by learn, polled or end.
func (m *lowWaterMarks) begin(names []string) (*scan, *ranges) {
	f := &scan{names: names, began: time.Now(), lowest: math.MaxInt64}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		k := m.names[name]
		f.whole = f.whole || k == nil || f.began.Sub(k.whole) >= fullScanInterval
	}
	if m.scans == nil {
		m.scans = map[*scan]struct{}{}
	}
	m.scans[f] = struct{}{}
	if f.whole {
		for _, name := range names {
			if k := m.names[name]; k != nil {
				k.whole = f.began // one full scan at a time is enough
			}
		}
		return f, wholeRanges(len(names))
	}
	r := &ranges{}
	for _, name := range names {
		r.add(m.names[name].first)
	}
	return f, r
}

// end drops a failed scan, and the marks learned while it may have held locks that
// made other claims skip jobs.
func (m *lowWaterMarks) end(f *scan) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.scans, f)
	m.lower(firstTime)
	if f.whole {
		m.reread(f.names)
	}
}

// A scanResult is what a claim found.
type scanResult struct {
	read    int64    // index entries
	due     bool     // jobs became due that may be below the marks
	waiting []string // names that may have more jobs, if the claim stopped at its limit
	claimed []claimedPosition
}

// A claimedPosition is the position of a claimed job.
type claimedPosition struct {
	name     string
	priority int16
	position
}

// learn sets the marks after the claimed jobs. A claim takes the first jobs of a
// name, so it leaves none before a job that it took, except jobs that other
// transactions had locked.
func (m *lowWaterMarks) learn(f *scan, l scanResult) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.whole {
		m.learnWhole(f, l)
	}
	if l.due {
		m.lower(firstTime)
	}
	delete(m.scans, f)
	for _, s := range l.claimed {
		k := m.names[s.name]
		if k == nil {
			continue
		}
		mark, ok := k.first[s.priority]
		if !ok && len(k.first) == maxMarks {
			continue
		}
		if next := (position{s.runAt, s.id + 1}); !ok || mark.compare(next) < 0 {
			mark = next
		}
		k.first[s.priority] = minPosition(mark, position{runAt: f.lowest})
	}
}

// learnWhole starts or drops the marks of names after a full scan, depending on how
// many reads it wasted.
func (m *lowWaterMarks) learnWhole(f *scan, l scanResult) {
	if l.read <= maxWastedReads+2*int64(len(l.claimed)) {
		for _, name := range f.names {
			delete(m.names, name)
		}
		return
	}
	if m.names == nil {
		m.names = map[string]*lowWaterMark{}
	}
	for _, name := range f.names {
		k := m.names[name]
		if k == nil {
			k = &lowWaterMark{first: map[int16]position{}}
			m.names[name] = k
		}
		k.whole = f.began
		// A job that the scan saw but did not take may be below the marks.
		if slices.Contains(l.waiting, name) {
			clear(k.first)
		}
	}
}

// polled records whether a poll found something. If so, the next claim must find it,
// too.
func (m *lowWaterMarks) polled(f *scan, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.scans, f)
	if f.whole && found {
		m.reread(f.names)
	}
}

func (m *lowWaterMarks) reread(names []string) {
	for _, name := range names {
		if k := m.names[name]; k != nil {
			k.whole = time.Time{}
		}
	}
}

// next returns the time until the next full scan of names, at most pause: a waiting
// worker must poll by then.
func (m *lowWaterMarks) next(names []string, pause time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if k := m.names[name]; k != nil && len(k.first) > 0 {
			pause = min(pause, max(fullScanInterval-time.Since(k.whole), time.Millisecond))
		}
	}
	return pause
}

// ready notes that jobs became claimable. lowest is their lowest run_at.
func (m *lowWaterMarks) ready(lowest int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lower(lowest)
}

func (m *lowWaterMarks) lower(lowest int64) {
	for f := range m.scans {
		f.lowest = min(f.lowest, lowest)
	}
	for _, k := range m.names {
		for p, mark := range k.first {
			k.first[p] = minPosition(mark, position{runAt: lowest})
		}
	}
}
