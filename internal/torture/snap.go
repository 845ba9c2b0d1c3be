package torture

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var snapTest = &Test{
	ID:     "snap",
	About:  "database and log are copied from under frozen processes, and the log is cut and damaged after the last acknowledgement",
	Unit:   "snapshots",
	Counts: []string{"snapshots", "acknowledged"},
	Short:  4, Full: 500,
	Mixed: true,
	Unix:  true,
	run:   snap,
}

// copiesEach is the number of damaged copies of a snapshot, each damaged in
// another way.
const copiesEach = 4

// A snapping is one run of the test.
type snapping struct {
	*rig
	server                        *process
	snaps, copies, cut, flips     int
	acknowledged                  int
	lost, corrupt, unopened, skip int
}

func snap(r *rig) {
	s := &snapping{rig: r}
	s.server = r.server()
	for s.snaps < r.Rounds && r.more() {
		r.sub(fmt.Sprint("snapshot ", s.snaps+1), s.one)
		r.tell("%d of %d snapshots", s.snaps, r.Rounds)
	}
	r.result.add("snapshots", s.snaps)
	r.result.add("copies", s.copies)
	r.result.add("acknowledged", s.acknowledged)
	r.result.add("cut_bytes", s.cut)
	r.result.add("flipped_bytes", s.flips)
	r.result.add("skipped", s.skip)
	r.result.must("acknowledged_lost", s.lost)
	r.result.must("corrupt", s.corrupt)
	r.result.must("unopened", s.unopened)
}

// one has a pusher and a worker use a new database, freezes them, and copies
// the files. No checkpoint has been made so far, so everything that was
// acknowledged is in the log, up to its size at the acknowledgement.
func (s *snapping) one(sub *rig) {
	pusher := sub.spawn(child.Order{Role: child.Push, First: 1})
	worker := sub.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: shortLease, Grace: time.Second})
	both := []*process{pusher, worker}
	each(both, (*process).begun)
	sub.pause(sub.between(time.Millisecond, 150*time.Millisecond))
	each(both, (*process).freeze)
	sub.quiet(both)
	db := must(os.ReadFile(sub.path))
	log := must(os.ReadFile(sub.path + "-wal"))
	each(both, (*process).kill)
	check(sub.acks.close())
	s.snaps++
	safe := int(sub.acks.wal)
	if len(log) < 32 || safe > len(log) || binary.BigEndian.Uint32(log[12:]) != 0 {
		s.skip++ // the log was reset, so its size proves nothing
		return
	}
	s.acknowledged += len(sub.acks.ids)
	for i := range copiesEach {
		s.damageCopy(sub, db, log, safe, i)
	}
}

// quiet waits until frozen processes have stopped: the signal takes effect a
// moment after it is sent.
func (r *rig) quiet(processes []*process) {
	r.until("the processes have stopped", func() bool {
		return !slices.ContainsFunc(processes, func(p *process) bool { return !must(isStopped(p.cmd.Process.Pid)) })
	})
}

// damageCopy cuts and flips the log of a copy after its safe part, and has a
// child open the copy.
func (s *snapping) damageCopy(sub *rig, db, log []byte, safe, how int) {
	end := safe + s.random.IntN(len(log)-safe+1)
	s.cut += len(log) - end
	log = slices.Clone(log[:end])
	switch how {
	case 0: // only cut
	case 1: // cut to the last acknowledgement
		log = log[:safe]
	default:
		for range 1 + s.random.IntN(20) {
			if len(log) > safe {
				log[safe+s.random.IntN(len(log)-safe)] ^= byte(1 + s.random.IntN(255))
				s.flips++
			}
		}
	}
	path := filepath.Join(sub.dir, fmt.Sprintf("copy%d.db", how))
	check(os.WriteFile(path, db, 0o600))
	check(os.WriteFile(path+"-wal", log, 0o600))
	s.copies++
	lost, _ := sub.judgeFile(s.server, path, fmt.Sprint("copy ", how), sub.acks.ids, &s.unopened, &s.corrupt)
	for _, id := range lost {
		s.lost++
		sub.result.faultf("copy %d: job %d was acknowledged and is not there", how, id)
	}
}
