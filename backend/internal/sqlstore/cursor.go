package sqlstore

import "sync/atomic"

// A Place is one in an order by time and ID. Every row is behind the zero value.
type Place struct{ At, ID int64 }

// A Cursor is the place behind which the next call continues a search that goes around: what
// one call cannot finish does not keep later calls from the rest.
type Cursor struct{ at atomic.Pointer[Place] }

// Take returns the place of the last Put, and begins again at the start.
func (c *Cursor) Take() Place {
	if p := c.at.Swap(nil); p != nil {
		return *p
	}
	return Place{}
}

// Put has the next call continue behind p.
func (c *Cursor) Put(p Place) { c.at.Store(&p) }
