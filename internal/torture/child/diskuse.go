package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/sqlite"
)

// A DiskReport is the result of using a store whose disk fails.
type DiskReport struct {
	Opened bool
	Struck int            // calls that failed
	Kinds  map[string]int // of the errors, by kind
	Acked  []Ack
	Hangs  int // calls that took more than five seconds
	Crash  int // number of Acked from before the copy
	Early  int // pushes that were acknowledged while the log was distrusted
	Works  bool
	Texts  []string      // of errors of unexpected kinds
	Took   time.Duration // until it worked again
	Reason string        // why it does not work again
}

// An Ack is a push that was acknowledged.
type Ack struct{ ID, N int64 }

// slowCall is how long a call may take.
const slowCall = 5 * time.Second

// A diskUser uses a store as programs do, and goes on whatever fails.
type diskUser struct {
	*server
	where, path string
	store       *sqlite.Backend
	disk        Disk
	next        int64
	DiskReport
}

// useFaultyDisk uses a store at path while its disk fails, then once more when
// the disk works again. In between, on a VFS, it copies the files to
// path.crash, as a crash at that moment would leave them.
func (s *server) useFaultyDisk(ctx context.Context, where, path string, f DiskFault) DiskReport {
	e := &diskUser{server: s, where: where, path: path, next: 1, DiskReport: DiskReport{Kinds: map[string]int{}}}
	if disk := s.diskAt(where); disk != nil {
		disk.Arm(f)
		e.disk = disk
	}
	e.use(ctx)
	if e.disk != nil {
		e.Struck, e.Crash = e.disk.Struck(), len(e.Acked)
		if where == DiskVFS { // its locks outlive a closed descriptor
			if err := errors.Join(copyFile(path, path+".crash"), copyFile(path+"-wal", path+".crash-wal")); err != nil {
				e.Reason = err.Error()
			}
		}
		e.disk.Arm(DiskFault{})
	}
	if e.disk != nil || !f.Forever {
		e.recover(ctx)
	}
	if e.store != nil {
		e.try(ctx, "close", func(context.Context) error { return e.store.Close() })
	}
	return e.DiskReport
}

// diskAt returns the disk that openOn will use, nil for the real one.
func (c *child) diskAt(where string) Disk {
	switch where {
	case DiskVFS:
		return c.Disk
	case DiskDriver:
		if c.onDriver == nil {
			c.onDriver = &driverDisk{}
		}
		return c.onDriver
	}
	return nil
}

// copyFile copies a file if it is there.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// try makes a call and reports whether it succeeded.
func (e *diskUser) try(ctx context.Context, op string, f func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*slowCall)
	defer cancel()
	began := time.Now()
	err := f(ctx)
	if time.Since(began) > slowCall {
		e.Hangs++
		e.Texts = append(e.Texts, fmt.Sprintf("%s took %v: %v", op, time.Since(began).Round(time.Millisecond), err))
	}
	if err == nil {
		return true
	}
	kind := Kind(err)
	e.Kinds[kind]++
	if kind == "other" && len(e.Texts) < 5 {
		e.Texts = append(e.Texts, op+": "+err.Error())
	}
	return false
}

// open opens the store unless it is open.
func (e *diskUser) open(ctx context.Context) bool {
	if e.store == nil {
		e.try(ctx, "open", func(context.Context) (err error) {
			b, _, err := e.openOn(e.where, e.path)
			if err == nil {
				e.store, e.Opened = b, true
				if e.disk != nil {
					e.disk.Trust() // the failed sync was another store's
				}
			}
			return err
		})
	}
	return e.store != nil
}

// use uses the store as programs do.
func (e *diskUser) use(ctx context.Context) {
	for range 3 {
		if !e.open(ctx) {
			continue
		}
		e.push(ctx, 3)
		e.work(ctx)
		e.push(ctx, 1)
		distrusted := e.disk != nil && e.disk.Distrusted()
		e.try(ctx, "checkpoint", func(ctx context.Context) error {
			_ = e.checkpointOn(ctx, e.where, e.path) // an error is not the store's
			return nil
		})
		if e.disk != nil && !distrusted {
			e.disk.Trust() // the failed sync was not the store's
		}
		e.push(ctx, 2)
		e.try(ctx, "reap", func(ctx context.Context) error {
			_, err := e.store.Reap(ctx, backend.ReapRequest{Expired: true})
			return err
		})
		e.try(ctx, "list", func(ctx context.Context) error { _, err := list(ctx, e.store); return err })
	}
}

func (e *diskUser) push(ctx context.Context, n int) bool {
	tasks := make([]plainjobs.Task, n)
	first := e.next
	for i := range tasks {
		tasks[i] = Task{N: e.next, Batch: first, Size: n, Pad: make([]byte, 200)}.task()
		e.next++
	}
	return e.try(ctx, "push", func(ctx context.Context) error {
		ids, err := plainjobs.New(e.store, nil).PerformMany(ctx, tasks...)
		if err == nil && e.disk != nil && e.disk.Distrusted() {
			e.Early++
		}
		for i, id := range ids {
			e.Acked = append(e.Acked, Ack{id, first + int64(i)})
		}
		return err
	})
}

// work claims and settles.
func (e *diskUser) work(ctx context.Context) {
	w := backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "diskuser", Lease: time.Minute}
	var jobs []backend.Job
	claimed := e.try(ctx, "claim", func(ctx context.Context) (err error) {
		jobs, err = e.store.Claim(ctx, backend.ClaimRequest{Worker: w, Register: true, Names: []string{even.Name(), odd.Name()}, Limit: 2})
		return err
	})
	if !claimed {
		return
	}
	for i := range jobs {
		if i == 0 {
			e.try(ctx, "complete", func(ctx context.Context) error {
				_, err := e.store.Complete(ctx, []backend.Completion{{Lease: jobs[i].Lease, Result: []byte("1")}})
				return err
			})
			continue
		}
		e.try(ctx, "fail", func(ctx context.Context) error {
			_, err := e.store.Fail(ctx, []backend.Failure{{Lease: jobs[i].Lease, Ending: backend.EndRetry, Error: "x"}})
			return err
		})
	}
	e.try(ctx, "heartbeat", func(ctx context.Context) error {
		_, err := e.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: w})
		return err
	})
}

// recover checks that the store works again on a disk that works, without being
// opened again.
func (e *diskUser) recover(ctx context.Context) {
	began := time.Now()
	kinds := e.Kinds
	e.Kinds = map[string]int{} // errors that the fault left behind do not count
	defer func() { e.Kinds = kinds }()
	if !e.open(ctx) {
		e.Reason = fmt.Sprint("it does not open: ", e.Kinds, e.Texts)
		return
	}
	for e.Took = time.Since(began); e.Took < slowCall; e.Took = time.Since(began) {
		e.Works = e.push(ctx, 1) && e.try(ctx, "list", func(ctx context.Context) error { _, err := list(ctx, e.store); return err })
		if e.Works {
			return
		}
		wait(ctx, 10*time.Millisecond)
	}
	e.Reason = fmt.Sprint(e.Kinds, e.Texts)
}
