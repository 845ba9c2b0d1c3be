package postgres

import (
	"database/sql"
	"maps"
	"slices"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// takeKeys acquires the unique keys of the waiting jobs, and cancels jobs whose
// keys other jobs hold.
func (a *importBatch) takeKeys() error {
	wanted := map[nameKey]claimant{}
	for i := range a.jobs {
		r := &a.jobs[i]
		k := nameKey{r.Name, r.UniqueKey}
		if _, twice := wanted[k]; k.key != "" && !r.State.Terminal() && !asleep(r) && !twice {
			wanted[k] = claimant{r.ID, microsOf(r.KeyUntil)}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	holders, err := a.t.acquireUnique(wanted, a.now)
	if err != nil {
		return err
	}
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.UniqueKey == "" || r.State.Terminal() || asleep(r) {
			continue
		}
		k := nameKey{r.Name, r.UniqueKey}
		other, taken := holders[k]
		if !taken {
			other = wanted[k].job
		}
		if other != r.ID {
			lifecycle.SupersedeRecord(r, other, instant(a.now))
			a.result.Superseded = append(a.result.Superseded, r.ID)
		}
	}
	return nil
}

// asleep reports whether a job sleeps that does not take its unique key.
func asleep(r *backend.Record) bool {
	return r.Scope == backend.UntilStarted && lifecycle.Of(r).Sleeps()
}

// keepKeys stores the kept keys of done and failed jobs, unless other jobs hold
// them.
func (a *importBatch) keepKeys() error {
	first := map[nameKey]claimant{}
	for i := range a.jobs {
		r := &a.jobs[i]
		k, until := nameKey{r.Name, r.UniqueKey}, microsOf(r.KeyUntil)
		_, twice := first[k]
		if r.UniqueKey != "" && (r.State == backend.Done || r.State == backend.Failed) && until > a.now && !twice {
			first[k] = claimant{r.ID, until}
		}
	}
	if len(first) == 0 {
		return nil
	}
	var keys []nameKey
	var jobs, untils []int64
	for k, c := range first {
		keys, jobs, untils = append(keys, k), append(jobs, c.job), append(untils, c.until)
	}
	names, values := columns(keys)
	_, err := a.t.exec(keepFree, names, values, intArray(jobs), intArray(untils), a.now)
	return err
}

// A importedHead is the head of a serial key during an import.
type importedHead struct {
	job   int64
	state backend.State   // the state of a stored head
	fresh *backend.Record // a head from the batch
}

// storedHeads returns the stored heads of the serial keys of the batch's unfinished jobs;
// a key without one has the zero head.
func (a *importBatch) storedHeads() (map[nameKey]importedHead, error) {
	heads := map[nameKey]importedHead{}
	for i := range a.jobs {
		if r := &a.jobs[i]; r.SerialKey != "" && !r.State.Terminal() && !a.WaitsBehind(r) {
			heads[nameKey{r.Name, r.SerialKey}] = importedHead{}
		}
	}
	if len(heads) == 0 {
		return nil, nil
	}
	names, values := columns(slices.Collect(maps.Keys(heads)))
	err := a.t.each(selectHeads, []any{names, values}, func(r *sql.Rows) error {
		var k nameKey
		var p importedHead
		err := r.Scan(&k.name, &k.key, &p.job, &p.state)
		heads[k] = p
		return err
	})
	return heads, err
}

// queueUp finds the heads of the batch's serial keys. A job that was the head
// before the export replaces a waiting head.
func (a *importBatch) queueUp() error {
	a.Free(a.jobs, a.now)
	heads, err := a.storedHeads()
	if err != nil || len(heads) == 0 {
		return err
	}
	var displaced []*row
	for i := range a.jobs {
		r := &a.jobs[i]
		if r.SerialKey == "" || r.State.Terminal() || a.WaitsBehind(r) {
			continue
		}
		k := nameKey{r.Name, r.SerialKey}
		head := heads[k]
		switch {
		case head.job == 0:
			if r.State == backend.Blocked {
				r.State = lifecycle.Of(r).Ready(a.now).State
			}
		case r.State == backend.Blocked:
			continue
		case head.fresh != nil:
			head.fresh.State = backend.Blocked
		default:
			stored, err := a.displace(head)
			if err != nil {
				return err
			}
			if stored == nil {
				r.State = backend.Blocked
				continue
			}
			displaced = append(displaced, stored)
		}
		heads[k] = importedHead{job: r.ID, fresh: r}
	}
	var keys []nameKey
	var jobs []int64
	for k, p := range heads {
		if p.fresh != nil {
			keys, jobs = append(keys, k), append(jobs, p.job)
		}
	}
	names, values := columns(keys)
	if _, err := a.t.exec(upsertHeads, names, values, intArray(jobs)); err != nil {
		return err
	}
	return a.t.write(displaced)
}

// displace blocks a stored head that waits, and returns it, to be written. It returns
// nil if the head does not wait.
func (a *importBatch) displace(head importedHead) (*row, error) {
	if !head.state.Waits() {
		return nil, nil
	}
	rows, err := a.t.lock([]int64{head.job})
	if err != nil {
		return nil, err
	}
	r := rows[head.job]
	if r == nil {
		return nil, nil
	}
	if err := a.t.own([]*row{r}); err != nil || !r.State.Waits() { // it was claimed meanwhile
		return nil, err
	}
	r.State = backend.Blocked
	return r, nil
}
