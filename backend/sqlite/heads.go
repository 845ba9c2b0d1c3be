package sqlite

import (
	"cmp"
	"database/sql"
	"slices"
)

// A head is a pending job as read from the index.
type head struct{ id, priority, runAt, name int64 }

func byClaimOrder(a, b head) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.runAt, b.runAt), cmp.Compare(a.id, b.id))
}

// heads returns the first limit jobs of a name.
func (c *claim) heads(query string, name int64, args ...any) (heads []head, err error) {
	err = c.t.each(query, args, func(r *sql.Rows) (bool, error) {
		h := head{name: name}
		err := r.Scan(&h.id, &h.priority, &h.runAt)
		heads = append(heads, h)
		return true, err
	})
	return heads, err
}

// merge returns the first limit pending jobs of all names. It reads a share of each
// name, and reads more of a name only if the whole share was picked.
func (c *claim) merge(limit int) ([]head, error) {
	if len(c.names) == 0 {
		return nil, nil
	}
	lists := make([][]head, len(c.names))
	sizes := make([]int, len(c.names))
	ask := func(i, size int) (err error) {
		sizes[i] = min(size, c.names[i].max)
		lists[i], err = c.heads(c.t.checkSize(selectHeads), c.names[i].id, c.names[i].id, sizes[i])
		return err
	}
	for i := range c.names {
		if err := ask(i, 4+2*limit/len(c.names)); err != nil {
			return nil, err
		}
	}
	for {
		merged, last := c.pick(lists, limit)
		again := false
		for i, l := range lists {
			if len(l) == 0 || len(l) < sizes[i] || sizes[i] >= min(limit, c.names[i].max) {
				continue // there are no more, or no more may be claimed
			}
			// If no more jobs can be picked, those after the last picked one do not
			// matter.
			bound := last.any
			if c.names[i].limited && last.limited != nil {
				bound = last.limited
			}
			if bound == nil || byClaimOrder(l[len(l)-1], *bound) <= 0 {
				again = true
				if err := ask(i, 4*sizes[i]); err != nil {
					return nil, err
				}
			}
		}
		if !again {
			return merged, nil
		}
	}
}

// lasts are the last jobs of a pick: of all names, and of limited names. They are nil
// if more jobs could be picked.
type lasts struct{ any, limited *head }

// pick returns the first limit jobs of lists, in order. It picks no more jobs of
// limited names, in total, than start at once.
func (c *claim) pick(lists [][]head, limit int) (picked []head, last lasts) {
	all := slices.Concat(lists...)
	slices.SortFunc(all, byClaimOrder)
	limited := map[int64]bool{}
	for _, n := range c.names {
		if n.limited {
			limited[n.id] = true
		}
	}
	left := c.req.Limit - c.req.Prefetch
	for i := range all {
		h := &all[i]
		if limited[h.name] {
			if left == 0 {
				continue
			}
			if left--; left == 0 {
				last.limited = h
			}
		}
		if picked = append(picked, *h); len(picked) == limit {
			last.any = h
			break
		}
	}
	return picked, last
}

// takeSuspect claims the first suspect, if it comes before all other jobs.
func (c *claim) takeSuspect() (bool, error) {
	some := false
	err := c.t.each(anySuspect, nil, func(*sql.Rows) (bool, error) { some = true; return false, nil })
	if err != nil || !some {
		return false, err
	}
	for range expiredRounds {
		suspect, err := c.firstSuspect()
		if err != nil || len(suspect) == 0 {
			return false, err
		}
		if err := c.load(suspect); err != nil {
			return false, err
		}
		expired, err := c.readExtras()
		if err != nil {
			return false, err
		}
		if expired == 0 {
			return true, c.take()
		}
	}
	return false, nil
}

// firstSuspect returns the first suspect, if it comes before all other jobs.
func (c *claim) firstSuspect() ([]head, error) {
	var heads []head
	for _, name := range c.names {
		h, err := c.heads(c.t.checkSize(selectSuspectHead), name.id, name.id)
		if err != nil {
			return nil, err
		}
		heads = append(heads, h...)
	}
	if len(heads) == 0 {
		return nil, nil
	}
	suspect := slices.MinFunc(heads, byClaimOrder)
	others, err := c.merge(1)
	if err != nil || len(others) > 0 && byClaimOrder(others[0], suspect) < 0 {
		return nil, err
	}
	return []head{suspect}, nil
}
