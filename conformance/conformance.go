// Package conformance tests that a store keeps the contract of package
// backend. The test of a store calls [Run]:
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, func(tb testing.TB, opts conformance.Options) conformance.Store {
//			…
//		})
//	}
//
// Each rule is one subtest, and a failure prints the rule. A store can begin
// with the five methods of [backend.Backend] and no optional field: cases that
// need another interface, or a field that [backend.Description] does not list,
// are skipped, and the skip names that interface or field. At the end Run logs
// the number of passed, failed and skipped rules. [Rules] returns all rules.
package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
)

// Options are the options with which NewStore must make the store of a case.
type Options struct {
	// History is the retention of finished jobs.
	History backend.History
}

// A Store is one store under test, empty at first.
type Store struct {
	// Open returns a handle on the store and closes it by tb.Cleanup. Two
	// handles represent two processes. A store that cannot be shared may
	// return the same handle again until a case closes it.
	Open func(tb testing.TB) backend.Backend
	// Advance moves the store's clock by d, which may be negative. If it is
	// nil, cases wait instead, and cases that set the clock back are skipped.
	Advance func(d time.Duration)
	// DB returns a pool on the same database, for [backend.TxPusher]; nil
	// skips its cases.
	DB func(tb testing.TB) *sql.DB
}

// NewStore makes an empty store for one case.
type NewStore func(tb testing.TB, opts Options) Store

// Run tests the stores that newStore makes, one for each case.
func Run(t *testing.T, newStore NewStore) {
	var passed, skipped, failed int
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				switch {
				case t.Failed():
					failed++
				case t.Skipped():
					skipped++
				default:
					passed++
				}
			}()
			c.check(t, newStore)
		})
	}
	t.Logf("%d rules passed, %d failed, and %d were skipped because the store lacks a capability or a field", passed, failed, skipped)
}

// A Rule is one case of [Run]: its name and the rule that it checks.
type Rule struct{ Name, Text string }

// Rules returns all rules, in the order in which Run tests them.
func Rules() []Rule {
	var all []Rule
	for _, c := range cases() {
		all = append(all, Rule{c.name, c.rule})
	}
	return all
}

// A testCase is one rule.
type testCase struct {
	name string
	rule string // what the contract says, printed when the case fails
	opts Options
	// needs are the optional fields without which the case is skipped. The
	// helpers that push and set skip a case for its other fields.
	needs backend.Fields
	run   func(e *env)
}

func cases() []testCase {
	return slices.Concat(
		pushCases, fieldCases, claimCases, orderCases, batchCases, completeCases, settleCases,
		reapCases, suspectCases, historyCases, bytesCases, silenceCases, livenessCases,
		readCases, readLiveCases, waitCases, txCases, lifeCases,
		needing(backend.FieldUnique, slices.Concat(uniqueCases, uniqueForCases, replaceCases)),
		needing(backend.FieldSerial, serialCases),
		needing(backend.FieldFair, slices.Concat(fairCases, fairJoinCases)),
		needing(backend.FieldExpires, expireCases),
		limitCases, settingsCases, defineCases, operateCases, actionCases, retryCases, instantCases, scheduleCases, storedCases, storedTickCases, removalCases,
		exportCases, importCases, environmentCases, examineCases, cornerCases,
		stepCases, dropCases, rewriteCases, logCases,
		activityCases,
		needing(backend.FieldGates, gateCases),
		needing(backend.FieldGates, pauseCases),
		needing(backend.FieldGates, flowCases),
	)
}

// needing returns cases with fields added to what they need.
func needing(fields backend.Fields, cases []testCase) []testCase {
	cases = slices.Clone(cases)
	for i := range cases {
		cases[i].needs |= fields
	}
	return cases
}

// caseTime bounds the calls of a case.
var caseTime = time.Minute

