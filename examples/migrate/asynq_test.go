package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/plainjobs/plainjobs"
)

// redis starts a server for the test.
func redis(t *testing.T) asynq.RedisClientOpt {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		missing(t, "there is no redis-server")
	}
	socket := filepath.Join(t.TempDir(), "redis.sock")
	c := exec.CommandContext(t.Context(), program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
			return asynq.RedisClientOpt{Network: "unix", Addr: socket}
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

var (
	asynqMail  = plainjobs.Define("email:send", func(context.Context, payload) error { return nil }, plainjobs.MaxAttempts(9))
	asynqOther = plainjobs.Define("other", func(context.Context, payload) error { return nil })
)

// convert returns the task of plainjobs for one of asynq. The payloads of the jobs
// asynqMail and asynqOther have the Go type payload.
func convert(old *asynq.TaskInfo, opts ...plainjobs.TaskOption) (plainjobs.Task, error) {
	var data payload
	if err := json.Unmarshal(old.Payload, &data); err != nil {
		return plainjobs.Task{}, err
	}
	switch old.Type {
	case "email:send":
		return asynqMail.With(data, opts...), nil
	case "other":
		return asynqOther.With(data, opts...), nil
	}
	return plainjobs.Task{}, fmt.Errorf("unknown type %s", old.Type)
}

func TestAdoptAsynq(t *testing.T) {
	server := redis(t)
	client, inspector := asynq.NewClient(server), asynq.NewInspector(server)
	defer client.Close()
	defer inspector.Close()
	enqueue := func(name string, i int, opts ...asynq.Option) {
		t.Helper()
		if _, err := client.Enqueue(asynq.NewTask(name, fmt.Appendf(nil, `{"i":%d}`, i)), opts...); err != nil {
			t.Fatal(err)
		}
	}
	enqueue("failing", 0, asynq.MaxRetry(4))
	enqueue("failing", 1, asynq.MaxRetry(0))
	run := asynq.NewServer(server, asynq.Config{
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour }, TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	if err := run.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return errors.New("refused") })); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		info, err := inspector.GetQueueInfo("default")
		if err == nil && info.Retry == 1 && info.Archived == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(info, err)
		}
	}
	run.Shutdown()
	for i := range 700 {
		enqueue("email:send", i, asynq.MaxRetry(3), asynq.TaskID(fmt.Sprint("mail-", i)))
	}
	for i := range 300 {
		enqueue("other", i, asynq.ProcessIn(time.Hour))
	}

	ctx, queue := t.Context(), newQueue(t)
	// The first run meets a type that it does not know.
	n, err := AdoptAsynq(ctx, inspector, "default", queue, convert)
	if n != 1000 || err == nil {
		t.Errorf("moved %d tasks, %v", n, err)
	}
	// The second run finds a task again that the first has stored, as if that had ended
	// before it deleted the task.
	enqueue("email:send", 7, asynq.TaskID("mail-7"))
	all := func(old *asynq.TaskInfo, opts ...plainjobs.TaskOption) (plainjobs.Task, error) {
		if old.Type == "failing" {
			return asynqOther.With(payload{300}, opts...), nil
		}
		return convert(old, opts...)
	}
	if n, err = AdoptAsynq(ctx, inspector, "default", queue, all); n != 2 || err != nil {
		t.Errorf("moved %d tasks, %v", n, err)
	}
	info, err := inspector.GetQueueInfo("default")
	if err != nil || info.Pending+info.Scheduled+info.Retry != 0 || info.Archived != 1 {
		t.Errorf("in Redis are %+v, %v", info, err)
	}
	jobs := list(t, queue)
	numbers(t, jobs, "email:send", 700)
	numbers(t, jobs, "other", 301)
	if j := find(t, jobs, "email:send", 7); j.MaxAttempts != 4 {
		t.Errorf("a task with 3 retries has %d attempts", j.MaxAttempts)
	}
	for i, attempts := range map[int]int{5: 26, 300: 4} {
		if j := find(t, jobs, "other", i); j.MaxAttempts != attempts || !near(j.RunAt, time.Now().Add(time.Hour)) {
			t.Errorf("other %d has %d attempts and runs at %v", i, j.MaxAttempts, j.RunAt)
		}
	}
}
