package memory

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A queue behaves like a sorted list, whatever the order of its changes.
func TestQueue(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		var q queue
		var want []entry
		for id := range int64(2000) {
			j := &job{id: id}
			key := id / 10
			if random.IntN(3) == 0 {
				key = random.Int64N(200)
			}
			at := random.Int64N(3)
			q.push(key, at, j)
			e := entry{key: key, at: at, job: j}
			place, _ := slices.BinarySearchFunc(want, e, func(a, b entry) int {
				if a.before(&b) {
					return -1
				}
				return 1
			})
			want = slices.Insert(want, place, e)
			for random.IntN(3) > 0 && len(want) > 0 {
				gone := 0
				if random.IntN(2) == 0 {
					gone = random.IntN(len(want))
				}
				want[gone].job.moves++
				q.drop()
				want = slices.Delete(want, gone, gone+1)
			}
			switch first := q.peek(); {
			case len(want) == 0:
				if first != nil {
					t.Fatalf("seed %d: the first is job %d, want none", seed, first.id)
				}
			case first != want[0].job:
				t.Fatalf("seed %d: the first is %v, want job %d", seed, first, want[0].job.id)
			}
		}
		if held := len(q.run) - q.at + len(q.heap); held > 2*len(want)+200 {
			t.Errorf("seed %d: the queue of %d jobs has %d entries", seed, len(want), held)
		}
	}
}

// No span of Per has more claims than Rate, and no claim is delayed by more than a
// hundredth of Per too long.
func TestWindow(t *testing.T) {
	const per = 10_000
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 2))
		s := lifecycle.Rate{Jobs: 1 + random.IntN(300), Per: per}
		var w window
		var claimed []int64
		for now := int64(1); now < 20*per; now += random.Int64N(2 * per / int64(s.Jobs)) {
			free := w.free(s, now)
			if (free == 0) != (w.left(s, now) > 0) {
				t.Fatalf("seed %d: %d of %d left, free at %d", seed, w.left(s, now), s.Jobs, free)
			}
			if n := len(claimed) - s.Jobs; n >= 0 {
				age := now - claimed[n]
				if free == 0 && age < per || free != 0 && age >= per+per/100 {
					t.Fatalf("seed %d: free at %d, and the claim that counts is %d old", seed, free, age)
				}
			}
			if free == 0 {
				w.add(s, now)
				claimed = append(claimed, now)
			}
			if len(w) > 102 {
				t.Fatalf("seed %d: the window has %d parts", seed, len(w))
			}
		}
	}
}

// Pages of the table are freed with their jobs.
func TestTable(t *testing.T) {
	var tab table
	for id := int64(1); id <= 10*pageSize; id++ {
		tab.put(&job{id: id})
	}
	for id := int64(1); id <= 10*pageSize; id++ {
		if id/pageSize != 5 && id != 3 {
			tab.delete(id)
		}
	}
	var ids []int64
	for j := range tab.below(5*pageSize + 3) {
		ids = append(ids, j.id)
	}
	if want := []int64{5*pageSize + 2, 5*pageSize + 1, 5 * pageSize, 3}; !slices.Equal(ids, want) {
		t.Errorf("the table has %v, want %v", ids, want)
	}
	pages := slices.DeleteFunc(slices.Clone(tab.pages), func(p *page) bool { return p == nil })
	if len(pages) != 2 || tab.get(4) != nil || tab.get(-1) != nil || tab.get(1<<40) != nil || tab.get(3) == nil {
		t.Errorf("%d pages are left", len(pages))
	}
}