func (c testCase) check(tb testing.TB, newStore NewStore) {
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("%s is the rule: %s", c.name, c.rule)
		}
	})
	store := newStore(tb, c.opts)
	ctx, cancel := context.WithTimeout(context.Background(), caseTime)
	tb.Cleanup(cancel)
	e := &env{TB: tb, ctx: ctx, store: store, unit: time.Minute, newStore: func() Store { return newStore(tb, c.opts) }}
	if store.Advance == nil {
		e.unit = 50 * time.Millisecond
	}
	e.b = store.Open(tb)
	defer e.recoverShort()
	e.needs(c.needs)
	c.run(e)
}

// recoverShort fails a case whose index is out of range, instead of ending the
// test binary: the store returned fewer results than it was asked for.
func (e *env) recoverShort() {
	r := recover()
	if r == nil {
		return
	}
	if err, ok := r.(runtime.Error); ok && strings.Contains(err.Error(), "out of range") {
		e.Errorf("the store returned fewer results than it was asked for: %v\n%s", err, debug.Stack())
		return
	}
	panic(r)
}

// An env is what a case works with.
type env struct {
	testing.TB
	ctx    context.Context
	store  Store
	b      backend.Backend // the first handle
	second backend.Backend // see other
	unit   time.Duration   // a lease

	newStore func() Store // makes a further store
}

// advance moves the store's clock forward, or waits.
func (e *env) advance(d time.Duration) {
	if e.store.Advance != nil {
		e.store.Advance(d)
		return
	}
	time.Sleep(d) // the store's clock is the thing waited for
}

var lastWorker atomic.Int64

// worker returns a worker that no case has used before.
func (e *env) worker() backend.Worker {
	return backend.Worker{ID: 1000 + lastWorker.Add(1), Host: "host", PID: 1, Lease: e.unit}
}

// push stores n jobs of a name and returns their IDs.
func (e *env) push(b backend.Backend, name string, n int) []int64 {
	e.Helper()
	jobs := make([]backend.NewJob, n)
	for i := range jobs {
		jobs[i] = newJob(name)
	}
	return e.pushJobs(b, jobs...)
}

func newJob(name string) backend.NewJob {
	return backend.NewJob{Name: name, Payload: []byte(`{"n":1}`), MaxAttempts: 3}
}

func (e *env) pushJobs(b backend.Backend, jobs ...backend.NewJob) []int64 {
	e.Helper()
	e.needsFieldsOf(jobs...)
	pushed, err := b.Push(e.ctx, jobs)
	if err != nil {
		e.Fatalf("Push: %v", err)
	}
	if len(pushed) != len(jobs) {
		e.Fatalf("Push of %d jobs returned %d", len(jobs), len(pushed))
	}
	ids := make([]int64, len(pushed))
	for i, p := range pushed {
		ids[i] = p.ID
	}
	return ids
}

// request returns a claim of names by a worker, which it registers.
func request(w backend.Worker, limit int, names ...string) backend.ClaimRequest {
	return backend.ClaimRequest{Worker: w, Register: true, Names: names, Limit: limit}
}

func (e *env) claimRequest(b backend.Backend, req backend.ClaimRequest) []backend.Job {
	e.Helper()
	jobs, err := b.Claim(e.ctx, req)
	if err != nil {
		e.Fatalf("Claim: %v", err)
	}
	return jobs
}

// claim claims up to limit jobs.
func (e *env) claim(b backend.Backend, w backend.Worker, limit int, names ...string) []backend.Job {
	e.Helper()
	return e.claimRequest(b, request(w, limit, names...))
}

// claimAny is claim with suspects allowed.
func (e *env) claimAny(b backend.Backend, w backend.Worker, limit int, names ...string) []backend.Job {
	e.Helper()
	req := request(w, limit, names...)
	req.Suspects = true
	return e.claimRequest(b, req)
}

