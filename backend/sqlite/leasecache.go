package sqlite

import (
	"cmp"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
)

// maxCachedLeases is the most leases that a writer caches.
const maxCachedLeases = 1 << 16

// A leaseCache has the leases that this process claimed and did not settle, so that
// completing a job needs no query. A job that is not in the cache costs one.
type leaseCache struct {
	ranges []cachedRange // by seed and first; no two have a lease in common
	leases int
}

// A cachedRange is leases on jobs of one name that follow each other and have one
// seed.
type cachedRange struct {
	claimRow
	name  int64
	keyed bool // the jobs have keys
	gated bool // the jobs have to do with gates
	claim *cachedClaim
}

// A cachedClaim is what was claimed together. Its rows are deleted with the last of
// its leases.
type cachedClaim struct {
	rows []claimRow
	left int // leases that are not settled
}

func compareRange(r cachedRange, l claimRow) int {
	return cmp.Or(cmp.Compare(r.seed, l.seed), cmp.Compare(r.first, l.first))
}

// add caches the leases of a claim.
func (l *leaseCache) add(rows []claimRow, jobs []backend.Job, names []int64, flags []flag) {
	if len(jobs) == 0 {
		return
	}
	if l.leases += len(jobs); l.leases > maxCachedLeases {
		l.ranges = nil // transactions of handlers, or other processes, settled the jobs
		l.leases = len(jobs)
	}
	claim := &cachedClaim{rows: rows, left: len(jobs)}
	var open cachedRange
	for i := range jobs {
		id, seed, keyed, gated := jobs[i].ID, jobs[i].Token-jobs[i].ID, flags[i]&flagsAtDone != 0, flags[i]&flagsOfGates != 0
		if i > 0 && open.last+1 == id && open.seed == seed && open.name == names[i] && open.keyed == keyed && open.gated == gated {
			open.last = id
			continue
		}
		if i > 0 {
			l.insert(open)
		}
		open = cachedRange{claimRow{seed, id, id}, names[i], keyed, gated, claim}
	}
	l.insert(open)
}

func (l *leaseCache) insert(r cachedRange) {
	if n := len(l.ranges); n == 0 || compareRange(l.ranges[n-1], r.claimRow) < 0 {
		l.ranges = append(l.ranges, r)
		return
	}
	at, _ := slices.BinarySearchFunc(l.ranges, r.claimRow, compareRange)
	l.ranges = slices.Insert(l.ranges, at, r)
}

// find returns the place of the range that has a lease, or -1.
func (l *leaseCache) find(lease backend.Lease) int {
	at, exact := slices.BinarySearchFunc(l.ranges, claimRow{lease.Token - lease.ID, lease.ID, 0}, compareRange)
	if !exact {
		at--
	}
	if at >= 0 && l.ranges[at].seed == lease.Token-lease.ID && lease.ID <= l.ranges[at].last {
		return at
	}
	return -1
}

// claimOf returns the claim that has a lease, or nil.
func (l *leaseCache) claimOf(lease backend.Lease) *cachedClaim {
	if at := l.find(lease); at >= 0 {
		return l.ranges[at].claim
	}
	return nil
}

// settle records that leases of claims were settled.
func (l *leaseCache) settle(settled map[*cachedClaim]int) {
	for claim, n := range settled {
		claim.left -= n
		l.leases -= n
		if claim.left > 0 {
			continue
		}
		for _, row := range claim.rows {
			from, _ := slices.BinarySearchFunc(l.ranges, row, compareRange)
			to := from
			for to < len(l.ranges) && l.ranges[to].claim == claim {
				to++
			}
			l.ranges = slices.Delete(l.ranges, from, to)
		}
	}
}

// lookup returns the runs of done, which is in the order of leases. It returns nil
// if a lease is not cached or occurs twice.
func (l *leaseCache) lookup(done []backend.Completion) []doneRun {
	runs := make([]doneRun, len(done))
	at := -1
	for i, c := range done {
		if i > 0 && c.Lease == done[i-1].Lease {
			return nil
		}
		seed := c.Token - c.ID
		if at < 0 || l.ranges[at].seed != seed || c.ID > l.ranges[at].last {
			if at = l.find(c.Lease); at < 0 {
				return nil
			}
		}
		r := &l.ranges[at]
		runs[i] = doneRun{c, r.name, r.keyed, r.gated, false}
	}
	return runs
}

const deleteClaimRow = `DELETE FROM plainjobs_claim WHERE seed = ? AND first = ?`

var deleteClaimRows = newList(`DELETE FROM plainjobs_claim WHERE seed = ? AND first IN (`, `?`, `)`)

// settle notes that a lease was settled.
func (t *tx) settle(lease backend.Lease) {
	if t.w == nil {
		return
	}
	if claim := t.w.leases.claimOf(lease); claim != nil {
		if t.settled == nil {
			t.settled = map[*cachedClaim]int{}
		}
		t.settled[claim]++
	}
}

// deleteSettledClaims deletes the claims all of whose leases were settled. What
// this process does not know of, the next heartbeat of its worker finds.
func (t *tx) deleteSettledClaims() error {
	for claim, n := range t.settled {
		if n < claim.left {
			continue
		}
		if err := t.deleteClaimRows(claim.rows); err != nil {
			return err
		}
	}
	return nil
}

// deleteClaimRows deletes rows of a claim, which are in the order of leases.
func (t *tx) deleteClaimRows(rows []claimRow) error {
	for len(rows) > 0 {
		n := 1
		for n < min(len(rows), maxList) && rows[n].seed == rows[0].seed {
			n++
		}
		if n == 1 {
			if _, err := t.exec(deleteClaimRow, rows[0].seed, rows[0].first); err != nil {
				return err
			}
		} else {
			firsts := make([]int64, n)
			for i := range firsts {
				firsts[i] = rows[i].first
			}
			query, length := deleteClaimRows.fit(n)
			if _, err := t.exec(query, appendIDs([]any{rows[0].seed}, firsts, length)...); err != nil {
				return err
			}
		}
		rows = rows[n:]
	}
	return nil
}
