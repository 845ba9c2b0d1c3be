package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

var powerTest = &Test{
	ID:     "power",
	About:  "power is cut on a file system that drops or tears unsynced writes, also during checkpoints and migrations",
	Unit:   "power cuts, every fifth at NORMAL",
	Counts: []string{"cuts", "acknowledged"},
	Short:  4, Full: 1250,
	Mixed: true,
	Unix:  true,
	run:   power,
}

// A cutting is one run of the test.
type cutting struct {
	*rig
	server *process
	lossy  *lossy

	cuts, acked, lost, corrupt, unopened int
	kept, dropped, torn                  int
	normalCuts, normalAcked, normalLost  int
	migrations, checkpoints              int
	groups, endedGroups, wrongGroups     int
}

// imagesEach is the number of images of one power cut.
const imagesEach = 2

func power(r *rig) {
	p := &cutting{rig: r}
	p.lossy = newLossy(r.ctx, r.dir)
	defer p.lossy.close()
	defer func() { each(r.all, (*process).kill) }() // before the file system is unmounted
	p.server = r.server()
	for p.cuts < r.Rounds && r.more() {
		r.sub("cut", p.one)
		r.tell("%d of %d power cuts", p.cuts, r.Rounds)
	}
	r.result.add("cuts", p.cuts)
	r.result.add("during_migration", p.migrations)
	r.result.add("during_checkpoints", p.checkpoints)
	r.result.add("writes_kept", p.kept)
	r.result.add("writes_dropped", p.dropped)
	r.result.add("writes_torn", p.torn)
	r.result.add("acknowledged", p.acked)
	r.result.must("acknowledged_lost", p.lost)
	r.result.must("corrupt", p.corrupt)
	r.result.must("unopened", p.unopened)
	r.result.add("groups", p.groups)
	r.result.add("ended_groups", p.endedGroups)
	r.result.must("wrong_groups", p.wrongGroups)
	r.result.add("normal_cuts", p.normalCuts)
	r.result.add("normal_acknowledged", p.normalAcked)
	r.result.add("normal_lost", p.normalLost)
}

// one has processes use a new database, freezes them, and examines what a power
// cut would leave.
func (p *cutting) one(sub *rig) {
	prefix := fmt.Sprintf("cut%d.", p.cuts)
	sub.path = filepath.Join(p.lossy.dir, prefix+"db")
	normal, migration, checkpoints := p.cuts%5 == 4, p.cuts%6 == 2, p.cuts%2 == 1
	p.cuts++
	pusher := sub.spawn(child.Order{Role: child.Push, First: 1, Normal: normal})
	running := []*process{pusher}
	if migration {
		p.migrations++
		p.duringMigration(sub, pusher)
	} else {
		running = p.atWork(sub, pusher, normal, checkpoints)
	}
	each(running, (*process).freeze)
	sub.quiet(running)
	for i := range imagesEach {
		// The processes are killed only once the images are made.
		dir := filepath.Join(sub.dir, fmt.Sprint("image", i))
		check(os.Mkdir(dir, 0o700))
		image := p.lossy.image(prefix, dir, p.random.Uint64(), i == 0)
		p.kept, p.dropped, p.torn = p.kept+image.Kept, p.dropped+image.Dropped, p.torn+image.Torn
	}
	each(running, (*process).kill)
	check(sub.acks.close())
	p.lossy.forget(prefix)
	if normal {
		p.normalCuts++
		p.normalAcked += len(sub.acks.ids)
	} else {
		p.acked += len(sub.acks.ids)
	}
	for i := range imagesEach {
		path := filepath.Join(sub.dir, fmt.Sprint("image", i), prefix+"db")
		p.examine(sub, path, normal)
	}
}

// duringMigration waits for a random moment of the migration.
func (p *cutting) duringMigration(sub *rig, pusher *process) {
	sub.until("the file is there", func() bool {
		if pusher.over() {
			check(pusher.failure())
		}
		_, err := os.Stat(sub.path)
		return err == nil || pusher.hasBegun()
	})
	sub.pause(sub.between(0, 15*time.Millisecond))
}

