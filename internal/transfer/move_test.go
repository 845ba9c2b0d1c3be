package transfer_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
)

func paused(t *testing.T, q *plainjobs.Queue) bool {
	t.Helper()
	names, err := q.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(names) > 0 && names[0].Name == "" && names[0].Paused
}

// A queue is moved whole, and waits for what runs.
func TestMove(t *testing.T) {
	for from := range newStores {
		for to := range newStores {
			t.Run(from+" to "+to, func(t *testing.T) {
				q, b, w := filled(t, from)
				other, _ := newStore(t, to)
				var mu sync.Mutex
				var said []string
				done, err := q.MoveTo(t.Context(), other, func(text string) {
					mu.Lock()
					defer mu.Unlock()
					said = append(said, text)
					if strings.HasPrefix(text, "waiting") {
						if _, err := b.(backend.Heartbeater).Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
							t.Error(err)
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				text := strings.Join(said, "\n")
				for _, want := range []string{"paused both", "waiting for jobs that run: 2", "comparing", "compared, and the same: "} {
					if !strings.Contains(text, want) {
						t.Errorf("it said\n%s\nwithout %q", text, want)
					}
				}
				if !paused(t, q) || !paused(t, other) {
					t.Error("a queue is not paused")
				}
				if got, want := content(t, other), content(t, q); got != want {
					t.Fatalf("it was\n%s\nand is\n%s", want, got)
				}
				_, exported := export(t, q, plainjobs.Filter{})
				if done.Jobs != exported.Jobs || done.Schedules != 3 || done.Settings != 3 || done.Present != 0 || len(done.Sum) != 64 {
					t.Errorf("it says %+v, and there are %+v", done, exported)
				}
				// And back, where part of it is: all of it.
				back, err := other.MoveTo(t.Context(), q, nil)
				if err != nil || back.Present != done.Jobs || back.Sum != done.Sum {
					t.Errorf("the way back: %+v, %v", back, err)
				}
			})
		}
	}
}

// The jobs of a worker that died are rescued, and carried with their crashes.
func TestMoveRescues(t *testing.T) {
	q, b := newStore(t, "memory")
	ctx := t.Context()
	id, err := q.Perform(ctx, testJob.With(order{}))
	if err != nil {
		t.Fatal(err)
	}
	w := backend.Worker{ID: 9, Lease: 150 * time.Millisecond}
	if jobs, err := b.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{"test/order"}, Limit: 1}); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	other, _ := newStore(t, "sqlite")
	if _, err := q.MoveTo(ctx, other, nil); err != nil {
		t.Fatal(err)
	}
	if i, err := other.Get(ctx, id); err != nil || i.State != plainjobs.Pending || !i.Suspect || i.Attempt != 1 {
		t.Errorf("the job is %+v, %v", i, err)
	}
}

// A target with jobs of its own is refused before anything is changed.
func TestMoveOver(t *testing.T) {
	q, _ := newStore(t, "memory")
	other, _ := newStore(t, "memory")
	for _, x := range []*plainjobs.Queue{q, other} {
		if _, err := x.Perform(t.Context(), testJob.With(order{})); err != nil {
			t.Fatal(err)
		}
	}
	more, err := other.Perform(t.Context(), testJob.With(order{}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.MoveTo(t.Context(), other, nil)
	if !errors.Is(err, plainjobs.ErrDuplicate) {
		t.Errorf("MoveTo = %v", err)
	}
	if _, err := other.Delete(t.Context(), plainjobs.Filter{IDs: []int64{more - 1}}); err != nil {
		t.Fatal(err)
	}
	_, err = q.MoveTo(t.Context(), other, nil)
	if !errors.Is(err, plainjobs.ErrDuplicate) || !strings.Contains(err.Error(), "which the old queue does not have") {
		t.Errorf("MoveTo = %v", err)
	}
	if _, err := q.MoveTo(t.Context(), q, nil); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("MoveTo itself = %v", err)
	}
	if paused(t, q) || paused(t, other) {
		t.Error("a refused move has paused a queue")
	}
	bare := plainjobs.New(struct{ backend.Backend }{memory.New(nil)}, nil)
	if _, err := q.MoveTo(t.Context(), bare, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("MoveTo a store that cannot = %v", err)
	}
}

// A faulty store breaks what it is given, or ends a context.
type faulty struct {
	*memory.Backend
	in    func(*backend.Batch)
	calls func()
}

func (b *faulty) Import(ctx context.Context, batch backend.Batch) (backend.ImportResult, error) {
	if b.calls != nil {
		b.calls()
	}
	batch.Jobs = append([]backend.Record(nil), batch.Jobs...)
	if b.in != nil {
		b.in(&batch)
	}
	return b.Backend.Import(ctx, batch)
}

func (b *faulty) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	if b.calls != nil {
		b.calls()
	}
	return b.Backend.Export(ctx, req)
}

// What the target has not as it was is found, and named without its data.
func TestMoveVerifies(t *testing.T) {
	q, b, w := filled(t, "memory")
	if _, err := b.(backend.Heartbeater).Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
		t.Fatal(err)
	}
	each := func(f func(*backend.Record)) func(*backend.Batch) {
		return func(b *backend.Batch) {
			for i := range b.Jobs {
				f(&b.Jobs[i])
			}
		}
	}
	for what, test := range map[string]struct {
		in   func(*backend.Batch)
		want string
	}{
		"a payload":    {each(func(r *backend.Record) { r.Payload = append(r.Payload, 0) }), "differs in payload"},
		"attempts":     {each(func(r *backend.Record) { r.Failures = 0 }), "differs in failures"},
		"errors":       {each(func(r *backend.Record) { r.Errors = nil }), "differs in errors"},
		"results":      {each(func(r *backend.Record) { r.Result = nil }), "differs in result"},
		"unique keys":  {each(func(r *backend.Record) { r.UniqueKey, r.Scope, r.KeyUntil = "", 0, time.Time{} }), "differs in unique_key"},
		"serial keys":  {each(func(r *backend.Record) { r.SerialKey = ""; r.State = max(r.State, backend.Pending) }), "differs in"},
		"a job":        {func(b *backend.Batch) { b.Jobs = b.Jobs[min(1, len(b.Jobs)):] }, "missing in the target"},
		"a schedule":   {func(b *backend.Batch) { b.Schedules = b.Schedules[:min(1, len(b.Schedules))] }, "schedule paused is not the same"},
		"stored ones":  {func(b *backend.Batch) { b.Stored = nil }, "schedule stored is not the same"},
		"its pause":    {func(b *backend.Batch) { b.Schedules = append([]backend.Schedule(nil), b.Schedules...); unpause(b) }, "schedule paused is not the same"},
		"when it runs": {each(func(r *backend.Record) { r.RunAt = r.RunAt.Add(time.Microsecond) }), "differs in run_at"},
	} {
		to := plainjobs.New(&faulty{Backend: memory.New(nil), in: test.in}, nil)
		_, err := q.MoveTo(t.Context(), to, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "xxxx") {
			t.Errorf("without %s: MoveTo = %v, want %q", what, err, test.want)
		}
	}
}

