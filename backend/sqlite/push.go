package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

const (
	// A transaction's first job gets the ID after the greatest, and what follows it
	// the IDs after that. An INSERT that read its own table would copy its rows.
	nextID = `(coalesce(?, 1+(SELECT jobs FROM plainjobs_job_count WHERE name = 0 AND state = 0)))`

	insertJobs = `
		INSERT INTO plainjobs_job
			(id, name, state, priority, max_attempts, seed, created_at, run_at, finished_at, flags, metadata, payload) VALUES `
	insertRow = `?,?,?,?,?,?,?,?,?,?,?)`

	// It stores the span and the counts of a job.
	insertPush = `INSERT INTO plainjobs_push (id) VALUES (?)`

	insertKeyed = `
		INSERT INTO plainjobs_job
			(id, name, state, priority, max_attempts, seed, created_at, run_at, finished_at, flags, unique_key, serial_key, expires_at,
				metadata, payload) VALUES (` + nextID + `,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`

	updateReplaced = `
		UPDATE plainjobs_job SET state = ?, priority = ?, run_at = ?, flags = ?, expires_at = ?, metadata = ?, payload = ?
		WHERE id = ?`
)

// insertLengths are the numbers of rows of the INSERT statements. Only these are
// prepared, whatever the number of jobs.
var insertLengths = [...]int{128, 32, 8, 1}

var insertTexts = func() (texts [len(insertLengths)]string) {
	for i, n := range insertLengths {
		texts[i] = insertJobs + "(" + nextID + "," + insertRow
		for range n - 1 {
			texts[i] += ",(NULL," + insertRow
		}
	}
	return texts
}()

