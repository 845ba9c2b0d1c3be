package postgres

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// from returns where a claim of a name begins, by priority, and whether it reads
// everything.
func (m *lowWaterMarks) from(name string) (whole bool, marks map[int16]position) {
	f, r := m.begin([]string{name})
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.scans, f)
	}()
	marks = map[int16]position{}
	for i, at := range r.times {
		if at > firstTime {
			marks[int16(-r.ranks[i])] = position{at, r.firsts[i]}
		}
	}
	return f.whole, marks
}

func (m *lowWaterMarks) wantFrom(t *testing.T, what string, want map[int16]position) {
	t.Helper()
	whole, marks := m.from("a")
	if whole {
		t.Fatalf("%s: a claim reads everything", what)
	}
	if !maps.Equal(marks, want) {
		t.Errorf("%s: marks are %v, want %v", what, marks, want)
	}
}

// claim finishes a claim of "a" that read many entries.
func (m *lowWaterMarks) claim(read int64, waiting []string, taken ...claimedPosition) {
	f, _ := m.begin([]string{"a"})
	m.learn(f, scanResult{read: read, waiting: waiting, claimed: taken})
}

func TestMarks(t *testing.T) {
	var m lowWaterMarks
	m.claim(maxWastedReads, nil, claimedPosition{"a", 0, position{7, 1}})
	if whole, _ := m.from("a"); !whole {
		t.Error("there are marks although few entries were read")
	}
	m.claim(2*maxWastedReads, nil, claimedPosition{"a", 0, position{7, 1}}, claimedPosition{"a", 0, position{9, 1}}, claimedPosition{"a", 5, position{3, 1}})
	m.wantFrom(t, "after a claim", map[int16]position{0: {9, 2}, 5: {3, 2}})
	m.ready(20)
	m.wantFrom(t, "after a later job", map[int16]position{0: {9, 2}, 5: {3, 2}})
	m.ready(8)
	m.wantFrom(t, "after an earlier job", map[int16]position{0: {8, 0}, 5: {3, 2}})
	m.claim(0, nil, claimedPosition{"a", 0, position{8, 1}}, claimedPosition{"a", -3, position{30, 1}})
	m.wantFrom(t, "after a claim from the marks", map[int16]position{0: {8, 2}, 5: {3, 2}, -3: {30, 2}})

	// A claim in progress may not see a job that becomes claimable meanwhile.
	f, _ := m.begin([]string{"a"})
	m.ready(12)
	m.learn(f, scanResult{claimed: []claimedPosition{{"a", 0, position{40, 1}}}})
	m.wantFrom(t, "after a job that became claimable meanwhile", map[int16]position{0: {12, 0}, 5: {3, 2}, -3: {12, 0}})

	f, _ = m.begin([]string{"a"})
	m.learn(f, scanResult{due: true, claimed: []claimedPosition{{"a", 0, position{41, 1}}}})
	m.wantFrom(t, "after due jobs", map[int16]position{})

	f, _ = m.begin([]string{"a"})
	m.claim(0, nil, claimedPosition{"a", 0, position{50, 1}})
	m.end(f)
	m.wantFrom(t, "after a failed claim", map[int16]position{})

	// After fullScanInterval everything is read. A claim that stopped at its limit
	// has not shown that there is nothing before the other marks.
	m.claim(0, nil, claimedPosition{"a", 0, position{50, 1}}, claimedPosition{"a", 1, position{50, 1}})
	m.reread([]string{"a"})
	m.claim(2*maxWastedReads, []string{"b"}, claimedPosition{"a", 1, position{60, 1}})
	m.wantFrom(t, "after a claim that read everything", map[int16]position{0: {50, 2}, 1: {60, 2}})
	m.reread([]string{"a"})
	m.claim(2*maxWastedReads, []string{"a"}, claimedPosition{"a", 1, position{61, 1}})
	m.wantFrom(t, "after a claim that stopped at its limit", map[int16]position{1: {61, 2}})

	// A poll that reads everything and finds something makes the next claim read
	// everything.
	f, _ = m.begin([]string{"a"})
	m.polled(f, true)
	m.wantFrom(t, "after a poll from the marks", map[int16]position{1: {61, 2}})
	m.reread([]string{"a"})
	f, _ = m.begin([]string{"a"})
	m.polled(f, true)
	if whole, _ := m.from("a"); !whole {
		t.Error("a poll that read everything and found something did not make the next claim read everything")
	}
	m.reread([]string{"a"})
	m.claim(maxWastedReads, nil)
	if whole, _ := m.from("a"); !whole || len(m.names) != 0 {
		t.Error("there are marks although few entries were read")
	}
	if len(m.scans) != 0 {
		t.Errorf("%d scans are in progress, want none", len(m.scans))
	}
}

// The marks of a name expire.
func TestMarksAge(t *testing.T) {
	var m lowWaterMarks
	m.claim(2*maxWastedReads, nil, claimedPosition{"a", 0, position{1, 1}})
	if got := m.next([]string{"a", "b"}, time.Hour); got <= 0 || got > fullScanInterval {
		t.Errorf("everything is read in %v, want within %v", got, fullScanInterval)
	}
	if got := m.next([]string{"b"}, time.Hour); got != time.Hour {
		t.Errorf("another name is read in %v", got)
	}
	m.names["a"].whole = time.Now().Add(-fullScanInterval)
	if whole, _ := m.from("a"); !whole {
		t.Error("a claim after fullScanInterval does not read everything")
	}
	m.wantFrom(t, "while another claim reads everything", map[int16]position{0: {1, 2}})
}

func TestMarksBounded(t *testing.T) {
	var m lowWaterMarks
	var taken []claimedPosition
	for p := range int16(2 * maxMarks) {
		taken = append(taken, claimedPosition{"a", p, position{10, 1}})
	}
	m.claim(2*maxWastedReads, nil, taken...)
	if _, ids := m.from("a"); len(ids) != maxMarks {
		t.Errorf("there are %d marks, want %d", len(ids), maxMarks)
	}
}

func TestRanges(t *testing.T) {
	r := &ranges{}
	r.add(nil)
	r.add(map[int16]position{-32768: {13, 3}, 0: {17, 7}, 32767: {15, 5}})
	want := ranges{
		lows: []int64{1, 2}, highs: []int64{1, 5},
		ranks: []int64{firstRank, firstRank, -32767, 0, 32768}, times: []int64{firstTime, firstTime, 15, 17, 13}, firsts: []int64{0, 0, 5, 7, 3},
		untils: []int64{afterRank, -32767, 0, 32768, afterRank},
	}
	for what, c := range map[string][2][]int64{
		"lows": {r.lows, want.lows}, "highs": {r.highs, want.highs}, "ranks": {r.ranks, want.ranks}, "times": {r.times, want.times},
		"firsts": {r.firsts, want.firsts}, "untils": {r.untils, want.untils},
	} {
		if !slices.Equal(c[0], c[1]) {
			t.Errorf("the ranges' %s are %v, want %v", what, c[0], c[1])
		}
	}
}
