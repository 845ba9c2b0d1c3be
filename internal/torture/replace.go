package torture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var replaceTest = &Test{
	ID:     "replace",
	About:  "another file replaces a database in use; each acknowledged job must be in the old file, later calls must be refused, and the new file must stay intact",
	Unit:   "replacements",
	Counts: []string{"replacements", "acknowledged", "refused"},
	Short:  6, Full: 200,
	Mixed: true,
	Unix:  true,
	run:   replace,
}

func replace(r *rig) {
	var sum replaced
	rounds := 0
	for ; rounds < r.Rounds && r.more(); rounds++ {
		by := replacements[rounds%len(replacements)]
		r.sub(fmt.Sprintf("database %d, replaced by %s", rounds+1, by), func(sub *rig) { sub.replace(by, &sum) })
	}
	r.result.add("replacements", rounds)
	r.result.add("acknowledged", sum.acknowledged)
	r.result.add("refused", sum.refused)
	r.result.must("acknowledged_after", sum.late)
	r.result.must("acknowledged_lost", sum.lost)
	r.result.must("accepted", sum.accepted)
	r.result.must("broken", sum.broken)
}

// A replaced counts the results of all replacements.
type replaced struct {
	acknowledged, refused int
	late                  int // acknowledged calls that began after the replacement
	lost                  int // acknowledged jobs that are not in the old file
	accepted              int // times that the new file was opened with the log of the old one
	broken                int // files
}

// replacements are what is put in the place of the file.
var replacements = []string{"a backup", "a backup, and the old one is restored", "nothing"}

// replace replaces a database under two processes that push and one that
// works.
func (r *rig) replace(by string, n *replaced) {
	server := r.server()
	r.push(server, []child.Task{{N: -2}, {N: -1}})
	var all []*process
	for i := range pushProcesses {
		all = append(all, r.spawn(child.Order{Role: child.Push, First: int64(i) * numbersEach, Pause: pusherPause}))
	}
	all = append(all, r.spawn(child.Order{Role: child.Work, Concurrency: 2}))
	each(all, (*process).begun)
	old, backup := filepath.Join(r.dir, "old.db"), filepath.Join(r.dir, "backup.db")
	server.ask(child.Command{Op: child.OpCopy, Path: backup})
	server.stop()
	r.pause(r.between(0, 2*pushFor))

	check(os.Rename(r.path, old))
	if by != "nothing" {
		check(os.Rename(backup, r.path))
	}
	r.until("each pusher is refused", func() bool {
		return !slices.ContainsFunc(all[:pushProcesses], func(p *process) bool {
			return !bytes.Contains(must(os.ReadFile(p.ledger)), []byte("unavailable"))
		})
	})
	r.pause(r.between(0, pushFor))
	// A process that opens the file now must not apply the old log to the new
	// file.
	r.opensLeftover(n)
	if by == "a backup, and the old one is restored" {
		// The processes that have the old file open go on.
		check(errors.Join(os.Rename(r.path, backup), os.Rename(old, r.path)))
		heard := r.acks.pushes()
		r.until("pushes are acknowledged when the file is back", func() bool { return r.acks.pushes() > heard })
		old = r.path
	}
	each(all, (*process).kill)
	if old != r.path {
		for _, err := range []error{os.Rename(r.path+"-wal", old+"-wal"), os.Remove(r.path + "-shm")} {
			if !errors.Is(err, os.ErrNotExist) {
				check(err)
			}
		}
	}
	r.judgeReplaced(old, backup, by, n)
}

const (
	pushFor     = 100 * time.Millisecond
	pusherPause = time.Millisecond
)

// opensLeftover opens the file at the path next to the log of another file, which
// must be refused.
func (r *rig) opensLeftover(n *replaced) {
	other := r.server()
	reply := other.ask(child.Command{Op: child.OpExamine, Path: r.path})
	if reply.Exam.Kinds["open"] != "invalid" {
		n.accepted++
		r.result.faultf("opened with the log of another file: %v", reply.Exam.Kinds)
	}
	other.stop()
}

// judgeReplaced looks at both files.
func (r *rig) judgeReplaced(old, backup, by string, n *replaced) {
	check(r.acks.close())
	h := r.history()
	for _, t := range h.callErrors {
		if strings.Contains(t.text, "unavailable") {
			n.refused++
		}
	}
	files := map[string]string{"old": old}
	switch by {
	case "a backup":
		files["new"] = r.path
	case "a backup, and the old one is restored":
		files["new"] = backup
	}
	for which, path := range files {
		server, acked := r.server(), map[int64]int64{}
		if which == "old" {
			acked = r.acks.ids
		}
		lost, _ := r.judgeFile(server, path, "the "+which+" file", acked, &n.broken, &n.broken)
		for _, id := range lost {
			n.lost++
			r.result.faultf("job %d was acknowledged for task %d, and is not there", id, acked[id])
		}
		server.stop()
	}
	n.acknowledged += len(r.acks.ids)
	// If the old file is back, a call that began meanwhile may succeed.
	if late := r.acks.displaced; late > 0 && old != r.path {
		n.late += late
		r.result.faultf("%d calls were acknowledged after the file was replaced", late)
	}
}
