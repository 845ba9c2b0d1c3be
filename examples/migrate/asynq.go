package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/worker"
)

// AdoptAsynq moves the waiting tasks of a queue of asynq to plainjobs and returns their
// number. It pauses the old queue: asynq finishes what runs and starts no more. Convert
// returns the task for one of asynq's; it must pass on the options.
//
// If AdoptAsynq ends early, call it again. The unique key keeps a task that was stored, but
// not deleted from Redis, from being stored twice.
func AdoptAsynq(ctx context.Context, old *asynq.Inspector, name string, queue *plainjobs.Queue,
	convert func(old *asynq.TaskInfo, opts ...plainjobs.TaskOption) (plainjobs.Task, error)) (moved int, err error) {
	if info, err := old.GetQueueInfo(name); err != nil {
		return 0, err
	} else if !info.Paused {
		if err := old.PauseQueue(name); err != nil {
			return 0, err
		}
	}
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		old.ListPendingTasks, old.ListScheduledTasks, old.ListRetryTasks,
	} {
		for {
			page, err := list(name, asynq.PageSize(500))
			if err != nil {
				return moved, err
			}
			if len(page) == 0 {
				break
			}
			for _, t := range page {
				opts := []plainjobs.TaskOption{
					plainjobs.Unique("asynq:"+t.ID, plainjobs.For(24*time.Hour)),
					plainjobs.MaxAttempts(t.MaxRetry - t.Retried + 1),
				}
				if !t.NextProcessAt.IsZero() {
					opts = append(opts, plainjobs.At(t.NextProcessAt))
				}
				task, err := convert(t, opts...)
				if err == nil {
					_, err = queue.Perform(ctx, task)
				}
				if err == nil {
					err = old.DeleteTask(name, t.ID)
				}
				if err != nil {
					return moved, fmt.Errorf("task %s: %w", t.ID, err)
				}
				moved++
			}
		}
	}
	return moved, nil
}

// RunWithAsynq works on asynq's tasks and on the jobs of plainjobs until ctx ends.
func RunWithAsynq(ctx context.Context, server *asynq.Server, handler asynq.Handler, queue *plainjobs.Queue) error {
	jobs := worker.New(queue, nil)
	if err := jobs.Start(ctx); err != nil {
		return err
	}
	if err := server.Start(handler); err != nil {
		return errors.Join(err, jobs.Stop(ctx))
	}
	<-ctx.Done()
	server.Shutdown()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return jobs.Stop(grace)
}
