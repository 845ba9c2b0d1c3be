package torture

import (
	"fmt"
	"maps"
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

func links(r *rig) {
	databases, accepted, lost, broken := 0, 0, 0, 0
	for ; databases < r.Rounds && r.more(); databases++ {
		r.sub(fmt.Sprint("database ", databases+1), func(sub *rig) {
			a, l, b := sub.linked()
			accepted, lost, broken = accepted+a, lost+l, broken+b
		})
	}
	r.result.add("databases", databases)
	r.result.must("accepted", accepted)
	r.result.must("acknowledged_lost", lost)
	r.result.must("broken", broken)
}

// linked gives a database a second name while it is in use, and has other
// processes open it by both names.
func (r *rig) linked() (accepted, lost, broken int) {
	user := r.server()
	n := int64(0)
	push := func() {
		n++
		r.push(user, []child.Task{{N: n}})
	}
	push()
	second := filepath.Join(r.dir, "second.db")
	if err := os.Link(r.path, second); err != nil {
		check(&Skip{"the file system has no hard links: " + err.Error()})
	}
	for _, path := range []string{second, r.path} {
		other := r.server()
		reply := other.ask(child.Command{Op: child.OpExamine, Path: path})
		if reply.Exam.Kinds["open"] != "invalid" {
			accepted++
			r.result.faultf("%s opened with two names: %v", filepath.Base(path), reply.Exam.Kinds)
		}
		// The process that has the database open goes on under the first name.
		other.stop()
		push()
	}
	check(os.Remove(second))
	push()
	e := r.inspect(user)
	user.stop()
	check(r.acks.close())
	if !e.ok {
		broken++
	}
	for _, id := range missing(r.acks.ids, maps.Values(e.jobs)) {
		lost++
		r.result.faultf("job %d was acknowledged and is not there", id)
	}
	return accepted, lost, broken
}
