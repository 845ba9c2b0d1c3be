package torture

import (
	"context"
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

// copiesEach is how many copies of a snapshot are spoilt, each in another way.
const copiesEach = 4

// A snapping is one run of the test.
type snapping struct {
	*rig
	server                        *process
	snaps, copies, cut, flips     int
	acknowledged                  int
	lost, corrupt, unopened, skip int
}

func snap(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	s := &snapping{rig: r}
	if s.server, err = r.server(ctx); err != nil {
		return r.result, err
	}
	for s.snaps < r.Rounds && r.more(ctx) {
		if err := s.one(ctx); err != nil {
			return r.result, err
		}
		if s.snaps%50 == 0 {
			r.progress("%d of %d snapshots", s.snaps, r.Rounds)
		}
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
	r.sec()
	return r.result, ctx.Err()
}

// one has a pusher and a worker at a new database, freezes them and takes what
// is on the disk then. As no checkpoint has been made so far, everything that
// was acknowledged is in the log up to where that ended at the time.
func (s *snapping) one(ctx context.Context) error {
	sub, err := s.within(ctx)
	if err != nil {
		return err
	}
	defer sub.close()
	pusher, err := sub.spawn(child.Order{Role: child.Push, First: 1})
	if err != nil {
		return err
	}
	worker, err := sub.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: shortLease, Grace: time.Second})
	if err != nil {
		return err
	}
	both := []*process{pusher, worker}
	if err := each(both, func(p *process) error { return p.begun(ctx) }); err != nil {
		return err
	}
	if err := pause(ctx, sub.between(time.Millisecond, 150*time.Millisecond)); err != nil {
		return err
	}
	if err := each(both, (*process).freeze); err != nil {
		return err
	}
	if err := sub.quiet(ctx, both); err != nil {
		return err
	}
	db, err := os.ReadFile(sub.path)
	if err != nil {
		return err
	}
	log, err := os.ReadFile(sub.path + "-wal")
	if err != nil {
		return err
	}
	if err := each(both, (*process).kill); err != nil {
		return err
	}
	if err := sub.acks.close(); err != nil { // all that was said is heard
		return err
	}
	s.snaps++
	safe := int(sub.acks.wal)
	if len(log) < 32 || safe > len(log) || binary.BigEndian.Uint32(log[12:]) != 0 {
		s.skip++ // the log was reset, so its size says nothing
		return nil
	}
	s.acknowledged += len(sub.acks.ids)
	for i := range copiesEach {
		if err := s.spoil(ctx, sub, db, log, safe, i); err != nil {
			return err
		}
	}
	return nil
}

// quiet waits until stopped processes have stopped: the signal takes effect a
// moment after it is sent.
func (r *rig) quiet(ctx context.Context, processes []*process) error {
	return r.until(ctx, "the processes have stopped", func() (bool, error) {
		for _, p := range processes {
			if stopped, err := isStopped(p.cmd.Process.Pid); err != nil || !stopped {
				return false, err
			}
		}
		return true, nil
	})
}

// spoil cuts and flips a copy behind what is safe, and has it opened.
func (s *snapping) spoil(ctx context.Context, sub *rig, db, log []byte, safe, how int) error {
	end := safe + s.random.IntN(len(log)-safe+1)
	s.cut += len(log) - end
	log = slices.Clone(log[:end])
	switch how {
	case 0: // only cut
	case 1: // to where the last acknowledgement was
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
	if err := os.WriteFile(path, db, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(path+"-wal", log, 0o600); err != nil {
		return err
	}
	s.copies++
	reply, err := s.server.ask(ctx, child.Command{Op: child.OpInspect, Path: path})
	if err != nil {
		if s.server.over() || ctx.Err() != nil {
			return err
		}
		s.unopened++
		s.result.faultf("snapshot %d, copy %d: %v", s.snaps, how, err)
		return nil
	}
	if reply.Check != "ok" {
		s.corrupt++
		s.result.faultf("snapshot %d, copy %d: %s", s.snaps, how, reply.Check)
	}
	there := map[int64]int64{}
	for _, j := range reply.Jobs {
		there[j.ID] = j.N
	}
	for id, n := range sub.acks.ids {
		if got, ok := there[id]; !ok || got != n {
			s.lost++
			s.result.faultf("snapshot %d, copy %d: job %d was acknowledged and is not there", s.snaps, how, id)
		}
	}
	return nil
}
