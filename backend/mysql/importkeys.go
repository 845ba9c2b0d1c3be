package mysql

import (
	"database/sql"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// takeKeys acquires the unique keys of the waiting jobs, and cancels jobs whose keys other jobs
// hold.
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

// keepKeys stores the kept keys of done and failed jobs, unless other jobs hold them.
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
	rows := insert{head: takeKeys, tail: keepKeysTail, tailArgs: []any{a.now}}
	for _, k := range sortedKeys(first) {
		if err := rows.add(a.t, k.name, k.key, first[k].job, first[k].until, false); err != nil {
			return err
		}
	}
	return rows.flush(a.t)
}

// An importedHead is the head of a serial key during an import.
type importedHead struct {
	job    int64
	stored *row            // a stored head, locked
	fresh  *backend.Record // a head from the batch
}

// storedHeads returns the stored heads of the serial keys of the batch's unfinished jobs; a key
// without one has the zero head.
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
	var keys values
	for _, k := range sortedKeys(heads) {
		keys.add(k.name, k.key, 0)
	}
	var ids []int64
	err := a.t.each(selectHeads, []any{keys}, func(r *sql.Rows) error {
		var k nameKey
		var p importedHead
		err := r.Scan(&k.name, &k.key, &p.job)
		heads[k] = p
		ids = append(ids, p.job)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, err := a.t.lock(ids)
	for k, p := range heads {
		p.stored = rows[p.job]
		heads[k] = p
	}
	return heads, err
}

// queueUp finds the heads of the batch's serial keys. A job that was the head before the export
// replaces a waiting head.
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
			waits, err := a.displace(head.stored)
			if err != nil {
				return err
			}
			if !waits {
				r.State = backend.Blocked
				continue
			}
			displaced = append(displaced, head.stored)
		}
		heads[k] = importedHead{job: r.ID, fresh: r}
	}
	rows := insert{head: insertHeads, tail: ` ON DUPLICATE KEY UPDATE job = VALUES(job)`}
	for _, k := range sortedKeys(heads) {
		if heads[k].fresh != nil {
			if err := rows.add(a.t, k.name, k.key, heads[k].job); err != nil {
				return err
			}
		}
	}
	if err := rows.flush(a.t); err != nil {
		return err
	}
	return a.t.write(displaced)
}

// displace blocks a stored head that waits, to be written, and reports whether it does.
func (a *importBatch) displace(r *row) (waits bool, err error) {
	if r == nil || !r.State.Waits() {
		return false, nil
	}
	if err := a.t.own([]*row{r}); err != nil || !r.State.Waits() { // it was claimed
		return false, err
	}
	r.State = backend.Blocked
	return true, nil
}
