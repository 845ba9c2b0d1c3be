package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// asynqOnRedis is asynq with the ten handlers of its README and of its
// benchmark. When it has found no task, it polls once a second by default; here
// every 10 ms, like the other libraries that poll.
//
// The Redis server decides what a push survives: see durability.
var asynqOnRedis = &library{
	name: "asynq", module: "github.com/hibiken/asynq",
	driver: "go-redis", driverModule: "github.com/redis/go-redis/v9", store: storeRedis,
	jobs: 4_000, jobsFull: 4_000, workers: 10,
	setup: "poll 10 ms; deletes finished jobs",
	open:  openAsynq,
}

type asynqPeer struct {
	client    *asynq.Client
	server    *asynq.Server
	inspector *asynq.Inspector
	redis     *redis.Client
	handler   asynq.Handler
	queue     string
	started   bool
}

func openAsynq(_ context.Context, o order, handle handler) (peer, error) {
	// A queue for this run only.
	queue := fmt.Sprintf("peers-%d-%d", os.Getpid(), time.Now().UnixNano())
	server := asynq.RedisClientOpt{Addr: o.Redis}
	return &asynqPeer{
		client:    asynq.NewClient(server),
		inspector: asynq.NewInspector(server),
		redis:     redis.NewClient(&redis.Options{Addr: o.Redis}),
		queue:     queue,
		server: asynq.NewServer(server, asynq.Config{
			Concurrency:       o.Workers,
			Queues:            map[string]int{queue: 1},
			TaskCheckInterval: 10 * time.Millisecond,
			LogLevel:          asynq.ErrorLevel,
		}),
		handler: asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
			var a args
			if err := json.Unmarshal(t.Payload(), &a); err != nil {
				return err
			}
			return handle(a.Index)
		}),
	}, nil
}

func (p *asynqPeer) push(ctx context.Context, index int) error {
	payload, err := json.Marshal(args{index})
	if err != nil {
		return err
	}
	_, err = p.client.EnqueueContext(ctx, asynq.NewTask("bench", payload), asynq.Queue(p.queue))
	return err
}

// fill pushes jobs one by one, as asynq has no bulk insert, from many
// goroutines.
func (p *asynqPeer) fill(ctx context.Context, n int) error {
	var next atomic.Int64
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for g := range errs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[g] == nil; i = int(next.Add(1)) - 1 {
				errs[g] = p.push(ctx, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *asynqPeer) start(context.Context) error {
	p.started = true
	return p.server.Start(p.handler)
}

func (p *asynqPeer) unfinished(context.Context) (int, error) {
	info, err := p.inspector.GetQueueInfo(p.queue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size, nil
}

// durability is full if the server syncs its log before it replies, normal if
// it syncs the log later, and none without a log: pushes since the last
// snapshot are lost when the server ends.
func (p *asynqPeer) durability(ctx context.Context) (pushes, work string, err error) {
	config, err := p.redis.ConfigGet(ctx, "append*").Result()
	if err != nil {
		return "", "", err
	}
	switch {
	case config["appendonly"] != "yes":
		return "none", "none", nil
	case config["appendfsync"] == "always":
		return full, full, nil
	}
	return normal, normal, nil
}

func (p *asynqPeer) close(context.Context) error {
	if p.started {
		p.server.Shutdown()
	}
	err := p.inspector.DeleteQueue(p.queue, true)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		err = nil
	}
	return errors.Join(err, p.client.Close(), p.inspector.Close(), p.redis.Close())
}