// atWork adds a worker, a process that creates groups and runs their members, and two
// processes that make checkpoints, and waits for a random moment.
func (p *cutting) atWork(sub *rig, pusher *process, normal, checkpoints bool) []*process {
	running := []*process{pusher}
	pusher.begun()
	worker := sub.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: shortLease, Grace: time.Second})
	running = append(running, worker)
	worker.begun()
	grouping := sub.spawn(child.Order{
		Role: child.Groups, Concurrency: 4, Lease: shortLease, Grace: time.Second, Pause: time.Millisecond, First: numbersEach, Normal: normal,
	})
	running = append(running, grouping)
	grouping.begun()
	if checkpoints {
		p.checkpoints++
		for _, mode := range []string{"TRUNCATE", "PASSIVE"} {
			c := sub.server()
			c.send(child.Command{Op: child.OpCheckpoint, Mode: mode, For: time.Minute})
			running = append(running, c)
		}
	}
	sub.pause(sub.between(time.Millisecond, 300*time.Millisecond))
	return running
}

// examine opens an image and compares its jobs with the acknowledged ones.
func (p *cutting) examine(sub *rig, path string, normal bool) {
	missing, groups := sub.judgeFile(p.server, path, filepath.Base(path), sub.acks.ids, &p.unopened, &p.corrupt)
	lost := len(missing)
	p.judgeGroups(sub, filepath.Base(path), groups)
	switch {
	case normal:
		p.normalLost += lost
	case lost > 0:
		p.lost += lost
		sub.result.faultf("%s: %d of %d jobs that were acknowledged are not there", filepath.Base(path), lost, len(sub.acks.ids))
	}
}

// judgeGroups checks that the groups of an image count what their members are, and that
// each has its callbacks, which do not wait once it has ended.
func (p *cutting) judgeGroups(sub *rig, what string, groups []child.Group) {
	for _, g := range groups {
		p.groups++
		open := g.Total - g.Done - g.Failed - g.Cancelled
		ok := g.Done == g.Members["done"] && g.Failed == g.Members["failed"] && g.Cancelled == g.Members["cancelled"]
		left := map[string]bool{"OnEnd": true, "OnDone": true, "OnFailure": g.Failed > 0}
		if g.Ended {
			p.endedGroups++
			ok = ok && open == 0
		}
		for _, c := range g.Callbacks {
			ok = ok && (!g.Ended || c.State != "blocked")
			left[c.On] = false
		}
		if !ok || left["OnEnd"] || left["OnDone"] || left["OnFailure"] {
			p.wrongGroups++
			sub.result.faultf("%s: group %+v", what, g)
		}
	}
}

// A lossy is a lossfs file system, which is a process.
type lossy struct {
	dir    string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	orders *json.Encoder
	said   *json.Decoder
}

// An image counts what became of writes that were not synced.
type image struct {
	Kept, Dropped, Torn int
	Error               string
}

// newLossy builds lossfs, which is a module of its own, and mounts it.
func newLossy(ctx context.Context, dir string) *lossy {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		check(&Skip{"lossfs needs /dev/fuse; the test snap does without"})
	}
	if os.Geteuid() != 0 {
		check(&Skip{"mounting lossfs needs root; the test snap does without"})
	}
	l := &lossy{dir: filepath.Join(dir, "lossy")}
	program := filepath.Join(dir, "lossfs")
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(moduleDir(ctx), "internal", "torture", "lossfs"), "-o", program, ".")
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		check(&Skip{fmt.Sprintf("lossfs does not build, perhaps because there is no network: %s", text)})
	}
	check(os.Mkdir(l.dir, 0o700))
	// It is not killed with this process: it unmounts and ends when its input
	// ends.
	l.cmd = exec.Command(program, l.dir)
	var stderr strings.Builder
	l.cmd.Stderr = &stderr
	stdout := must(l.cmd.StdoutPipe())
	l.stdin = must(l.cmd.StdinPipe())
	check(l.cmd.Start())
	l.orders, l.said = json.NewEncoder(l.stdin), json.NewDecoder(stdout)
	ready := ""
	if err := l.said.Decode(&ready); err != nil {
		_ = l.cmd.Wait() // stderr has the reason
		check(&Skip{"lossfs cannot be mounted: " + strings.TrimSpace(stderr.String())})
	}
	return l
}

// image writes the files that a power cut may leave.
func (l *lossy) image(prefix, dir string, seed uint64, forget bool) (i image) {
	check(l.orders.Encode(map[string]any{"Prefix": prefix, "Dir": dir, "Seed": seed, "Forget": forget}))
	check(l.said.Decode(&i))
	if i.Error != "" {
		check(fmt.Errorf("image: %s", i.Error))
	}
	return i
}

// forget removes files.
func (l *lossy) forget(prefix string) { removeDatabase(filepath.Join(l.dir, prefix+"db")) }

// close unmounts.
func (l *lossy) close() {
	l.stdin.Close()
	_ = l.cmd.Wait()   // its status does not matter
	_ = unmount(l.dir) // in case it was killed
}
