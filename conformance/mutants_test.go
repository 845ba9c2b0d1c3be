package conformance

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

// A mutant is a store that breaks one rule. The suite must reject it by one of
// the named cases, which tests the suite.
type mutant struct {
	rule     string
	rejected []string // cases, all of which must fail
	make     func(*memory.Backend, *Clock) backend.Backend
	// sound makes the same store without its flaw, which the cases accept,
	// where the mutant does more than change what it is asked.
	sound func(*memory.Backend, *Clock) backend.Backend
}

var mutants = slices.Concat(basicMutants, orderMutants, batchMutants, keyMutants, limitMutants, defineMutants, stepMutants, sleepMutants, exportMutants, detailMutants, contractMutants, activityMutants, actionMutants, gateMutants, pauseMutants, flowMutants, dropMutants, fairMutants, fairJoinMutants, storedMutants, rewriteMutants, logMutants)

func TestCasesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range cases() {
		if seen[c.name] || c.name == "" || c.rule == "" {
			t.Errorf("case %q has no name or rule of its own", c.name)
		}
		seen[c.name] = true
	}
}

func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.rule, func(t *testing.T) {
			var failed []string
			for _, c := range cases() {
				if !slices.Contains(m.rejected, c.name) {
					continue
				}
				if rejects(t, c, m.make) {
					failed = append(failed, c.name)
				}
				if m.sound != nil && rejects(t, c, m.sound) {
					t.Errorf("%s rejects the store without its flaw", c.name)
				}
			}
			if slices.Sort(failed); !slices.Equal(failed, slices.Sorted(slices.Values(m.rejected))) {
				t.Errorf("the suite rejects this store in %q, want %q", failed, m.rejected)
			}
		})
	}
}

// rejects reports whether the case fails on the store that open makes.
func rejects(t *testing.T, c testCase, open func(*memory.Backend, *Clock) backend.Backend) bool {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { // FailNow ends a goroutine
		defer close(done)
		c.check(r, func(tb testing.TB, opts Options) Store {
			clock := NewClock()
			b := open(memory.New(&memory.Options{Clock: clock.Now, History: opts.History}), clock)
			return Store{Open: func(testing.TB) backend.Backend { return b }, Advance: clock.Advance}
		})
	}()
	<-done
	r.end()
	return r.Failed()
}

// A recorder is a testing.TB whose failures fail no test.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) FailNow()              { r.Fail(); runtime.Goexit() }
func (r *recorder) Error(...any)          { r.Fail() }
func (r *recorder) Errorf(string, ...any) { r.Fail() }
func (r *recorder) Fatal(...any)          { r.FailNow() }
func (r *recorder) Fatalf(string, ...any) { r.FailNow() }
func (r *recorder) Log(...any)            {}
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Skip(args ...any) {
	r.TB.Error("a case that must reject a mutant skips:", fmt.Sprint(args...))
}
func (r *recorder) Skipf(f string, args ...any) { r.Skip(fmt.Sprintf(f, args...)) }
func (r *recorder) Cleanup(f func())            { r.cleanups = append(r.cleanups, f) }

func (r *recorder) end() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}