// Push implements [backend.Backend].
func (b *Backend) Push(ctx context.Context, jobs []backend.NewJob) ([]backend.Pushed, error) {
	if err := b.check(jobs); err != nil {
		return nil, fmt.Errorf("sqlite: push: %w", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	pushed := make([]backend.Pushed, len(jobs))
	plain := true
	var pending []string
	for i := range jobs {
		j := &jobs[i]
		plain = plain && isPlain(j)
		if waiting(j) == backend.Pending && isPlain(j) && (len(pending) == 0 || pending[len(pending)-1] != j.Name) {
			pending = append(pending, j.Name)
		}
	}
	err := b.write(ctx, &request{op: "push", firm: true, pushes: pending, run: func(t *tx) error {
		if plain {
			return b.push(t, jobs, pushed, b.now())
		}
		// A unique key or a full queue may refuse a job after others were stored.
		return t.nested(func() error { return b.push(t, jobs, pushed, b.now()) })
	}})
	if err != nil {
		return nil, err
	}
	return pushed, nil
}

// check returns an error if the store cannot store the jobs.
func (b *Backend) check(jobs []backend.NewJob) error {
	if err := check.NewJobs(jobs); err != nil {
		return err
	}
	return check.Payloads(jobs, b.maxPayload())
}

func (b *Backend) maxPayload() int { return b.library.maxPayload(b.path == "") }

// isPlain reports whether one statement can store a job together with others.
func isPlain(j *backend.NewJob) bool {
	return j.Unique.Key == "" && j.Serial == "" && j.Expires == 0 && j.MaxPending == 0 && !lifecycle.Timed(j)
}

// push stores jobs in their order and fills in pushed.
func (b *Backend) push(t *tx, jobs []backend.NewJob, pushed []backend.Pushed, now int64) error {
	if t.pushTime == 0 || now < t.pushTime {
		t.pushTime = now
	}
	jobs, err := lifecycle.CountFrom(jobs, instant(now))
	if err != nil {
		return rejected{err}
	}
	gated := false
	for i := range jobs {
		gated = gated || jobs[i].Gating != nil
	}
	if gated { // before anything is written
		if err := t.checkGates(jobs, now); err != nil {
			return err
		}
	}
	names := make(map[string]int64, 1)
	for i := range jobs {
		name := jobs[i].Name
		if _, ok := names[name]; !ok {
			id, err := t.nameID(name)
			if err != nil {
				return err
			}
			names[name] = id
		}
	}
	for at := 0; at < len(jobs); {
		n := 0
		for at+n < len(jobs) && isPlain(&jobs[at+n]) {
			n++
		}
		if n > 0 {
			if err := t.pushPlain(jobs[at:at+n], names, pushed[at:], now); err != nil {
				return err
			}
			if gated {
				if err := b.joinNew(t, jobs[at:at+n], pushed[at:]); err != nil {
					return err
				}
			}
			at += n
			continue
		}
		var err error
		if pushed[at], err = b.pushKeyed(t, at, &jobs[at], names[jobs[at].Name], now); err != nil {
			var d *backend.DuplicateError
			if errors.As(err, &d) && slices.ContainsFunc(pushed[:at], func(p backend.Pushed) bool { return p.ID == d.ID && !p.Duplicate }) {
				d.ID = 0 // that job is refused together with this one
			}
			return err
		}
		at++
	}
	return nil
}

// pushPlain stores jobs that need only their rows.
func (t *tx) pushPlain(jobs []backend.NewJob, names map[string]int64, pushed []backend.Pushed, now int64) error {
	lone := len(jobs) == 1 && waiting(&jobs[0]) == backend.Pending && t.isLone()
	var args []any
	var fair []fairJob
	seed := t.pushSeed()
	for at := 0; at < len(jobs); {
		size := 0
		for size = range insertLengths {
			if insertLengths[size] <= len(jobs)-at {
				break
			}
		}
		n := insertLengths[size]
		for n > 1 && payloadBytes(jobs[at:at+n]) > maxInsertBytes {
			size++
			n = insertLengths[size]
		}
		args, fair = append(args[:0], t.newID()), fair[:0]
		for i := range jobs[at : at+n] {
			j := &jobs[at+i]
			state := waiting(j)
			name := names[j.Name]
			if !lone {
				t.add(name, state)
			}
			pushedAt := t.timeOf(j, now)
			runAt := pushedAt + j.Delay.Microseconds()
			if state == backend.Blocked { // the delay begins when the gate lets it through
				runAt = pushedAt
			}
			if j.Fair != "" {
				f := fairJob{int64(i), fairKey{name, j.Fair, j.Priority}, lifecycle.Turn{}}
				if state == backend.Pending {
					var err error
					if f.turn, err = t.nextTurn(f.key, runAt); err != nil {
						return err
					}
					runAt = f.turn.At
				}
				fair = append(fair, f)
			}
			args = append(args, name, int64(state), int64(j.Priority), int64(j.MaxAttempts), seed,
				pushedAt, runAt, pushedAt, int64(flagsOf(j)), metadata(j), payload(j))
		}
		result, err := t.exec(insertTexts[size], args...)
		if err != nil {
			return err
		}
		last, err := result.LastInsertId()
		if err != nil {
			return err
		}
		// The rows of one INSERT get consecutive IDs, in their order.
		rest := fair
		for i := range n {
			id := last - int64(n-1-i)
			pushed[at+i] = backend.Pushed{ID: id}
			j := &jobs[at+i]
			place := t.timeOf(j, now)
			if j.Fair != "" {
				rest[0].id, place = id, rest[0].turn.At
				rest = rest[1:]
			}
			if !lone && waiting(j) == backend.Pending {
				t.addReady(names[j.Name], false, j.Priority, place, id)
			}
		}
		if err := t.storeFair(fair); err != nil {
			return err
		}
		if lone {
			err = t.addLone(names[jobs[0].Name], last)
		} else {
			t.noteID(last)
		}
		if err != nil {
			return err
		}
		if err := t.pushedIDs(last-int64(n-1), last); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// isLone reports whether the transaction has done nothing yet, and no other request
// waits for it.
func (t *tx) isLone() bool { return t.w != nil && len(t.counts) == 0 && t.lone == 0 && t.w.isIdle() }

// addLone stores the span and the counts of a pushed job. Jobs that follow it in the
// transaction are another span.
func (t *tx) addLone(name, id int64) error {
	t.lone = name
	t.pushed = append(t.pushed, name)
	t.args[0] = id
	_, err := t.exec(insertPush, t.args[:1]...)
	return err
}

// newID returns the ID of the next job, or nil if only the database knows.
func (t *tx) newID() any {
	if t.lastPushed == 0 {
		return nil
	}
	return t.lastPushed + 1
}

// maxInsertBytes is the most bytes of payload of one INSERT. The driver has all of
// them in memory.
const maxInsertBytes = 16 << 20

func payloadBytes(jobs []backend.NewJob) (n int) {
	for i := range jobs {
		n += len(jobs[i].Payload)
	}
	return n
}

// waiting returns the initial state of a job that is not blocked.
func waiting(j *backend.NewJob) backend.State {
	switch {
	case lifecycle.Gated(j):
		return backend.Blocked
	case j.Delay > 0:
		return backend.Scheduled
	}
	return backend.Pending
}

func flagsOf(j *backend.NewJob) (f flag) {
	if j.Unique.Key != "" {
		f |= flagUnique
		if j.Unique.Scope == backend.UntilStarted {
			f |= flagUntilStarted
		}
	}
	if j.Serial != "" {
		f |= flagSerial
	}
	if j.Expires > 0 {
		f |= flagExpires
	}
	if len(j.Metadata) > 0 {
		f |= flagMetadata
	}
	if j.Fair != "" {
		f |= flagFair
	}
	if g := j.Gating; g != nil {
		if len(g.Gates) > 0 {
			f |= flagMember
		}
		if g.Gate != 0 {
			f |= flagWaiter | flagBehind
		}
	}
	return f
}

// timeOf returns the time of a push. For jobs without a delay it is the same in the
// whole transaction, so that jobs with consecutive IDs are one span.
func (t *tx) timeOf(j *backend.NewJob, now int64) int64 {
	if j.Delay == 0 {
		return t.pushTime
	}
	return now
}

// payload returns a value that is not NULL.
func payload(j *backend.NewJob) []byte {
	if j.Payload == nil {
		return []byte{}
	}
	return j.Payload
}

func metadata(j *backend.NewJob) any {
	if len(j.Metadata) == 0 {
		return nil
	}
	return j.Metadata
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orNone(at int64) any {
	if at == 0 {
		return nil
	}
	return at
}

func expiry(j *backend.NewJob, now int64) any {
	if j.Expires == 0 {
		return nil
	}
	return now + j.Expires.Microseconds()
}
