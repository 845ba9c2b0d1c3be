package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// A side is what was compared of one store.
type side struct {
	tally
	hash hash.Hash
}

func (s *side) take(r *backend.Record, text []byte) {
	s.add(r)
	s.hash.Write(text)
}

// verifyJobs reads both stores and compares their jobs, one by one, by counts and by a
// checksum.
func (m *mover) verifyJobs(ctx context.Context) error {
	m.report("comparing both queues")
	jobsOf := func(e backend.ExportImporter) *cursor[backend.Record] {
		return &cursor[backend.Record]{fetch: func(after backend.Record) ([]backend.Record, error) {
			page, err := e.Export(ctx, backend.ExportRequest{After: after.ID, Jobs: check.MaxBatch})
			return page.Jobs, err
		}}
	}
	source, target := jobsOf(m.source), jobsOf(m.target)
	here, there := side{hash: sha256.New()}, side{hash: sha256.New()}
	for {
		a, err := source.peek()
		if err != nil {
			return err
		}
		b, err := target.peek()
		if err != nil {
			return err
		}
		if a != nil && a.ID > m.copied {
			a = nil // pushed since
		}
		if b != nil && b.ID > m.copied {
			b = nil
		}
		switch {
		case a == nil && b == nil:
			m.done.Jobs, m.done.byNameAndState, m.done.Sum = there.Jobs, there.byNameAndState, hex.EncodeToString(there.hash.Sum(nil))
			if sum := hex.EncodeToString(here.hash.Sum(nil)); here.Jobs != there.Jobs || sum != m.done.Sum {
				return fmt.Errorf("%w: the source has %d jobs with the checksum %s, and the target %d with %s", backend.ErrCorrupt, here.Jobs, sum, there.Jobs, m.done.Sum)
			}
			return nil
		case b == nil || a != nil && a.ID < b.ID:
			if err := m.missing(ctx, a); err != nil {
				return err
			}
			source.next()
		case a == nil || b.ID < a.ID:
			if !b.State.Terminal() { // history may have been pruned there
				return fmt.Errorf("job %d, %s, is %v in the target and was deleted in the old queue: delete it there too, and move again", b.ID, b.Name, b.State)
			}
			target.next()
		default:
			x, y := canonical(*a), canonical(*b)
			if !bytes.Equal(x, y) {
				return fmt.Errorf("job %d, %s, is %v in the old queue and %v in the target, and differs in %s: if nothing has run in the target, "+
					"delete it there, and move again", a.ID, a.Name, a.State, b.State, differing(x, y))
			}
			here.take(a, x)
			there.take(b, y)
			source.next()
			target.next()
		}
	}
}

// missing returns an error for a job that is not in the target, unless it is past its
// retention there.
func (m *mover) missing(ctx context.Context, r *backend.Record) error {
	if r.State.Terminal() {
		result, err := m.target.Import(ctx, backend.Batch{Jobs: []backend.Record{*r}})
		if err != nil || len(result.Pruned) > 0 {
			return err
		}
	}
	return fmt.Errorf("%w: job %d, %s, is %v in the old queue and missing in the target; move again", backend.ErrCorrupt, r.ID, r.Name, r.State)
}

// canonical returns a job as text, without the fields that time and other programs
// change.
func canonical(r backend.Record) []byte {
	if r.State == backend.Scheduled {
		r.State = backend.Pending // which it is, its time says
	}
	if n := len(r.Errors); r.State == backend.Cancelled && n > 0 && r.Errors[n-1].Error == backend.ExpiredError {
		r.FinishedAt, r.Errors = time.Time{}, r.Errors[:n-1]
	}
	if !r.KeyUntil.After(time.Now()) {
		r.KeyUntil = time.Time{}
	}
	text, err := json.Marshal(lineOfRecord(&r))
	if err != nil {
		panic(err) // it has nothing that could not be encoded
	}
	return text
}

// differing returns the names of the fields in which two jobs differ. It does not return
// their values, which may be secret.
func differing(x, y []byte) string {
	var a, b map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(x, &a), json.Unmarshal(y, &b)); err != nil {
		return "all"
	}
	var names []string
	for name := range maps.Keys(a) {
		if !bytes.Equal(a[name], b[name]) {
			names = append(names, name)
		}
	}
	for name := range maps.Keys(b) {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// verifyGroups compares the groups. A group whose jobs ended while they were copied, or that
// took new members, would not end in the target.
func (m *mover) verifyGroups(ctx context.Context) error {
	here, err := groupsOf(ctx, m.from)
	if err != nil {
		return err
	}
	there, err := groupsOf(ctx, m.to)
	if err != nil {
		return err
	}
	byID := make(map[int64]backend.GateInfo, len(there))
	for i := range there {
		byID[there[i].ID] = there[i]
	}
	for _, want := range here {
		got, ok := byID[want.ID]
		if !ok {
			return fmt.Errorf("%w: group %d is missing in the target: it was created meanwhile; move again", backend.ErrUnavailable, want.ID)
		}
		got.Waiting, got.EndedAt, want.Waiting, want.EndedAt = 0, time.Time{}, 0, time.Time{}
		if got != want {
			return fmt.Errorf("group %d has %d jobs, %d of them open, in the old queue and %d, %d in the target: it was changed during the move; "+
				"if nothing has run in the target, delete the group there, and move again", want.ID, want.Total, want.Open, got.Total, got.Open)
		}
	}
	return nil
}

// A cursor reads pages job by job.
type cursor[T any] struct {
	fetch func(after T) ([]T, error)
	page  []T
	last  T
	over  bool
}

// peek returns the next element, or nil at the end.
func (c *cursor[T]) peek() (*T, error) {
	if len(c.page) == 0 && !c.over {
		var err error
		if c.page, err = c.fetch(c.last); err != nil {
			return nil, err
		}
		c.over = len(c.page) == 0
	}
	if c.over {
		return nil, nil
	}
	return &c.page[0], nil
}

// next advances past what peek has returned.
func (c *cursor[T]) next() {
	c.last, c.page = c.page[0], c.page[1:]
}
