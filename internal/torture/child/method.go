package child

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A method is a call that is cancelled. It returns a result that can be
// compared.
type method struct {
	name string
	call func(context.Context, *bench) (any, error)
	// history of the store; zero is the default.
	history backend.History
	// endless, if it is not zero, means that the method returns only when it is
	// cancelled, in one of so many calls.
	endless int
}

// Methods returns the names of the methods that a sweep can cancel.
func Methods() []string {
	names := make([]string, len(methods))
	for i := range methods {
		names[i] = methods[i].name
	}
	return names
}

var methods = []method{
	{name: "Push", call: func(ctx context.Context, b *bench) (any, error) {
		j := backend.NewJob{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3}
		return b.store.Push(ctx, []backend.NewJob{j, j, j})
	}},
	{name: "PushKeyed", call: func(ctx context.Context, b *bench) (any, error) {
		j := backend.NewJob{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3, Serial: "s", Expires: time.Hour, MaxPending: 100}
		k := j
		k.Unique = backend.Unique{Key: "k", For: time.Hour}
		return b.store.Push(ctx, []backend.NewJob{j, k, j})
	}},
	{name: "PushTx", call: func(ctx context.Context, b *bench) (any, error) {
		return b.within(func(tx *sql.Tx) (any, error) {
			j := backend.NewJob{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3, Serial: "s"}
			return b.store.PushTx(ctx, tx, []backend.NewJob{j, j})
		})
	}},
	{name: "CompleteTx", call: func(ctx context.Context, b *bench) (any, error) {
		return b.within(func(tx *sql.Tx) (any, error) {
			return nil, b.store.CompleteTx(ctx, tx, backend.Completion{Lease: b.s.leases[0], Result: []byte("2")})
		})
	}},
	{name: "Claim", call: func(ctx context.Context, b *bench) (any, error) {
		w := benchWorker
		w.ID = 9
		jobs, err := b.store.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: benchNames, Limit: 3})
		var ids []int64 // tokens are random
		for i := range jobs {
			ids = append(ids, jobs[i].ID)
		}
		return ids, err
	}},
	{name: "Complete", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Complete(ctx, []backend.Completion{{Lease: b.s.leases[0], Result: []byte("2")}, {Lease: b.s.leases[1]}})
	}},
	{name: "Fail", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Fail(ctx, []backend.Failure{
			{Lease: b.s.leases[0], Ending: backend.EndRetry, Delay: time.Minute, Error: "x"},
			{Lease: b.s.leases[1], Ending: backend.EndFailed, Error: "y"},
			{Lease: b.s.leases[2], Ending: backend.EndRelease},
		})
	}},
	{name: "Reap", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Reap(ctx, backend.ReapRequest{Expired: true})
	}},
	// Rescuing and pruning are separate transactions, so one may take effect
	// without the other. Here there is nothing to rescue.
	{name: "ReapPrunes", history: backend.History{Done: time.Microsecond, Failed: time.Microsecond},
		call: func(ctx context.Context, b *bench) (any, error) { return b.store.Reap(ctx, backend.ReapRequest{}) }},
	{name: "Heartbeat", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: benchWorker})
	}},
	{name: "HeartbeatLeave", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: benchWorker, Leave: true})
	}},
	{name: "Get", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Get(ctx, b.s.failed) }},
	{name: "List", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.List(ctx, backend.ListRequest{Payloads: true})
	}},
	{name: "Count", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Count(ctx) }},
	{name: "Workers", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Workers(ctx) }},
	{name: "Set", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Set(ctx, 0, []backend.Settings{{Name: "bench/a", MaxRunning: 2}, {Name: "bench/c", MaxRunning: 3}})
	}},
	{name: "Pause", call: func(ctx context.Context, b *bench) (any, error) { return nil, b.store.Pause(ctx, "bench/c", true) }},
	{name: "Names", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Names(ctx) }},
	{name: "Operate", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Operate(ctx, backend.OperateRequest{Op: backend.OpCancel, Filter: backend.Filter{IDs: b.s.ids}})
	}},
	{name: "OperateRetry", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Operate(ctx, backend.OperateRequest{Op: backend.OpRetry, Filter: backend.Filter{IDs: []int64{b.s.failed, b.s.leases[4].ID}}})
	}},
	{name: "OperateDelete", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Operate(ctx, backend.OperateRequest{Op: backend.OpDelete, Filter: backend.Filter{IDs: append(b.s.ids, b.s.failed)}})
	}},
	{name: "Export", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Export(ctx, backend.ExportRequest{Jobs: 100})
	}},
	{name: "Import", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Import(ctx, b.s.batch())
	}},
	{name: "Environment", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Environment(ctx) }},
	{name: "SetEnvironment", call: func(ctx context.Context, b *bench) (any, error) { return b.store.SetEnvironment(ctx, "", "bench") }},
	{name: "Schema", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Schema(ctx) }},
	{name: "Examine", call: func(ctx context.Context, b *bench) (any, error) {
		findings, err := b.store.Examine(ctx, backend.ExamineRequest{})
		var names []string // the values vary, as does the directory
		for _, f := range findings {
			names = append(names, f.Name)
		}
		return names, err
	}},
	{name: "WatchDead", endless: 5, call: func(ctx context.Context, b *bench) (any, error) { return b.store.WatchDead(ctx, benchWorker.ID) }},
	{name: "Define", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.Define(ctx, []backend.Schedule{
			{Name: "bench", Definition: "e", Next: b.s.start}, {Name: "bench2", Definition: "d", Next: b.s.start},
		})
	}},
	{name: "Schedules", call: func(ctx context.Context, b *bench) (any, error) { return b.store.Schedules(ctx) }},
	{name: "Tick", call: func(ctx context.Context, b *bench) (any, error) {
		return b.store.Tick(ctx, backend.Tick{
			Name: "bench", Definition: "d", Due: b.s.start, Next: b.s.start.Add(time.Hour),
			Jobs: []backend.NewJob{{Name: "bench/new", Payload: []byte("{}"), MaxAttempts: 3}},
		})
	}},
	{name: "PauseSchedule", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.PauseSchedule(ctx, "bench", true)
	}},
	{name: "Progress", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.StoreProgress(ctx, []backend.Progress{{Lease: b.s.leases[0], Done: 1, Total: 2}, {Lease: b.s.leases[1], Done: 2, Total: 2}})
	}},
	{name: "Wait", call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.Wait(ctx, backend.ClaimRequest{Worker: benchWorker, Names: benchNames, Limit: 1})
	}},
	{name: "WaitInVain", endless: 25, call: func(ctx context.Context, b *bench) (any, error) {
		return nil, b.store.Wait(ctx, backend.ClaimRequest{Worker: benchWorker, Names: []string{"bench/idle"}, Limit: 1})
	}},
}

// within calls f in a transaction of the application, which commits whatever f
// returns: a call that failed must have stored nothing.
func (b *bench) within(f func(*sql.Tx) (any, error)) (any, error) {
	tx, err := b.app.BeginTx(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	result, err := f(tx)
	if commitErr := tx.Commit(); commitErr != nil {
		return nil, fmt.Errorf("the application's commit: %w", commitErr)
	}
	return result, err
}
