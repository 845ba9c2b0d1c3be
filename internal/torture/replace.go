package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var replaceTest = &Test{
	ID:     "replace",
	About:  "another file is put in the place of a database in use; what is acknowledged is in the old one, then nothing is, and the new one stays whole",
	Unit:   "replacements",
	Counts: []string{"replacements", "acknowledged", "refused"},
	Short:  6, Full: 200,
	Mixed: true,
	Unix:  true,
	run:   replace,
}

func replace(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	var sum replaced
	rounds := 0
	for ; rounds < r.Rounds && r.more(ctx); rounds++ {
		one, err := r.replacedOnce(ctx, replacements[rounds%len(replacements)])
		if err != nil {
			return r.result, err
		}
		sum.acknowledged += one.acknowledged
		sum.refused += one.refused
		sum.late += one.late
		sum.lost += one.lost
		sum.accepted += one.accepted
		sum.broken += one.broken
	}
	r.result.add("replacements", rounds)
	r.result.add("acknowledged", sum.acknowledged)
	r.result.add("refused", sum.refused)
	r.result.must("acknowledged_after", sum.late)
	r.result.must("acknowledged_lost", sum.lost)
	r.result.must("accepted", sum.accepted)
	r.result.must("broken", sum.broken)
	r.sec()
	return r.result, ctx.Err()
}

// A replaced is what was counted in one replacement, or in all.
type replaced struct {
	acknowledged, refused int
	late                  int // calls that began after it and were acknowledged
	lost                  int // acknowledged jobs that are not in the old file
	accepted              int // openings of the new file with the log of the old one
	broken                int // files
}

// The ways to replace a file: what is put in its place.
var replacements = []string{"a backup", "a backup, and the old one is restored", "nothing"}

// replacedOnce replaces a database under two processes that push and one that
// works.
func (r *rig) replacedOnce(ctx context.Context, by string) (n replaced, err error) {
	sub, err := r.within(ctx)
	if err != nil {
		return n, err
	}
	defer sub.close()
	server, err := sub.server(ctx)
	if err != nil {
		return n, err
	}
	if err := sub.push(ctx, server, []child.Task{{N: -2}, {N: -1}}); err != nil {
		return n, err
	}
	var all []*process
	for i := range pushProcesses {
		p, err := sub.spawn(child.Order{Role: child.Push, First: int64(i) * numbersEach, Pause: pusherPause})
		if err != nil {
			return n, err
		}
		all = append(all, p)
	}
	worker, err := sub.spawn(child.Order{Role: child.Work, Concurrency: 2})
	if err != nil {
		return n, err
	}
	all = append(all, worker)
	for _, p := range all {
		if err := p.begun(ctx); err != nil {
			return n, err
		}
	}
	old, backup := filepath.Join(sub.dir, "old.db"), filepath.Join(sub.dir, "backup.db")
	if _, err := server.ask(ctx, child.Command{Op: child.OpCopy, Path: backup}); err != nil {
		return n, err
	}
	if err := errors.Join(server.stop(ctx), pause(ctx, r.between(0, 2*pushFor))); err != nil {
		return n, err
	}

	if err := os.Rename(sub.path, old); err != nil {
		return n, err
	}
	if by != "nothing" {
		if err := os.Rename(backup, sub.path); err != nil {
			return n, err
		}
	}
	err = sub.until(ctx, "each pusher is refused", func() (bool, error) {
		for _, p := range all[:pushProcesses] {
			text, err := os.ReadFile(p.ledger)
			if err != nil || !bytes.Contains(text, []byte("unavailable")) {
				return false, err
			}
		}
		return true, nil
	})
	if err := errors.Join(err, pause(ctx, r.between(0, pushFor))); err != nil {
		return n, err
	}
	// Somebody who comes now must not apply the old one's log to the new one.
	if n.accepted, err = sub.opensLeftover(ctx); err != nil {
		return n, err
	}
	if by == "a backup, and the old one is restored" {
		// Who has it open goes on.
		if err := errors.Join(os.Rename(sub.path, backup), os.Rename(old, sub.path)); err != nil {
			return n, err
		}
		heard := sub.acks.pushes()
		if err := sub.until(ctx, "pushes are acknowledged when the file is back", func() (bool, error) { return sub.acks.pushes() > heard, nil }); err != nil {
			return n, err
		}
		old = sub.path
	}
	for _, p := range all {
		if err := p.kill(); err != nil {
			return n, err
		}
	}
	if old != sub.path {
		if err := os.Rename(sub.path+"-wal", old+"-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return n, err
		}
		if err := os.Remove(sub.path + "-shm"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return n, err
		}
	}
	if err := sub.judgeReplaced(ctx, old, backup, by, &n); err != nil {
		return n, err
	}
	r.take(sub, fmt.Sprint("database ", sub.path, ", replaced by ", by))
	return n, nil
}

const (
	pushFor     = 100 * time.Millisecond
	pusherPause = time.Millisecond
)

// opensLeftover opens the file at the path beside the log of another one, and
// returns 1 if that was let.
func (r *rig) opensLeftover(ctx context.Context) (accepted int, err error) {
	other, err := r.server(ctx)
	if err != nil {
		return 0, err
	}
	reply, err := other.ask(ctx, child.Command{Op: child.OpExamine, Path: r.path})
	if err != nil {
		return 0, err
	}
	if reply.Exam.Kinds["open"] != "invalid" {
		accepted++
		r.result.faultf("opened with the log of another file: %v", reply.Exam.Kinds)
	}
	return accepted, other.stop(ctx)
}

// judgeReplaced looks at both files.
func (r *rig) judgeReplaced(ctx context.Context, old, backup, by string, n *replaced) error {
	if err := r.acks.close(); err != nil {
		return err
	}
	h, err := r.history()
	if err != nil {
		return err
	}
	for _, t := range h.troubles {
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
		looks, err := r.server(ctx)
		if err != nil {
			return err
		}
		reply, err := looks.ask(ctx, child.Command{Op: child.OpInspect, Path: path})
		if err != nil {
			return fmt.Errorf("the %s file: %w", which, err)
		}
		if reply.Check != "ok" {
			n.broken++
			r.result.faultf("the %s file: %s", which, reply.Check)
		}
		there := map[int64]int64{}
		for _, j := range reply.Jobs {
			there[j.ID] = j.N
		}
		for id, number := range r.acks.ids {
			if got, ok := there[id]; which == "old" && (!ok || got != number) {
				n.lost++
				r.result.faultf("job %d was acknowledged for task %d, and is not there", id, number)
			}
		}
		if err := looks.stop(ctx); err != nil {
			return err
		}
	}
	n.acknowledged = len(r.acks.ids)
	if old != r.path { // else what began meanwhile may end well
		n.late = r.acks.adrift
	}
	if n.late > 0 {
		r.result.faultf("%d calls were acknowledged after the file was replaced", n.late)
	}
	return nil
}
