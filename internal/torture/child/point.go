package child

import (
	"os"
	"sync"

	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// Points returns the points at which a child may kill itself: the transaction
// of an operation is begun, written but not committed, or committed; a
// statement is about to be executed; a handler has returned and its job is not
// completed; a completion is stored and the worker has no answer yet.
func Points() []string {
	points := []string{"statement", "handler.returned", "complete.answered"}
	for _, op := range []string{"migrate", "push", "claim", "heartbeat", "progress", "complete", "fail", "operate", "define", "tick", "leave", "reap", "prune"} {
		points = append(points, op+".begun", op+".written", op+".committed")
	}
	return points
}

// points counts how often the process gets to its point. Nil has no point.
type points struct {
	mu      sync.Mutex
	at      string
	left    int
	op      string
	commits int // of op
}

func newPoints(at string, hit int) *points {
	if at == "" {
		return nil
	}
	return &points{at: at, left: hit, op: "migrate"}
}

// during sets the current operation.
func (p *points) during(op string) {
	if p != nil {
		p.mu.Lock()
		p.op, p.commits = op, 0
		p.mu.Unlock()
	}
}

// reach kills the process if this is its point and its last hit.
func (p *points) reach(name string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reachLocked(name)
}

func (p *points) reachLocked(name string) {
	if name != p.at {
		return
	}
	if p.left--; p.left == 0 {
		die()
	}
}

// die ends the process as kill -9 does: nothing is flushed, closed or deferred.
func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {} // until the signal arrives
}

// operation returns the operation of the open transaction: the second one of a
// reap prunes. The caller holds mu.
func (p *points) operation() string {
	if p.op == "reap" && p.commits > 0 {
		return "prune"
	}
	return p.op
}

func (p *points) before(call, query string) error {
	if call != faultdriver.Exec && call != faultdriver.Query {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reachLocked("statement")
	if query == "COMMIT" {
		p.reachLocked(p.operation() + ".written")
	}
	return nil
}

func (p *points) after(call, query string) error {
	if call != faultdriver.Exec {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch query {
	case "BEGIN IMMEDIATE":
		p.reachLocked(p.operation() + ".begun")
	case "COMMIT":
		p.reachLocked(p.operation() + ".committed")
		p.commits++
	}
	return nil
}

// openAt opens the store, with points through a driver that reaches them.
func (c *child) openAt(p *points) (*sqlite.Backend, error) {
	return c.openWith(p, c.options())
}

func (c *child) openWith(p *points, opts *sqlite.Options) (*sqlite.Backend, error) {
	if p == nil {
		return c.Open(c.Path, opts)
	}
	return c.openWithHook(p, c.Path, opts)
}
