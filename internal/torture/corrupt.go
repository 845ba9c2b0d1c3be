package torture

import (
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

// fileLimit bounds the time that one file takes. Each call on it may take two
// seconds.
const fileLimit = 30 * time.Second

// A corrupting is one run of the test.
type corrupting struct {
	*rig
	examiner *process
	db, log  []byte
	sound    []child.Job

	files, detected, right, altered int
	panics, hangs, otherKind        int
	kinds                           map[string]int
}

// expectedKinds are the kinds of errors that a damaged file may cause. A
// worker's row that is damaged counts as missing, and a damaged schema version
// may be too new.
var expectedKinds = []string{"corrupt", "unavailable", "schema", "workergone", "notfound", "nospace"}

func corrupt(r *rig) {
	k := &corrupting{rig: r, kinds: map[string]int{}}
	k.prepare()
	for k.files < r.Rounds && r.more() {
		k.files++
		k.one()
		r.tell("%d of %d files", k.files, r.Rounds)
	}
	r.result.add("files", k.files)
	r.result.add("detected", k.detected)
	r.result.add("right", k.right)
	// SQLite pages have no checksums: a changed payload or a missing row cannot
	// be detected.
	r.result.add("altered_unseen", k.altered)
	r.result.must("panics", k.panics)
	r.result.must("hangs", k.hangs)
	r.result.must("errors_without_kind", k.otherKind)
	for _, kind := range expectedKinds {
		if n := k.kinds[kind]; n > 0 {
			r.result.add("said_"+kind, n)
		}
	}
}

// prepare makes a database with jobs in every state, and reads its file and its
// log.
func (k *corrupting) prepare() {
	server := k.server()
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
	k.push(server, tasks)
	worker := k.spawn(child.Order{Role: child.Work, Concurrency: 100})
	k.until("there are jobs of all kinds", func() bool {
		n := k.counts(server)
		return n["done"] > 30 && n["failed"] > 20 && n["running"] > 20
	})
	worker.kill()
	// The jobs so far go into the file, the next ones stay in the log.
	server.ask(child.Command{Op: child.OpCheckpoint, Mode: "TRUNCATE", For: time.Millisecond})
	for i := range tasks {
		tasks[i] = child.Task{N: int64(1000 + i), Pad: make([]byte, k.random.IntN(600))}
	}
	k.push(server, tasks)
	k.sound = server.ask(child.Command{Op: child.OpList}).Jobs
	server.kill()
	k.db = must(os.ReadFile(k.path))
	k.log = must(os.ReadFile(k.path + "-wal"))
}

// one damages a copy and has a child examine it.
func (k *corrupting) one() {
	path := filepath.Join(k.dir, fmt.Sprintf("damaged%d.db", k.files))
	db, log, how := k.damage()
	check(os.WriteFile(path, db, 0o600))
	check(os.WriteFile(path+"-wal", log, 0o600))
	if k.examiner == nil || k.examiner.over() {
		k.examiner = k.server()
	}
	k.examiner.send(child.Command{Op: child.OpExamine, Path: path})
	faults := len(k.result.Faults)
	reply, err := k.examiner.reply(fileLimit)
	switch {
	case k.ctx.Err() != nil:
		check(k.ctx.Err())
	case errors.Is(err, errSilent):
		k.hangs++
		k.result.faultf("file %d (%s): %v", k.files, how, err)
		k.examiner.kill()
	case err != nil:
		k.panics++
		k.result.faultf("file %d (%s): %v", k.files, how, err)
	default:
		k.mark(reply.Exam, how)
	}
	if len(k.result.Faults) == faults {
		removeDatabase(path)
	}
}

// mark counts the result of one file.
func (k *corrupting) mark(e *child.Exam, how string) {
	for op, kind := range e.Kinds {
		k.kinds[kind]++
		switch {
		case kind == "deadline":
			k.hangs++
			k.result.faultf("file %d (%s): %s takes more than two seconds", k.files, how, op)
		case !slices.Contains(expectedKinds, kind):
			k.otherKind++
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

// damage returns copies of the files, one of them damaged.
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
