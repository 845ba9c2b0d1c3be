package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/check"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// Export implements [backend.ExportImporter].
func (b *Backend) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	if err := check.Export(req); err != nil {
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
		batch.Jobs = append(batch.Jobs, b.whole(j, now))
	}
	batch.Signals = b.exportSignals(&req)
	return batch, nil
}

// whole returns j with everything stored for it.
func (b *Backend) whole(j *job, now int64) backend.Record {
	r := backend.Record{Info: b.info(j, now)}
	j.showData(&r.Info)
	r.Errors = slices.Clone(j.errors())
	if m := j.more; m != nil {
		r.Result = bytes.Clone(m.result)
		if m.held && r.State == backend.Blocked { // a claim blocks it again
			r.State = backend.Pending
		}
		if m.behind != nil {
			r.Delay, r.Expires = m.gating.delay, m.gating.expires
		}
		r.Scope, r.Sleeps, r.Steps = m.scope, j.Sleeps(), cloneSteps(m.steps)
	}
	return r
}

// maxID is the greatest ID that fits: the table has a slot for each page of IDs.
const maxID = 1 << 36

// Import implements [backend.ExportImporter].
func (b *Backend) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	var result backend.ImportResult
	if err := check.Import(batch); err != nil {
		return result, fmt.Errorf("memory: import: %w", err)
	}
	if err := b.enter(ctx, "import"); err != nil {
		return result, err
	}
	defer b.leave()
	last := batch.LastID
	for i := range batch.Jobs {
		r := &batch.Jobs[i]
		last = max(last, r.ID)
		if j := b.jobs.get(r.ID); j != nil {
			if err := lifecycle.CheckPresent(r, j.name.text, lifecycle.Time(j.created)); err != nil {
				return result, fmt.Errorf("memory: import: %w", err)
			}
		}
	}
	if last > maxID {
		return result, fmt.Errorf("memory: import: %w: ID %d is above %d, the greatest that is kept in memory", backend.ErrInvalid, last, int64(maxID))
	}
	if err := b.checkNames(batch); err != nil {
		return result, fmt.Errorf("memory: import: %w", err)
	}
	now := b.now()
	if err := b.importGates(batch.Gates, now); err != nil {
		return result, fmt.Errorf("memory: import: %w", err)
	}
	b.lastID = max(b.lastID, last)
	for _, r := range batch.Jobs {
		b.importJob(lifecycle.Imported(r, lifecycle.Time(now)), r.State, now, &result)
	}
	b.importSignals(batch.Signals, now)
	for _, s := range batch.Schedules {
		if old := b.schedules[s.Name]; old == nil || !old.Last.After(s.Last) {
			s.Next, s.Last, s.RemovedAt = micros(s.Next), micros(s.Last), micros(s.RemovedAt)
			b.schedules[s.Name] = &s
		}
	}
	for _, s := range batch.Stored {
		if old := b.stored[s.Name]; old == nil || !old.Last.After(s.Last) {
			s = cloneStored(s)
			delete(b.schedules, s.Name) // it is removed
			b.store(&s)
		}
	}
	return result, nil
}

// checkNames refuses schedules whose names the other kind of schedule has.
func (b *Backend) checkNames(batch backend.Batch) error {
	for _, s := range batch.Schedules {
		if b.stored[s.Name] != nil {
			return lifecycle.StoredError(s.Name)
		}
	}
	for _, s := range batch.Stored {
		if defined := b.schedules[s.Name]; defined != nil && defined.RemovedAt.IsZero() {
			return lifecycle.DefinedError(s.Name)
		}
	}
	return nil
}

// importJob stores an imported job, unless it exists. Its gates count it in the state source.
func (b *Backend) importJob(r backend.Record, source backend.State, now int64, result *backend.ImportResult) {
	n, next := b.name(r.Name), lifecycle.Of(&r)
	keeps := r.KeyUntil.UnixMicro() > now && (r.State == backend.Done || r.State == backend.Failed) && n.uniqueOwner(r.UniqueKey, now) == nil
	switch {
	case b.jobs.get(r.ID) != nil:
		result.Present++
		return
	case !keeps && next.Past(n.history, now) && (r.Gating == nil || !b.keptByFlow(r.Gating)):
		result.Pruned = append(result.Pruned, r.ID)
		return
	}
	result.Stored++
	j := &job{
		id: r.ID, name: n, payload: append([]byte{}, r.Payload...), created: r.CreatedAt.UnixMicro(), maxAttempts: r.MaxAttempts,
	}
	if r.UniqueKey != "" || r.SerialKey != "" || r.FairKey != "" || r.Metadata != nil || r.Result != nil || r.Errors != nil || r.Done != 0 || r.Total != 0 || r.Steps != nil || r.Waits != (backend.SignalKey{}) {
		j.more = &more{
			unique: r.UniqueKey, scope: r.Scope, serial: r.SerialKey, fair: r.FairKey, metadata: bytes.Clone(r.Metadata), result: bytes.Clone(r.Result),
			done: r.Done, total: r.Total, steps: cloneSteps(r.Steps),
		}
		for _, e := range r.Errors {
			e.At = micros(e.At)
			j.more.errors = append(j.more.errors, e)
		}
		if keeps || !r.State.Terminal() && !r.KeyUntil.IsZero() {
			j.more.until = r.KeyUntil.UnixMicro()
		}
	}
	j.RunAt = next.RunAt // it keeps its place
	b.jobs.put(j)
	behind := b.importGating(j, &r)
	switch {
	case keeps:
		b.acquireUnique(j, now)
	case behind:
	case r.State == backend.Blocked: // unless there is nothing to wait for
		next = next.Ready(now)
	case !r.State.Terminal() && r.SerialKey != "":
		b.takeHead(j, now)
	}
	b.move(j, next, now) // releases the key of a finished job, except for its kept time
	if r.Gating != nil {
		b.countMember(j, lifecycle.Moved(source, j.State), now)
	}
	if j.State == backend.Scheduled && r.Waits != (backend.SignalKey{}) {
		b.await(j, r.Waits, now)
	}
	if next.State.Waits() && j.State == backend.Cancelled {
		result.Superseded = append(result.Superseded, j.id)
	}
}

// takeHead makes j, which is not stored yet and can have its unique key, the head of
// its serial key, if the current head waits.
func (b *Backend) takeHead(j *job, now int64) {
	l := j.serialQueue()
	if l == nil || !l.head.State.Waits() {
		return
	}
	if other := j.name.uniqueOwner(j.more.unique, now); other != nil {
		return // j will be superseded, and must block no other
	}
	head := l.head
	l.head = j
	b.move(head, head.Ready(now), now)
}

// micros returns t in the stored precision.
func micros(t time.Time) time.Time { return lifecycle.Time(lifecycle.Micros(t)) }
