package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var linksTest = &Test{
	ID:     "links",
	About:  "a database with two names must be refused under both, also when the second name appears while it is in use",
	Unit:   "databases",
	Counts: []string{"databases"},
	Short:  2, Full: 20,
	Mixed: true,
	Unix:  true,
	run:   links,
}

func links(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	databases, accepted, lost, broken := 0, 0, 0, 0
	for ; databases < r.Rounds && r.more(ctx); databases++ {
		a, l, b, err := r.linked(ctx)
		if err != nil {
			return r.result, err
		}
		accepted, lost, broken = accepted+a, lost+l, broken+b
	}
	r.result.add("databases", databases)
	r.result.must("accepted", accepted)
	r.result.must("acknowledged_lost", lost)
	r.result.must("broken", broken)
	r.sec()
	return r.result, ctx.Err()
}

// linked gives a database a second name while it is in use, and has others open
// it by both.
func (r *rig) linked(ctx context.Context) (accepted, lost, broken int, err error) {
	sub, err := r.within(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	defer sub.close()
	user, err := sub.server(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	n := int64(0)
	push := func() error {
		n++
		return sub.push(ctx, user, []child.Task{{N: n}})
	}
	if err := push(); err != nil {
		return 0, 0, 0, err
	}
	second := filepath.Join(sub.dir, "second.db")
	if err := os.Link(sub.path, second); err != nil {
		return 0, 0, 0, &Skip{"the file system has no hard links: " + err.Error()}
	}
	for _, path := range []string{second, sub.path} {
		other, err := sub.server(ctx)
		if err != nil {
			return 0, 0, 0, err
		}
		reply, err := other.ask(ctx, child.Command{Op: child.OpExamine, Path: path})
		if err != nil {
			return 0, 0, 0, err
		}
		if reply.Exam.Kinds["open"] != "invalid" {
			accepted++
			sub.result.faultf("%s opened with two names: %v", filepath.Base(path), reply.Exam.Kinds)
		}
		// Who has it open goes on with the name that it knows.
		if err := errors.Join(other.stop(ctx), push()); err != nil {
			return 0, 0, 0, err
		}
	}
	if err := errors.Join(os.Remove(second), push()); err != nil {
		return 0, 0, 0, err
	}
	e, err := sub.inspect(ctx, user)
	if err == nil {
		err = errors.Join(user.stop(ctx), sub.acks.close())
	}
	if err != nil {
		return 0, 0, 0, err
	}
	if !e.ok {
		broken++
	}
	for id, number := range sub.acks.ids {
		if j, ok := e.jobs[id]; !ok || j.N != number {
			lost++
			sub.result.faultf("job %d was acknowledged and is not there", id)
		}
	}
	r.take(sub, fmt.Sprint("database ", sub.path))
	return accepted, lost, broken, nil
}
