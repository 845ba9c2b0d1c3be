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
}

// imagesEach is how many images are made of one moment.
const imagesEach = 2

func power(ctx context.Context, c Config) (Result, error) {
	r, err := newRig(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	p := &cutting{rig: r}
	if p.lossy, err = newLossy(ctx, r.dir); err != nil {
		return r.result, err
	}
	defer p.lossy.close()
	defer func() { _ = each(r.all, (*process).kill) }() // before their files go
	if p.server, err = r.server(ctx); err != nil {
		return r.result, err
	}
	for p.cuts < r.Rounds && r.more(ctx) {
		if err := p.one(ctx); err != nil {
			return r.result, err
		}
		if p.cuts%20 == 0 {
			r.progress("%d of %d power cuts", p.cuts, r.Rounds)
		}
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
	r.result.add("normal_cuts", p.normalCuts)
	r.result.add("normal_acknowledged", p.normalAcked)
	r.result.add("normal_lost", p.normalLost)
	r.sec()
	return r.result, ctx.Err()
}

// one has processes use a new database, freezes them and examines what would
// be found after a power cut.
func (p *cutting) one(ctx context.Context) error {
	sub, err := p.within(ctx)
	if err != nil {
		return err
	}
	defer sub.close()
	prefix := fmt.Sprintf("cut%d.", p.cuts)
	sub.path = filepath.Join(p.lossy.dir, prefix+"db")
	normal, migration, checkpoints := p.cuts%5 == 4, p.cuts%6 == 2, p.cuts%2 == 1
	p.cuts++
	pusher, err := sub.spawn(child.Order{Role: child.Push, First: 1, Normal: normal})
	if err != nil {
		return err
	}
	running := []*process{pusher}
	if migration {
		p.migrations++
		err = p.duringMigration(ctx, sub, pusher)
	} else {
		running, err = p.atWork(ctx, sub, pusher, checkpoints)
	}
	if err != nil {
		return err
	}
	if err := each(running, (*process).freeze); err != nil {
		return err
	}
	if err := sub.quiet(ctx, running); err != nil {
		return err
	}
	for i := range imagesEach {
		// Killed is who was stopped only when the images are made.
		dir := filepath.Join(sub.dir, fmt.Sprint("image", i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		image, err := p.lossy.image(prefix, dir, p.random.Uint64(), i == 0)
		if err != nil {
			return err
		}
		p.kept, p.dropped, p.torn = p.kept+image.Kept, p.dropped+image.Dropped, p.torn+image.Torn
	}
	if err := each(running, (*process).kill); err != nil {
		return err
	}
	if err := sub.acks.close(); err != nil { // all that was said is heard
		return err
	}
	p.lossy.forget(prefix)
	if normal {
		p.normalCuts++
		p.normalAcked += len(sub.acks.ids)
	} else {
		p.acked += len(sub.acks.ids)
	}
	for i := range imagesEach {
		path := filepath.Join(sub.dir, fmt.Sprint("image", i), prefix+"db")
		if err := p.examine(ctx, sub, path, normal); err != nil {
			return err
		}
	}
	p.take(sub, "cut")
	return nil
}

// duringMigration waits for some moment at which the database is being made.
func (p *cutting) duringMigration(ctx context.Context, sub *rig, pusher *process) error {
	err := sub.until(ctx, "the file is there", func() (bool, error) {
		if pusher.over() {
			return false, pusher.failure()
		}
		_, err := os.Stat(sub.path)
		return err == nil || pusher.hasBegun(), nil
	})
	if err != nil {
		return err
	}
	return pause(ctx, sub.between(0, 15*time.Millisecond))
}

// atWork adds a worker, and two who make checkpoints, and waits for some
// moment.
func (p *cutting) atWork(ctx context.Context, sub *rig, pusher *process, checkpoints bool) ([]*process, error) {
	running := []*process{pusher}
	if err := pusher.begun(ctx); err != nil {
		return nil, err
	}
	worker, err := sub.spawn(child.Order{Role: child.Work, Concurrency: 4, Lease: shortLease, Grace: time.Second})
	if err != nil {
		return nil, err
	}
	running = append(running, worker)
	if err := worker.begun(ctx); err != nil {
		return nil, err
	}
	if checkpoints {
		p.checkpoints++
		for _, mode := range []string{"TRUNCATE", "PASSIVE"} {
			c, err := sub.server(ctx)
			if err != nil {
				return nil, err
			}
			if err := c.orders.Encode(child.Command{Op: child.OpCheckpoint, Mode: mode, For: time.Minute}); err != nil {
				return nil, err
			}
			running = append(running, c)
		}
	}
	return running, pause(ctx, sub.between(time.Millisecond, 300*time.Millisecond))
}

// examine opens an image and compares.
func (p *cutting) examine(ctx context.Context, sub *rig, path string, normal bool) error {
	fault := sub.result.faultf
	missing := func(n int, what string) {
		if n == 0 {
			return
		}
		if normal {
			p.normalLost += n
			return
		}
		p.lost += n
		fault("%s: %d of %d jobs that were acknowledged are not there: %s", filepath.Base(path), n, len(sub.acks.ids), what)
	}
	if _, err := os.Stat(path); os.IsNotExist(err) {
		missing(len(sub.acks.ids), "there is no file")
		return nil
	}
	reply, err := p.server.ask(ctx, child.Command{Op: child.OpInspect, Path: path})
	if err != nil {
		if p.server.over() || ctx.Err() != nil {
			return err
		}
		p.unopened++
		fault("%s: %v", filepath.Base(path), err)
		return nil
	}
	if reply.Check != "ok" {
		p.corrupt++
		fault("%s: %s", filepath.Base(path), reply.Check)
	}
	there := map[int64]int64{}
	for _, j := range reply.Jobs {
		there[j.ID] = j.N
	}
	n := 0
	for id, number := range sub.acks.ids {
		if got, ok := there[id]; !ok || got != number {
			n++
		}
	}
	missing(n, "others are")
	return nil
}

// A lossy is the file system, a process of its own.
type lossy struct {
	dir    string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	orders *json.Encoder
	said   *json.Decoder
}

// An image says what became of what was not synced.
type image struct {
	Kept, Dropped, Torn int
	Error               string
}

// newLossy builds the file system, which is a module of its own, and mounts it.
func newLossy(ctx context.Context, dir string) (*lossy, error) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return nil, &Skip{"a file system of ours needs /dev/fuse; the test snap does without"}
	}
	if os.Geteuid() != 0 {
		return nil, &Skip{"mounting a file system of ours needs root; the test snap does without"}
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", childPackages[:len(childPackages)-len("/child/")]).Output()
	if err != nil {
		return nil, err
	}
	l := &lossy{dir: filepath.Join(dir, "lossy")}
	program := filepath.Join(dir, "lossfs")
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(strings.TrimSpace(string(module)), "lossfs"), "-o", program, ".")
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, &Skip{fmt.Sprintf("the file system does not build, perhaps for want of a network: %s", text)}
	}
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return nil, err
	}
	// It is not killed with us, but ends, and unmounts, when its input does.
	l.cmd = exec.Command(program, l.dir)
	var trouble strings.Builder
	l.cmd.Stderr = &trouble
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if l.stdin, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	l.orders, l.said = json.NewEncoder(l.stdin), json.NewDecoder(stdout)
	ready := ""
	if err := l.said.Decode(&ready); err != nil {
		_ = l.cmd.Wait() // what it said tells more
		return nil, &Skip{"a file system of ours cannot be mounted: " + strings.TrimSpace(trouble.String())}
	}
	return l, nil
}

// image writes what may be found of files after a power cut.
func (l *lossy) image(prefix, dir string, seed uint64, forget bool) (i image, err error) {
	err = l.orders.Encode(map[string]any{"Prefix": prefix, "Dir": dir, "Seed": seed, "Forget": forget})
	if err == nil {
		err = l.said.Decode(&i)
	}
	if err == nil && i.Error != "" {
		err = fmt.Errorf("image: %s", i.Error)
	}
	return i, err
}

// forget removes files.
func (l *lossy) forget(prefix string) {
	for _, suffix := range []string{"db", "db-wal", "db-shm"} {
		_ = os.Remove(filepath.Join(l.dir, prefix+suffix)) // some are not there
	}
}

// close unmounts.
func (l *lossy) close() {
	l.stdin.Close()
	_ = l.cmd.Wait()   // it has nothing to say
	_ = unmount(l.dir) // if it was killed; else there is nothing to do
}
