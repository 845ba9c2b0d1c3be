package lease

import (
	"slices"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

func jobsOf(seed int64, ids ...int64) (jobs []backend.Job) {
	for _, id := range ids {
		jobs = append(jobs, backend.Job{Lease: backend.Lease{ID: id, Token: seed + id}})
	}
	return jobs
}

func leasesOf(jobs []backend.Job) (leases []backend.Lease) {
	for _, j := range jobs {
		leases = append(leases, j.Lease)
	}
	return leases
}

// TestCache settles the jobs of two claims whose IDs lie between each other, one by one.
func TestCache(t *testing.T) {
	a, b := slices.Concat(jobsOf(7, 1, 2, 5), jobsOf(9, 6)), jobsOf(7, 3, 8)
	for _, test := range []struct {
		name string
		add  func(*Cache, []backend.Job)
		want []Claim // in the order in which their last leases are settled
	}{
		{"by run", (*Cache).Add, []Claim{
			{Run: Run{7, 1, 2}}, {Run: Run{7, 3, 3}}, {Run: Run{7, 5, 5}}, {Run: Run{9, 6, 6}}, {Run: Run{7, 8, 8}},
		}},
		{"by seed", (*Cache).AddBySeed, []Claim{
			{Run: Run{7, 1, 5}, Scattered: true}, {Run: Run{9, 6, 6}}, {Run: Run{7, 3, 8}, Scattered: true},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c Cache
			test.add(&c, b)
			test.add(&c, a)
			var got []Claim
			all := leasesOf(slices.Concat(a, b))
			slices.SortFunc(all, func(x, y backend.Lease) int { return int(x.ID - y.ID) })
			for _, l := range all {
				done, parts := c.Settling(RunsOf([]backend.Lease{l}))
				if again, _ := c.Settling(RunsOf([]backend.Lease{l})); len(again) != len(done) {
					t.Errorf("Settling of %v is %v, then %v", l, done, again)
				}
				c.Settled(parts)
				for _, k := range done {
					got = append(got, Claim{Run: k.Run, Scattered: k.Scattered})
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("the claims end in the order %v, want %v", got, test.want)
			}
			if len(c.bySeed) != 0 || c.parts != 0 {
				t.Errorf("the cache keeps %v", c.bySeed)
			}
		})
	}
}
