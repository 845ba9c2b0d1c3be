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

// A Backend is a store that can be compared.
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

// A Store is an empty store, with handles on it that stand for processes.
type Store struct {
	Handles []Backend
	// Moved is called when the clock has moved. It is nil if the store asks
	// Options.Clock.
	Moved func() error
	// DB is a pool on the same database, for [backend.TxPusher], or nil.
	DB *sql.DB
	// Close closes all handles.
	Close func() error
}

// The environment variables of the comparison.
const (
	stepsVariable   = "PLAINJOBS_MODEL_STEPS"
	seedVariable    = "PLAINJOBS_MODEL_SEED"
	secondsVariable = "PLAINJOBS_MODEL_SECONDS" // bound of the time; 0 is none
)

// programLength is the average number of steps of a program.
const programLength = 50

// A TB reports differences. It is a *testing.T.
type TB interface {
	rapid.TB
	Context() context.Context
}

// Check runs random programs on stores that open returns and on the model, and
// fails t with the shortest program on which they differ. All programs together
// have so many steps, unless the environment sets another number. The
// environment may also set the seed. Check prints one line of figures.
func Check(t TB, steps int, open func(Options) (Store, error)) {
	t.Helper()
	want, seed := number(t, stepsVariable, steps), number(t, seedVariable, 1)
	setFlag(t, "rapid.nofailfile", "true")
	setFlag(t, "rapid.steps", strconv.Itoa(programLength))
	most := time.Duration(number(t, secondsVariable, 0)) * time.Second
	done, programs, began := 0, 0, time.Now()
	for part := 0; done < want && (most == 0 || time.Since(began) < most); part++ {
		// rapid uses the seed for the first program of a part.
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
			clear(p.shown) // so that every job is read
			p.compare()
			done += p.steps
			programs++
		})
	}
	fmt.Printf("model: steps=%d programs=%d differences=0\n", done, programs)
}

// A quiet TB logs nothing before a program has failed.
type quiet struct {
	TB
	failed bool
}

// Errorf reports a failed program, which then runs again with all its steps
// logged.
func (q *quiet) Errorf(format string, args ...any) {
	q.failed = true
	q.TB.Errorf(format, args...)
}

// Logf logs a step of a failed program.
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

// A program is one run of steps on a store and the model. It avoids what a
// store may choose:
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
	leases []backend.Lease // ever issued
	tokens map[int64]bool
	live   []backend.Worker // claim next, registered or not
	dead   []backend.Worker // had a row
	lastID int64            // of a worker
	shown  map[int64]shown  // as last read
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

// actions returns the steps, and the comparison after each.
func (p *program) actions() map[string]func(*rapid.T) {
	all := map[string]func(){
		"push": p.push, "push again": p.push, "claim": p.claim, "claim again": p.claim, "complete": p.complete, "fail": p.fail,
		"fail again": p.fail, "progress": p.progress, "beat": p.beat, "reap": p.reap, "die": p.die, "wait": p.wait, "advance": p.advance,
		"operate": p.operate, "list": p.list, "set": p.set, "override": p.override, "pause": p.pause, "define": p.define, "tick": p.tick,
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

// compare compares the visible states.
func (p *program) compare() {
	got, err := look(p.ctx, p.on(), p.shown)
	if err != nil {
		p.Fatal(err)
	}
	if d := got.differs(p.m.look()); d != "" {
		p.Fatalf("at %v the store differs from the model:%s", p.now.Sub(start), d)
	}
}

// want fails unless the answer is the wanted one.
func (p *program) want(what string, got, want any, err, wantErr error) {
	p.Helper()
	p.Logf("%s = %+v, %v", what, got, err)
	if g, w := errorText(err), errorText(wantErr); g != w {
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

// fresh returns the IDs of new jobs, which the store did not return.
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
