package child

import (
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// errBroken is the error of a statement that a breaker fails.
var errBroken = errors.New("injected: the statement failed")

// A breaker is a hook that makes statements fail: any statement before it is
// executed, and a commit after it succeeded, so that its result is unknown.
type breaker struct {
	mu     sync.Mutex
	random *rand.Rand
	on     bool
	broken int
}

// One in so many statements, or commits, fails.
const (
	breakStatements = 3000
	breakCommits    = 300
)

func newBreaker(seed uint64) *breaker {
	return &breaker{random: rand.New(rand.NewPCG(seed, 0xb4))} //nolint:gosec // it is to be repeatable
}

// set starts or stops failures. A nil breaker fails nothing.
func (b *breaker) set(on bool) {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.on = on
	b.mu.Unlock()
}

func (b *breaker) one(in int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.on || b.random.IntN(in) > 0 {
		return nil
	}
	b.broken++
	return errBroken
}

func (b *breaker) before(call, _ string) error {
	if call != faultdriver.Exec && call != faultdriver.Query {
		return nil
	}
	return b.one(breakStatements)
}

func (b *breaker) after(call, query string) error {
	if call != faultdriver.Exec || query != "COMMIT" {
		return nil
	}
	return b.one(breakCommits)
}
