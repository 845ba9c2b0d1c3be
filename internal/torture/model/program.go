package model

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"github.com/plainjobs/plainjobs/backend"
)

// A Backend is what can be compared.
type Backend interface {
	backend.Backend
	backend.Heartbeater
	backend.Reader
	backend.SettingsStore
	backend.Scheduler
	backend.Operator
	backend.Waiter
}

// Options of the store that a program runs on.
type Options struct {
	Clock   func() time.Time
	History backend.History
}

// A Store is an empty one, by the handles on it that stand for processes.
type Store struct {
	Handles []Backend
	// Moved is called when the clock has moved, if the store does not ask
	// Options.Clock; nil if it does.
	Moved func() error
	// DB is a pool on the same database, for [backend.TxPusher]; nil if there
	// is none.
	DB *sql.DB
	// Close ends all of it.
	Close func() error
}

// The variables by which programs are asked for and repeated.
const (
	stepsVariable   = "PLAINJOBS_MODEL_STEPS"
	seedVariable    = "PLAINJOBS_MODEL_SEED"
	secondsVariable = "PLAINJOBS_MODEL_SECONDS" // after which there are no more; 0 is no bound
)

// programLength is how many steps a program has on average.
const programLength = 50

// A TB is what reports differences: a *testing.T.
type TB interface {
	rapid.TB
	Context() context.Context
}

// Check runs random programs on stores that open makes and on the model, and
// fails t with the shortest program that it finds on which they differ. They have
// as many steps together as asked for, unless the environment says otherwise, as
// it may of the seed. It prints one line of figures.
func Check(t TB, steps int, open func(Options) (Store, error)) {
	t.Helper()
	want, seed := number(t, stepsVariable, steps), number(t, seedVariable, 1)
	setFlag(t, "rapid.nofailfile", "true")
	setFlag(t, "rapid.steps", strconv.Itoa(programLength))
	most := time.Duration(number(t, secondsVariable, 0)) * time.Second
	done, programs, began := 0, 0, time.Now()
	for part := 0; done < want && (most == 0 || time.Since(began) < most); part++ {
		// As rapid takes the seed of a part for the first of its programs.
		setFlag(t, "rapid.seed", strconv.Itoa(seed+part*1_000_003))
		setFlag(t, "rapid.checks", strconv.Itoa(min(200, 1+(want-done)/programLength)))
		rapid.Check(&quiet{TB: t}, func(rt *rapid.T) {
			p, err := newProgram(t.Context(), rt, open)
			if err != nil {
				rt.Fatal(err)
			}
			defer func() {
				if err := p.store.Close(); err != nil {
					rt.Error(err)
				}
			}()
			rt.Repeat(p.actions())
			clear(p.shown) // so that every job is asked for
			p.compare()
			done += p.steps
			programs++
		})
	}
	fmt.Printf("model: steps=%d programs=%d differences=0\n", done, programs)
}

// A quiet TB hears of no program before one has failed.
type quiet struct {
	TB
	failed bool
}

// Errorf tells that a program has failed; it is run again with all its steps
// told.
func (q *quiet) Errorf(format string, args ...any) {
	q.failed = true
	q.TB.Errorf(format, args...)
}

// Logf tells of the steps.
func (q *quiet) Logf(format string, args ...any) {
	if q.failed {
		q.TB.Logf(format, args...)
	}
}

func number(t TB, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func setFlag(t TB, name, value string) {
	if err := flag.Set(name, value); err != nil {
		t.Fatalf("%v", err)
	}
}

// A program is one run of steps on a store and the model. It goes where both
// must agree:
//
//   - The clock stands still but for steps of ten seconds and more. Rates are by
//     spans that no such step ends within a hundredth of.
//   - Which of the jobs that are due or have expired a claim moves, in addition to those
//     that it returns, is a store's choice; so a claim is followed by a reaping
//     if there are any. Before one, too, if ending them might let others go.
//   - No limit that bounds the work of a call is reached, but for those of claims
//     and operations, and no worker's ID is used again.
type program struct {
	*rapid.T
	ctx    context.Context
	store  Store
	m      *model
	now    time.Time
	steps  int
	leases []backend.Lease // that were ever given
	tokens map[int64]bool
	live   []backend.Worker // who are to claim next, registered or not
	dead   []backend.Worker // who had a row
	lastID int64            // of a worker
	shown  map[int64]shown  // what was seen last
}

func newProgram(ctx context.Context, t *rapid.T, open func(Options) (Store, error)) (*program, error) {
	p := &program{T: t, ctx: ctx, now: start, tokens: map[int64]bool{}, shown: map[int64]shown{}}
	h := histories.Draw(t, "history")
	p.m = newModel(p.now, h)
	var err error
	p.store, err = open(Options{Clock: func() time.Time { return p.now }, History: h})
	for range 3 {
		p.live = append(p.live, p.newWorker())
	}
	return p, err
}

// on returns one of the handles.
func (p *program) on() Backend {
	if len(p.store.Handles) == 1 {
		return p.store.Handles[0]
	}
	return rapid.SampledFrom(p.store.Handles).Draw(p.T, "handle")
}

// actions are the steps, with what must hold after each.
func (p *program) actions() map[string]func(*rapid.T) {
	all := map[string]func(){
		"push": p.push, "push again": p.push, "claim": p.claim, "claim again": p.claim, "complete": p.complete, "fail": p.fail,
		"fail again": p.fail, "progress": p.progress, "beat": p.beat, "reap": p.reap, "die": p.die, "wait": p.wait, "advance": p.advance,
		"operate": p.operate, "list": p.list, "set": p.set, "pause": p.pause, "define": p.define, "tick": p.tick,
		"pause schedule": p.pauseSchedule, "in transaction": p.inTx,
	}
	actions := map[string]func(*rapid.T){"": func(*rapid.T) { p.compare() }}
	for name, f := range all {
		actions[name] = func(*rapid.T) {
			f()
			p.steps++
		}
	}
	if p.store.DB == nil {
		delete(actions, "in transaction")
	}
	return actions
}

// compare compares all that can be seen.
func (p *program) compare() {
	got, err := look(p.ctx, p.on(), p.shown)
	if err != nil {
		p.Fatal(err)
	}
	if d := got.differs(p.m.look()); d != "" {
		p.Fatalf("at %v the store shows otherwise than the model:%s", p.now.Sub(start), d)
	}
}

// want fails unless an answer is the one that is wanted.
func (p *program) want(what string, got, want any, err, wantErr error) {
	p.Helper()
	p.Logf("%s = %+v, %v", what, got, err)
	if g, w := said(err), said(wantErr); g != w {
		p.Fatalf("%s: %v, want %v", what, err, wantErr)
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		p.Fatalf("%s\n\tanswered %s,\n\twant     %s", what, g, w)
	}
}

// stored returns the IDs of all jobs.
func (p *program) stored() (ids []int64) {
	page, err := p.on().List(p.ctx, backend.ListRequest{Limit: 1000})
	if err != nil {
		p.Fatal(err)
	}
	for _, j := range slices.Backward(page.Jobs) {
		ids = append(ids, j.ID)
	}
	return ids
}

// fresh returns the IDs of new jobs that the store has not told.
func (p *program) fresh() func(int) int64 {
	ids := slices.DeleteFunc(p.stored(), func(id int64) bool { return id <= p.m.last })
	return func(int) int64 {
		if len(ids) == 0 {
			return 0
		}
		id := ids[0]
		ids = ids[1:]
		return id
	}
}
