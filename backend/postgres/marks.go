package postgres

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"
)

// Marks are where claims begin: by name and priority, the first position in the
// order of claims that may have a job. Below it are the index entries of jobs
// that were claimed, which every claim would read while a session holds a
// snapshot older than that.
//
// There are none, and claims are exact, until one has read much for little.
// Then a job below a mark is claimed late: at once if this process made it
// claimable, or was notified of it, and otherwise when everything is read again,
// which is after wholeEvery. That is a job whose time was read before others
// were claimed and which was committed after them, or one that another process
// released or a transaction of the application added.
type lowWaterMarks struct {
	mu    sync.Mutex
	names map[string]*lowWaterMark
	scans map[*scan]struct{}
}

// A lowWaterMark is what is known of a name.
type lowWaterMark struct {
	whole time.Time          // when all of it was read
	first map[int16]position // by priority
}

// A position is where a job stands among those of its name and priority.
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

// A scan is a claim, or a look, that is under way.
type scan struct {
	names  []string
	began  time.Time
	whole  bool  // it reads everything
	lowest int64 // run_at of what became claimable meanwhile
}

const (
	// fullScanInterval is how often everything is read at least.
	fullScanInterval = 800 * time.Millisecond
	// maxWastedReads is how many entries beyond what it returns a claim may read
	// before marks are worth it: it then takes twice as long as one that reads
	// none.
	maxWastedReads = 4000
	// maxMarks bounds the marks of a name.
	maxMarks = 8
)

// Ranks and times beyond all: a rank is a priority negated.
const (
	firstRank = -40000
	afterRank = 40000
	firstTime = math.MinInt64
)

// Ranges are what to read, in the form of migration 005.
type ranges struct {
	lows, highs                  []int64
	ranks, times, firsts, untils []int64
}

// args returns the ranges as parameters.
func (r *ranges) args() []any {
	return []any{intArray(r.lows), intArray(r.highs), intArray(r.ranks), intArray(r.times), intArray(r.firsts), intArray(r.untils)}
}

// wholeRanges returns all of n names.
func wholeRanges(n int) *ranges {
	r := &ranges{}
	for range n {
		r.add(nil)
	}
	return r
}

// add adds a name that has marks.
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

// begin returns what a claim or a look of names is to read. It must be ended by
// end.
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
				k.whole = f.began // one at a time is enough
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

// end forgets a flight that failed, and what was learned while it may have had
// locks that others passed over.
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
	read    int64    // entries
	due     bool     // jobs became claimable that may be below the marks
	waiting []string // names of which there may be more, if it was cut short
	claimed []claimedPosition
}

// A claimedPosition is the position of a claimed job.
type claimedPosition struct {
	name     string
	priority int16
	position
}

// learn sets the marks behind what a claim took. In the order of its name a
// claim takes what comes first, so that nothing is left before a job that it
// took, but for what others had locked.
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

// learnWhole begins and ends the marks of names, by what it costs to do without.
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
		// What it has seen and not taken may be below the marks.
		if slices.Contains(l.waiting, name) {
			clear(k.first)
		}
	}
}

// looked notes whether a look found something. If so the next claim must find
// it, too.
func (m *lowWaterMarks) looked(f *scan, found bool) {
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

// next returns in how long everything of names is to be read again, at most a
// pause: whoever waits must not be later.
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

// ready notes that jobs became claimable, none of which has a run_at before
// lowest.
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