func unpause(b *backend.Batch) {
	for i := range b.Schedules {
		b.Schedules[i].Paused = false
	}
}

// A move that ends anywhere is repeated, until it is done.
func TestMoveInterrupted(t *testing.T) {
	q, b, w := filled(t, "memory")
	if _, err := b.(backend.Heartbeater).Heartbeat(t.Context(), backend.HeartbeatRequest{Worker: w, Leave: true}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var left atomic.Int64
		var cancel context.CancelFunc
		store := &faulty{Backend: memory.New(nil)}
		store.calls = func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		}
		to := plainjobs.New(store, nil)
		for end := int64(1); ; end += rand.Int64N(3) {
			var ctx context.Context
			ctx, cancel = context.WithCancel(t.Context())
			left.Store(end)
			_, err := q.MoveTo(ctx, to, nil)
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		left.Store(1 << 40)
		if got, want := content(t, to), content(t, q); got != want {
			t.Fatalf("it was\n%s\nand is\n%s", want, got)
		}
	}
}

// A ticking store pushes by a schedule while it is read.
type ticking struct {
	*memory.Backend
	ticks int
}

func (b *ticking) Export(ctx context.Context, req backend.ExportRequest) (backend.Batch, error) {
	page, err := b.Backend.Export(ctx, req)
	if b.ticks > 0 && len(page.Jobs) == 0 && req.Jobs > 0 && err == nil {
		b.ticks--
		all, _ := b.Schedules(ctx)
		s := all.Schedules[0]
		_, err = b.Tick(ctx, backend.Tick{Name: s.Name, Definition: s.Definition, Due: s.Next, Next: s.Next.Add(time.Second),
			Jobs: []backend.NewJob{{Name: "report", MaxAttempts: 1}}})
	}
	return page, err
}

// A tick of the old queue while it is moved is carried, and is not taken again.
func TestMoveTicks(t *testing.T) {
	store := &ticking{Backend: memory.New(nil), ticks: 3}
	begin := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	if err := store.Define(t.Context(), []backend.Schedule{{Name: "often", Definition: "d", Next: begin}}); err != nil {
		t.Fatal(err)
	}
	q := plainjobs.New(store, nil)
	to := memory.New(nil)
	done, err := q.MoveTo(t.Context(), plainjobs.New(to, nil), nil)
	if err != nil || done.Jobs != 3 {
		t.Fatalf("MoveTo = %+v, %v", done, err)
	}
	all, err := to.Schedules(t.Context())
	if err != nil || len(all.Schedules) != 1 || !all.Schedules[0].Next.Equal(begin.Add(3*time.Second)) || !all.Schedules[0].Last.Equal(begin.Add(2*time.Second)) {
		t.Errorf("Schedules = %+v, %v", all, err)
	}
	// What is pushed later stays, and is said so.
	if _, err := store.Push(t.Context(), []backend.NewJob{{Name: "late", MaxAttempts: 1}}); err != nil {
		t.Fatal(err)
	}
	again, err := q.MoveTo(t.Context(), plainjobs.New(to, nil), nil)
	if err != nil || again.Jobs != 4 || again.Present != 3 {
		t.Errorf("MoveTo again = %+v, %v", again, err)
	}
}
