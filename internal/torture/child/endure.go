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

// An Endurance is what came of using a store whose disk fails.
type Endurance struct {
	Opened  bool
	Struck  int            // calls that failed
	Kinds   map[string]int // of the errors that came up
	Acked   []Ack
	Hangs   int // calls that took more than five seconds
	Crash   int // how many of Acked are from before the copy
	Early   int // pushes that were acknowledged while the log was not to be trusted
	Works   bool
	Texts   []string      // of errors that are not of the kinds they should be
	Took    time.Duration // until it worked again
	Trouble string        // why it does not work again
}

// An Ack is a push that was acknowledged.
type Ack struct{ ID, N int64 }

// endures is how long a call may take.
const endures = 5 * time.Second

// endurers do what programs do to a store and go on whatever fails.
type endurer struct {
	*server
	where, path string
	store       *sqlite.Backend
	disk        Disk
	next        int64
	Endurance
}

// endure uses a store at path while its disk fails, then once more when it
// works again. Between the two it copies the files to path.crash, as they
// would be found if the process had died then, if the disk is a VFS.
func (s *server) endure(ctx context.Context, where, path string, f DiskFault) Endurance {
	e := &endurer{server: s, where: where, path: path, next: 1, Endurance: Endurance{Kinds: map[string]int{}}}
	if disk := s.diskAt(where); disk != nil {
		disk.Arm(f)
		e.disk = disk
	}
	e.use(ctx)
	if e.disk != nil {
		e.Struck, e.Crash = e.disk.Struck(), len(e.Acked)
		if where == DiskVFS { // whose locks outlive a descriptor that is closed
			if err := errors.Join(copyFile(path, path+".crash"), copyFile(path+"-wal", path+".crash-wal")); err != nil {
				e.Trouble = err.Error()
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
	return e.Endurance
}

// diskAt returns the disk that openOn will use, nil if it is the machine's.
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

// try makes a call and says whether it went well.
func (e *endurer) try(ctx context.Context, op string, f func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*endures)
	defer cancel()
	began := time.Now()
	err := f(ctx)
	if time.Since(began) > endures {
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

// open opens the store if it is not.
func (e *endurer) open(ctx context.Context) bool {
	if e.store == nil {
		e.try(ctx, "open", func(context.Context) (err error) {
			b, _, err := e.openOn(e.where, e.path)
			if err == nil {
				e.store, e.Opened = b, true
				if e.disk != nil {
					e.disk.Trust() // another store saw it
				}
			}
			return err
		})
	}
	return e.store != nil
}

// use does what programs do.
func (e *endurer) use(ctx context.Context) {
	for range 3 {
		if !e.open(ctx) {
			continue
		}
		e.push(ctx, 3)
		e.work(ctx)
		e.push(ctx, 1)
		distrusted := e.disk != nil && e.disk.Distrusted()
		e.try(ctx, "checkpoint", func(ctx context.Context) error {
			_ = e.checkpointOn(ctx, e.where, e.path) // it is not the store's
			return nil
		})
		if e.disk != nil && !distrusted {
			e.disk.Trust() // it was no sync of the store
		}
		e.push(ctx, 2)
		e.try(ctx, "reap", func(ctx context.Context) error {
			_, err := e.store.Reap(ctx, backend.ReapRequest{Expired: true})
			return err
		})
		e.try(ctx, "list", func(ctx context.Context) error { _, err := list(ctx, e.store); return err })
	}
}

func (e *endurer) push(ctx context.Context, n int) bool {
	tasks := make([]plainjobs.Task, n)
	first := e.next
	for i := range tasks {
		tasks[i] = Task{N: e.next, Batch: first, Size: n, Pad: make([]byte, 200)}.performed()
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
func (e *endurer) work(ctx context.Context) {
	w := backend.Worker{ID: 1 + rand.Int64N(1<<62), Host: "endurer", Lease: time.Minute}
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
	e.try(ctx, "beat", func(ctx context.Context) error {
		_, err := e.store.Heartbeat(ctx, backend.HeartbeatRequest{Worker: w})
		return err
	})
}

// recover is with a disk that works: the store must too, without being opened
// again.
func (e *endurer) recover(ctx context.Context) {
	began := time.Now()
	kinds := e.Kinds
	e.Kinds = map[string]int{} // what is left of the fault is not of interest
	defer func() { e.Kinds = kinds }()
	if !e.open(ctx) {
		e.Trouble = fmt.Sprint("it does not open: ", e.Kinds, e.Texts)
		return
	}
	for e.Took = time.Since(began); e.Took < endures; e.Took = time.Since(began) {
		e.Works = e.push(ctx, 1) && e.try(ctx, "list", func(ctx context.Context) error { _, err := list(ctx, e.store); return err })
		if e.Works {
			return
		}
		wait(ctx, 10*time.Millisecond)
	}
	e.Trouble = fmt.Sprint(e.Kinds, e.Texts)
}
