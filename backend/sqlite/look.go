package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"sync"

	"github.com/plainjobs/plainjobs/backend"
)

// A searcher searches for a job that a claim may find, without claiming it.
type searcher struct {
	b     *Backend
	ctx   context.Context
	q     source
	req   *backend.ClaimRequest
	set   settings
	names *lookNames
	now   int64

	allowed map[int64]bool  // of the names that were looked at
	running map[int64]int64 // jobs by name, nil until many names are looked at
	free    int64           // when the first rate allows another claim, or 0
}

// lookNames are the names of a call of Wait, which is mostly called with the same
// ones.
type lookNames struct {
	names []string
	text  map[int64]string // by ID, of the names that are stored

	mu      sync.Mutex
	version int64    // of the settings for which plain is
	plain   []string // names without settings that matter to a claim
}

const selectNameIDs = `SELECT n.id, n.name FROM plainjobs_job_name n JOIN json_each(?) e ON n.name = e.value`

// lookNames returns the names with the IDs of those that are stored.
func (b *Backend) lookNames(ctx context.Context, q source, names []string) (*lookNames, error) {
	if known := b.looked.Load(); known != nil && len(known.text) == len(names) && slices.Equal(known.names, names) {
		return known, nil
	}
	n := &lookNames{names: slices.Clone(names), text: make(map[int64]string, len(names))}
	err := scan(ctx, q, b.sql(selectNameIDs), []any{namesJSON(names)}, func(r *sql.Rows) error {
		var id int64
		var name string
		err := r.Scan(&id, &name)
		n.text[id] = name
		return err
	})
	if err == nil && b.readers != nil { // else q may see a transaction that is rolled back
		b.looked.Store(n)
	}
	return n, err
}

// plain returns the names of which any job that is pushed may be claimed.
func (s *searcher) plain(version int64) []string {
	if len(s.set) == 0 && len(s.req.MaxPerName) == 0 {
		return s.req.Names
	}
	n := s.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.version != version || len(s.req.MaxPerName) > 0 {
		limited := map[string]bool{}
		for id, name := range n.text {
			most, ok := s.req.MaxPerName[name]
			limited[name] = s.set[id].paused || s.set[id].Limited() || ok && most <= 0
		}
		n.version, n.plain = version, nil
		if len(s.req.MaxPerName) > 0 {
			n.version = 0
		}
		for _, name := range s.req.Names {
			if !limited[name] {
				n.plain = append(n.plain, name)
			}
		}
	}
	return n.plain
}

// may reports whether a claim may return a job of a name.
func (s *searcher) may(name int64) (bool, error) {
	may, ok := s.allowed[name]
	if ok {
		return may, nil
	}
	may, err := s.find(name)
	if s.allowed == nil {
		s.allowed = map[int64]bool{}
	}
	s.allowed[name] = may
	return may, err
}

func (s *searcher) find(name int64) (bool, error) {
	text, ok := s.names.text[name]
	set := s.set[name]
	most, capped := s.req.MaxPerName[text]
	switch {
	case !ok || set.paused || capped && most <= 0:
		return false, nil
	case !set.Limited():
		return true, nil
	case s.req.Prefetch >= s.req.Limit:
		return false, nil
	}
	if set.MaxRunning > 0 {
		if running, err := s.runningOf(name); err != nil || running >= int64(set.MaxRunning) {
			return false, err
		}
	}
	at, err := s.b.freeAt(s.ctx, s.q, name, set)
	if err != nil || at <= s.now {
		return err == nil, err
	}
	if s.free == 0 || at < s.free {
		s.free = at
	}
	return false, nil
}

const selectAllRunning = `SELECT name, jobs FROM plainjobs_job_count WHERE state = 4 AND jobs > 0`

// manyNames is from how many names on one query for all costs less.
const manyNames = 32

// runningOf returns how many jobs of a name run.
func (s *searcher) runningOf(name int64) (n int64, err error) {
	if len(s.allowed) < manyNames {
		err = scan(s.ctx, s.q, s.b.sql(selectRunning), []any{name}, func(r *sql.Rows) error { return r.Scan(&n) })
		return n, err
	}
	if s.running == nil {
		s.running = map[int64]int64{}
		err = scan(s.ctx, s.q, s.b.sql(selectAllRunning), nil, func(r *sql.Rows) error {
			var name, jobs int64
			err := r.Scan(&name, &jobs)
			s.running[name] = jobs
			return err
		})
	}
	return s.running[name], err
}

// ready reports whether a claim may return a pending job.
func (s *searcher) ready() (bool, error) {
	for _, suspect := range []bool{false, true} {
		if suspect && !s.req.Suspects {
			break
		}
		// Mostly the very first job may be claimed. Where many may not, the first one of
		// each name tells.
		behind := readySpan{rank: beforeRank}
		for _, size := range []int{4, firstExtra, maxPassed, 0} {
			query, args := selectFirst, []any{suspect, behind.rank, behind.runAt, behind.last, size}
			if size == 0 {
				query, args = selectHeads, args[:4]
			}
			spans, may, err := s.spans(query, args...)
			if may || err != nil {
				return may, err
			}
			if len(spans) < size {
				break
			}
			if size > 0 {
				behind = spans[size-1]
			}
		}
	}
	return false, nil
}

// spans returns spans, and whether a claim may return a job of one.
func (s *searcher) spans(query string, args ...any) (all []readySpan, may bool, err error) {
	err = scan(s.ctx, s.q, s.b.sql(query), args, func(r *sql.Rows) error {
		var span readySpan
		err := r.Scan(&span.name, &span.rank, &span.runAt, &span.last, &span.first)
		all = append(all, span)
		return err
	})
	for i := range all {
		if err == nil && !may {
			may, err = s.may(all[i].name)
		}
	}
	return all, may, err
}

// due reports whether a claim may return a job that is due, or makes others pending
// before it finds out.
func (s *searcher) due() (bool, error) {
	var names []int64
	total := int64(0)
	err := scan(s.ctx, s.q, s.b.sql(selectDueNames), []any{s.now}, func(r *sql.Rows) error {
		var name, jobs int64
		err := r.Scan(&name, &jobs)
		names, total = append(names, name), total+jobs
		return err
	})
	if err != nil || total > maxPromote {
		return err == nil, err
	}
	for _, name := range names {
		if may, err := s.may(name); may || err != nil {
			return may, err
		}
	}
	return false, nil
}
