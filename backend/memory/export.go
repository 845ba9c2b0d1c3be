package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// Export implements [backend.Transferer].
func (b *Backend) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	if err := backend.CheckExport(req); err != nil {
		return backend.Batch{}, fmt.Errorf("memory: export: %w", err)
	}
	if err := b.enter(ctx, "export"); err != nil {
		return backend.Batch{}, err
	}
	defer b.mu.Unlock()
	now := b.now()
	batch := backend.Batch{LastID: b.lastID}
	size := 0
	for j := range b.jobs.above(req.After) {
		size += len(j.payload)
		if len(batch.Jobs) == req.Jobs || size > backend.DefaultMaxBytes && len(batch.Jobs) > 0 {
			break
		}
		batch.Jobs = append(batch.Jobs, j.whole(now))
	}
	return batch, nil
}

// whole returns j with all that belongs to it.
func (j *job) whole(now int64) backend.Record {
	r := backend.Record{Info: j.info(now)}
	j.showData(&r.Info)
	r.Errors = slices.Clone(j.errors)
	if m := j.more; m != nil {
		r.Result = bytes.Clone(m.result)
		r.Scope = m.scope
	}
	return r
}

// maxID is the greatest ID that fits: the table has a slot for each page of IDs.
const maxID = 1 << 36

// Import implements [backend.Transferer].
func (b *Backend) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	var result backend.ImportResult
	if err := backend.CheckBatch(batch); err != nil {
		return result, fmt.Errorf("memory: import: %w", err)
	}
	if err := b.enter(ctx, "import"); err != nil {
		return result, err
	}
	defer b.mu.Unlock()
	last := batch.LastID
	for i := range batch.Jobs {
		r := &batch.Jobs[i]
		last = max(last, r.ID)
		if j := b.jobs.get(r.ID); j != nil {
			if err := r.CheckPresent(j.name.text, instant(j.created)); err != nil {
				return result, fmt.Errorf("memory: import: %w", err)
			}
		}
	}
	if last > maxID {
		return result, fmt.Errorf("memory: import: %w: ID %d is above %d, the greatest that is kept in memory", backend.ErrInvalid, last, int64(maxID))
	}
	b.lastID = max(b.lastID, last)
	now := b.now()
	for _, r := range batch.Jobs {
		b.importJob(r.Imported(instant(now)), now, &result)
	}
	for _, s := range batch.Schedules {
		if old := b.schedules[s.Name]; old == nil || !old.Last.After(s.Last) {
			s.Next, s.Last, s.RemovedAt = micros(s.Next), micros(s.Last), micros(s.RemovedAt)
			b.schedules[s.Name] = &s
		}
	}
	return result, nil
}

// importJob stores a job that has arrived, unless it is there.
func (b *Backend) importJob(r backend.Record, now int64, result *backend.ImportResult) {
	n := b.name(r.Name)
	keeps := r.KeyUntil.UnixMicro() > now && (r.State == backend.Done || r.State == backend.Failed) && n.uniqueOwner(r.UniqueKey, now) == nil
	switch {
	case b.jobs.get(r.ID) != nil:
		result.Present++
		return
	case r.State.Terminal() && !keeps && (n.history.Keep(r.State) < 0 || now-r.FinishedAt.UnixMicro() >= n.history.Keep(r.State).Microseconds()):
		result.Pruned = append(result.Pruned, r.ID)
		return
	}
	result.Stored++
	j := &job{
		id: r.ID, name: n, payload: append([]byte{}, r.Payload...), created: r.CreatedAt.UnixMicro(), runAt: r.RunAt.UnixMicro(),
		priority: r.Priority, failures: r.Failures, maxAttempts: r.MaxAttempts, crashes: r.Crashes, suspect: r.Suspect,
	}
	for _, e := range r.Errors {
		e.At = micros(e.At)
		j.errors = append(j.errors, e)
	}
	if r.UniqueKey != "" || r.SerialKey != "" || !r.ExpiresAt.IsZero() || r.Metadata != nil || r.Result != nil || r.Done != 0 || r.Total != 0 {
		j.more = &more{
			unique: r.UniqueKey, scope: r.Scope, serial: r.SerialKey, metadata: bytes.Clone(r.Metadata), result: bytes.Clone(r.Result),
			done: r.Done, total: r.Total,
		}
		if keeps || !r.State.Terminal() && !r.KeyUntil.IsZero() {
			j.more.until = r.KeyUntil.UnixMicro()
		}
		if !r.ExpiresAt.IsZero() {
			j.more.expires = r.ExpiresAt.UnixMicro()
		}
	}
	b.jobs.put(j)
	if r.State.Terminal() {
		j.finished = r.FinishedAt.UnixMicro()
		if keeps {
			b.acquireUnique(j, now)
		}
		b.move(j, r.State, now) // which gives the key back, but for its time
		return
	}
	state := r.State
	if state == backend.Blocked { // unless there is nothing to wait for
		state = r.Waiting(instant(now))
	} else if j.more != nil && j.more.serial != "" {
		b.takeHead(j, now)
	}
	b.move(j, state, now)
	if j.state == backend.Cancelled {
		result.Superseded = append(result.Superseded, j.id)
	}
	if waits(j.state) && j.more != nil && j.more.expires != 0 {
		b.expiries.push(j.more.expires, 0, j)
	}
}

// takeHead makes j, which is not there yet and can have its unique key, the head
// of its serial key, if the head waits.
func (b *Backend) takeHead(j *job, now int64) {
	l := j.serialQueue()
	if l == nil || !waits(l.head.state) {
		return
	}
	if other := j.name.uniqueOwner(j.more.unique, now); other != nil {
		return // it is superseded, and waits for nothing
	}
	head := l.head
	l.head = j
	b.move(head, backend.Pending, now)
}

// micros returns t as it is kept.
func micros(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return instant(t.UnixMicro())
}
