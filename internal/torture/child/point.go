package child

import (
	"os"
	"sync"

	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// Points are where a child may kill itself: a transaction of an operation is
// begun, written (and not committed), or committed; a statement is about to be
// executed; a handler has returned and its job is not completed; a completion
// was answered and the answer has not arrived.
func Points() []string {
	points := []string{"statement", "handler.returned", "complete.answered"}
	for _, op := range []string{"migrate", "push", "claim", "beat", "progress", "complete", "fail", "operate", "define", "tick", "leave", "reap", "prune"} {
		points = append(points, op+".begun", op+".written", op+".committed")
	}
	return points
}

// points counts how often the process comes to its point. A nil one has none.
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

// during says which operation goes on.
func (p *points) during(op string) {
	if p != nil {
		p.mu.Lock()
		p.op, p.commits = op, 0
		p.mu.Unlock()
	}
}

// reach kills the process, if this is where and when it is to die.
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
	select {} // the signal comes
}

// operation returns what the transaction that is open belongs to: the second
// one of a reaping prunes. The caller holds mu.
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

// openAt opens the store; with points, through a driver that comes to them.
func (c *child) openAt(p *points) (*sqlite.Backend, error) {
	return c.openWith(p, c.options())
}

func (c *child) openWith(p *points, opts *sqlite.Options) (*sqlite.Backend, error) {
	if p == nil {
		return c.Open(c.Path, opts)
	}
	return c.openWithHook(p, c.Path, opts)
}
