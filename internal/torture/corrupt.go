package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var corruptTest = &Test{
	ID:     "corrupt",
	About:  "damaged copies of a file are opened and used; nothing may panic or hang, and each error must match its kind",
	Unit:   "files",
	Counts: []string{"files"},
	Short:  60, Full: 1000,
	run: corrupt,
}

// hangs is how long one file may take, of which each call may take two seconds.
const hangs = 30 * time.Second

// A corrupting is one run of the test.
type corrupting struct {
	*rig
	examiner *process
	db, log  []byte
	sound    []child.Job

	files, detected, right, altered int
	panics, hangs, unkind           int
	kinds                           map[string]int
}

// fitting are the kinds of errors that a damaged file may cause. A damaged row
// of a worker is one that is not there, and a damaged version may be too new.
var fitting = []string{"corrupt", "unavailable", "schema", "workergone", "notfound", "nospace"}

func corrupt(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	k := &corrupting{rig: r, kinds: map[string]int{}}
	if err := k.prepare(ctx); err != nil {
		return r.result, err
	}
	for k.files < r.Rounds && r.more(ctx) {
		k.files++
		if err := k.one(ctx); err != nil {
			return r.result, err
		}
		if k.files%200 == 0 {
			r.progress("%d of %d files", k.files, r.Rounds)
		}
	}
	r.result.add("files", k.files)
	r.result.add("detected", k.detected)
	r.result.add("right", k.right)
	// SQLite has no checksums in its pages: that a payload is another one
	// now, or a row is gone, cannot be told.
	r.result.add("altered_unseen", k.altered)
	r.result.must("panics", k.panics)
	r.result.must("hangs", k.hangs)
	r.result.must("errors_without_kind", k.unkind)
	for _, kind := range fitting {
		if n := k.kinds[kind]; n > 0 {
			r.result.add("said_"+kind, n)
		}
	}
	r.sec()
	return r.result, ctx.Err()
}

// prepare makes a database with jobs in every state and takes it as it is on
// the disk, with a log.
func (k *corrupting) prepare(ctx context.Context) error {
	server, err := k.server(ctx)
	if err != nil {
		return err
	}
	tasks := make([]child.Task, 300)
	for i := range tasks {
		tasks[i] = child.Task{N: int64(i), Pad: make([]byte, k.random.IntN(600))}
		switch i % 4 {
		case 1:
			tasks[i].Fails = 1
		case 2:
			tasks[i].Attempts, tasks[i].Do = 1, child.ActionPanic
		case 3:
			tasks[i].Takes = time.Minute
		}
	}
	if err := k.push(ctx, server, tasks); err != nil {
		return err
	}
	worker, err := k.spawn(child.Order{Role: child.Work, Concurrency: 100})
	if err != nil {
		return err
	}
	err = k.until(ctx, "there are jobs of all kinds", func() (bool, error) {
		reply, err := server.ask(ctx, child.Command{Op: child.OpCount})
		return reply.Counts["done"] > 30 && reply.Counts["failed"] > 20 && reply.Counts["running"] > 20, err
	})
	if err != nil {
		return err
	}
	if err := worker.kill(); err != nil {
		return err
	}
	// Half of it goes into the file and the rest stays in the log.
	if _, err := server.ask(ctx, child.Command{Op: child.OpCheckpoint, Mode: "TRUNCATE", For: time.Millisecond}); err != nil {
		return err
	}
	for i := range tasks {
		tasks[i] = child.Task{N: int64(1000 + i), Pad: make([]byte, k.random.IntN(600))}
	}
	if err := k.push(ctx, server, tasks); err != nil {
		return err
	}
	list, err := server.ask(ctx, child.Command{Op: child.OpList})
	if err != nil {
		return err
	}
	k.sound = list.Jobs
	if err := server.kill(); err != nil {
		return err
	}
	if k.db, err = os.ReadFile(k.path); err != nil {
		return err
	}
	k.log, err = os.ReadFile(k.path + "-wal")
	return err
}

// one damages a copy and has it examined.
func (k *corrupting) one(ctx context.Context) error {
	path := filepath.Join(k.dir, fmt.Sprintf("damaged%d.db", k.files))
	db, log, how := k.damage()
	if err := os.WriteFile(path, db, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(path+"-wal", log, 0o600); err != nil {
		return err
	}
	if k.examiner == nil || k.examiner.over() {
		var err error
		if k.examiner, err = k.server(ctx); err != nil {
			return err
		}
	}
	if err := k.examiner.orders.Encode(child.Command{Op: child.OpExamine, Path: path}); err != nil {
		return err
	}
	faults := len(k.result.Faults)
	reply, err := k.examiner.reply(ctx, hangs)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errSilent):
		k.hangs++
		k.result.faultf("file %d (%s): %v", k.files, how, err)
		if err := k.examiner.kill(); err != nil {
			return err
		}
	case err != nil:
		k.panics++
		k.result.faultf("file %d (%s): %v", k.files, how, err)
	default:
		k.mark(reply.Exam, how)
	}
	if len(k.result.Faults) == faults {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(path + suffix) // some are not there
		}
	}
	return nil
}

// mark says what came of a file.
func (k *corrupting) mark(e *child.Exam, how string) {
	for op, kind := range e.Kinds {
		k.kinds[kind]++
		switch {
		case kind == "deadline":
			k.hangs++
			k.result.faultf("file %d (%s): %s takes more than two seconds", k.files, how, op)
		case !slices.Contains(fitting, kind):
			k.unkind++
			k.result.faultf("file %d (%s): %s failed with an error of kind %s: %q", k.files, how, op, kind, e.Texts)
		}
	}
	switch {
	case len(e.Kinds) > 0:
		k.detected++
	case slices.Equal(e.Jobs, k.sound):
		k.right++
	default:
		k.altered++
	}
}

// damage returns copies of the files, one of which is not what it was.
func (k *corrupting) damage() (db, log []byte, how string) {
	db, log = slices.Clone(k.db), slices.Clone(k.log)
	file, name := &db, "database"
	if k.random.IntN(4) == 0 && len(log) > 0 {
		file, name = &log, "log"
	}
	at, n := k.random.IntN(len(*file)), 1+k.random.IntN(4096)
	if k.random.IntN(4) == 0 {
		at = k.random.IntN(200) // the header
	}
	part := (*file)[at:min(at+n, len(*file))]
	switch k.random.IntN(4) {
	case 0:
		how = "flip"
		for range 1 + k.random.IntN(16) {
			part[k.random.IntN(len(part))] ^= byte(1 << k.random.IntN(8))
		}
	case 1:
		how = "zero"
		clear(part)
	case 2:
		how = "noise"
		for i := range part {
			part[i] = byte(k.random.IntN(256))
		}
	case 3:
		how = "truncate"
		*file = (*file)[:at]
	}
	return db, log, fmt.Sprintf("%s of %d bytes at %d of the %s", how, len(part), at, name)
}