// claim1 claims one job and fails if it gets none.
func (e *env) claim1(b backend.Backend, w backend.Worker, name string) backend.Job {
	e.Helper()
	jobs := e.claimAny(b, w, 1, name)
	if len(jobs) != 1 {
		e.Fatalf("Claim returned %d jobs, want 1", len(jobs))
	}
	return jobs[0]
}

func (e *env) complete(b backend.Backend, leases ...backend.Lease) (lost []backend.Lease) {
	e.Helper()
	done := make([]backend.Completion, len(leases))
	for i, l := range leases {
		done[i].Lease = l
	}
	lost, err := b.Complete(e.ctx, done)
	if err != nil {
		e.Fatalf("Complete: %v", err)
	}
	return lost
}

func (e *env) fail(b backend.Backend, failures ...backend.Failure) (lost []backend.Lease) {
	e.Helper()
	lost, err := b.Fail(e.ctx, failures)
	if err != nil {
		e.Fatalf("Fail: %v", err)
	}
	return lost
}

func (e *env) reap(b backend.Backend, req backend.ReapRequest) backend.ReapResult {
	e.Helper()
	result, err := b.Reap(e.ctx, req)
	if err != nil {
		e.Fatalf("Reap: %v", err)
	}
	return result
}

// crash moves the clock past the lease of all workers and reaps.
func (e *env) crash(b backend.Backend) backend.ReapResult {
	e.Helper()
	e.advance(e.unit + e.unit/10)
	return e.reap(b, backend.ReapRequest{Expired: true})
}

func (e *env) reader() backend.Reader { return capability[backend.Reader](e, e.b) }

// capability returns b as a T, or skips the case.
func capability[T any](e *env, b backend.Backend) T {
	e.Helper()
	c, ok := b.(T)
	if !ok {
		e.Skipf("the store has no %v", reflect.TypeFor[T]())
	}
	return c
}

// needs skips the case if the store does not keep all of the fields.
func (e *env) needs(fields backend.Fields) {
	e.Helper()
	if lacks := fields &^ backend.Describe(e.b).Fields; lacks != 0 {
		e.Skipf("the store does not keep %v; see backend.Fields", lacks)
	}
}

// needsFieldsOf is needs with the fields that jobs have.
func (e *env) needsFieldsOf(jobs ...backend.NewJob) {
	e.Helper()
	for i := range jobs {
		e.needs(check.JobFields(&jobs[i]))
	}
}

func (e *env) get(id int64) backend.Info {
	e.Helper()
	info, err := e.reader().Get(e.ctx, id)
	if err != nil {
		e.Fatalf("Get(%d): %v", id, err)
	}
	return info
}

// state returns the job's state, or zero if it is gone.
func (e *env) state(id int64) backend.State {
	e.Helper()
	info, err := e.reader().Get(e.ctx, id)
	if errors.Is(err, backend.ErrNotFound) {
		return 0
	}
	if err != nil {
		e.Fatalf("Get(%d): %v", id, err)
	}
	return info.State
}

func (e *env) wantState(id int64, want backend.State) {
	e.Helper()
	if got := e.state(id); got != want {
		e.Errorf("job %d is %v, want %v", id, got, want)
	}
}

func (e *env) wantIDs(what string, got []backend.Job, want ...int64) {
	e.Helper()
	ids := make([]int64, len(got))
	for i, j := range got {
		ids[i] = j.ID
	}
	if !slices.Equal(ids, want) {
		e.Errorf("%s: got jobs %v, want %v", what, short(ids), short(want))
	}
	if len(ids) < len(want) {
		e.FailNow() // cases go on with what they got
	}
}

func (e *env) wantLost(what string, lost []backend.Lease, want ...backend.Lease) {
	e.Helper()
	if !slices.Equal(lost, want) {
		e.Errorf("%s: lost %v, want %v", what, lost, want)
	}
}

func short(ids []int64) string {
	if len(ids) > 20 {
		return fmt.Sprintf("%v… (%d)", ids[:20], len(ids))
	}
	return fmt.Sprint(ids)
}
