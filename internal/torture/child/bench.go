package child

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// A bench is a store in which each method has something to do.
type bench struct {
	*canceller
	store    *sqlite.Backend
	app      *sql.DB // the application's own, with the hook
	raw      *sql.DB // without it
	borrowed bool    // the store borrows app's connection
	s        *scene
}

// bench returns a store in the state of the scene: a copy of the first store.
func (w *sweeper) bench(m *method) (b *bench, err error) {
	b = &bench{canceller: &canceller{}, borrowed: w.borrowed}
	w.n++
	path := filepath.Join(w.dir, fmt.Sprintf("%d.db", w.n))
	first := w.scene == nil
	if first || w.borrowed { // a database in memory cannot be copied
		w.scene = &scene{start: time.Unix(1_700_000_000, 0)}
	}
	b.s = w.scene
	opts := &sqlite.Options{History: m.history, Clock: func() time.Time { return b.s.start.Add(time.Second) }}
	setup := &sqlite.Options{Clock: func() time.Time { return b.s.start }}
	drv, err := w.withHook(b.canceller)
	if err != nil {
		return nil, err
	}
	if w.borrowed {
		b.app = sql.OpenDB(drv.Connector(fmt.Sprintf("file:/cancel-%d?vfs=memdb", memories.Add(1))))
		b.raw = b.app
		store, err := sqlite.New(b.app, setup)
		if err == nil {
			err = errors.Join(b.s.prepare(store), store.Close())
		}
		if err == nil {
			b.store, err = sqlite.New(b.app, opts)
		}
		return b, err
	}
	if first {
		store, err := w.Open(path, setup)
		if err == nil {
			err = errors.Join(b.s.prepare(store), store.Close())
		}
		if err == nil {
			w.files, err = os.ReadFile(path)
		}
		if err != nil {
			return nil, err
		}
	} else if err := os.WriteFile(path, w.files, 0o600); err != nil {
		return nil, err
	}
	if b.store, err = sqlite.Open(drv, path, opts); err != nil {
		return nil, err
	}
	dsn := "file:" + path + "?_txlock=immediate"
	b.app = sql.OpenDB(drv.Connector(dsn))
	b.app.SetMaxOpenConns(1)
	b.raw, err = sql.Open(w.SQL, "file:"+path+"?_txlock=deferred&_busy_timeout=1&_pragma=busy_timeout(1)")
	return b, err
}

// memories counts databases in memory, whose names are shared in a process.
var memories atomic.Int64

func (b *bench) close() error {
	err := errors.Join(b.store.Close(), b.app.Close())
	if b.raw != b.app {
		err = errors.Join(err, b.raw.Close())
	}
	return err
}

// healthy returns what is wrong with the store after a call.
func (b *bench) healthy() error {
	if n := b.open(); n != 0 {
		return fmt.Errorf("%d results are open", n)
	}
	kept := 0
	if b.borrowed {
		kept = 1 // the store keeps one, so that the database in memory lasts
	}
	if n := b.app.Stats().InUse; n != kept {
		return fmt.Errorf("%d of the application's connections are in use, want %d", n, kept)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := b.store.Count(ctx); err != nil {
		return fmt.Errorf("reading afterwards: %w", err)
	}
	unknown := backend.Worker{ID: 12345, Lease: time.Hour}
	if _, err := b.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: unknown}); !errors.Is(err, backend.ErrWorkerGone) {
		return fmt.Errorf("writing afterwards: %w, want ErrWorkerGone", err)
	}
	if b.borrowed {
		return nil
	}
	// An open transaction blocks the checkpoint, also that of a reader.
	var blocked, frames, moved int
	err := b.raw.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&blocked, &frames, &moved)
	if err == nil && blocked != 0 {
		err = errors.New("a transaction is open")
	}
	return err
}
