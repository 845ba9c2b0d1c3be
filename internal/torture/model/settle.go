package model

import (
	"cmp"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/torture/life"
)

func (m *model) complete(done []backend.Completion) (lost []backend.Lease) {
	for _, c := range done {
		j := m.find(c.ID)
		held := j != nil && j.Held(c.Token)
		switch {
		case j == nil || j.Complete(c.Token):
			lost = append(lost, c.Lease)
		case held:
			j.result = c.Result
			m.settle(j)
		}
	}
	return lost
}

func (m *model) fail(failures []backend.Failure) (lost []backend.Lease) {
	for _, f := range failures {
		j := m.find(f.ID)
		if j == nil {
			lost = append(lost, f.Lease)
			continue
		}
		held, text := j.Held(f.Token), f.Error
		if held && j.Cancelling {
			text = cmp.Or(text, backend.CancelledError)
		}
		if held && text != "" {
			e := backend.RunError{Error: text, Stack: f.Stack}
			if text == f.Error {
				e.Took, e.Worker = f.Took, f.Worker
			}
			m.record(j, e)
		}
		switch {
		case j.Fail(f.Token, f.Ending, life.After(f.Ending, f.Delay)):
			lost = append(lost, f.Lease)
		case held:
			if f.Ending != backend.EndRelease {
				j.runAt = m.now.Add(f.Delay)
			}
			m.settle(j)
			if f.Ending == backend.EndRelease && f.Expires > 0 && j.State.Waits() {
				j.expires = m.now.Add(f.Expires)
			}
		}
	}
	return lost
}

func (m *model) progress(all []backend.Progress) {
	for _, p := range all {
		if j := m.find(p.ID); j != nil && j.Held(p.Token) {
			j.done, j.total = p.Done, p.Total
		}
	}
}
