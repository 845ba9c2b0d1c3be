package postgres

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/plainjobs/plainjobs/backend"
)

// askedNames are the names whose jobs a claim may take, sorted, and the maximum for
// each. A process claims of the same names again and again, perhaps of thousands.
type askedNames struct {
	request    []string       // the names of the claim
	maxPerName map[string]int // of the claim
	limit      int

	names []string
	most  []int64
	array string         // names as the text of an array
	mosts map[string]int // most by name

	version atomic.Pointer[storedSettings] // for which limited is
	limited atomic.Bool                    // all names are
}

// askedNames returns the names that a claim asks for.
func (b *Backend) askedNames(req *backend.ClaimRequest) *askedNames {
	known := b.asked.Load()
	if known != nil && known.limit == req.Limit && slices.Equal(known.request, req.Names) && maps.Equal(known.maxPerName, req.MaxPerName) {
		return known
	}
	a := &askedNames{
		request: slices.Clone(req.Names), maxPerName: maps.Clone(req.MaxPerName), limit: req.Limit,
		mosts: make(map[string]int, len(req.Names)),
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(req.Names))) {
		n := req.Limit
		if c, ok := req.MaxPerName[name]; ok {
			n = min(n, c)
		}
		if n > 0 {
			a.names, a.most = append(a.names, name), append(a.most, int64(n))
			a.mosts[name] = n
		}
	}
	a.array = textArray(a.names)
	b.asked.Store(a)
	return a
}
