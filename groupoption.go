package plainjobs

import (
	"errors"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// A GroupOption is an option of a group.
type GroupOption interface {
	group(*newGroup) error
}

// A FailureOption is an option of a group or of one task.
type FailureOption interface {
	GroupOption
	TaskOption
}

// A newGroup is a group that is to be created.
type newGroup struct {
	gate      backend.NewGate
	callbacks []callback
}

// A callback is a task that waits for a group.
type callback struct {
	task Task
	when backend.When
}

type groupOption func(*newGroup) error

func (o groupOption) group(g *newGroup) error { return o(g) }

type failureOption struct {
	groupOption
	taskOption
}

// OnDone adds a callback that runs when the group has ended and all of its members are done.
// If the group ends otherwise, the callback is cancelled, with the numbers of failed and
// cancelled members as its error.
func OnDone(task Task) GroupOption { return onEnd("OnDone", task, backend.WhenDone) }

// OnEnd adds a callback that runs when the group has ended, however its members ended.
func OnEnd(task Task) GroupOption { return onEnd("OnEnd", task, backend.WhenEnded) }

// OnFailure adds a callback that runs as soon as the first member has failed, which is after
// its last attempt. Cancelled members do not count. If no member fails, the callback is
// deleted at the end of the group.
//
// As an option of a task, OnFailure gives the job a dead letter: another task, which is
// stored with the job and runs when the job has failed. The job is then the only member
// of a sealed group of its own.
func OnFailure(task Task) FailureOption {
	return failureOption{
		onEnd("OnFailure", task, backend.WhenFailed),
		func(t *Task) error {
			if task.def == nil {
				return errNoTask("OnFailure")
			}
			more := t.set()
			more.failure = append(more.failure, task)
			return nil
		},
	}
}

func onEnd(name string, task Task, when backend.When) groupOption {
	return func(g *newGroup) error {
		if task.def == nil {
			return errNoTask(name)
		}
		g.callbacks = append(g.callbacks, callback{task, when})
		return nil
	}
}

func errNoTask(option string) error {
	return errors.New(option + " with a zero Task: make tasks with Job.With")
}

// Label names the group for people, in at most 255 bytes.
func Label(text string) GroupOption {
	return groupOption(func(g *newGroup) error {
		g.gate.Label = text
		return nil
	})
}

// Deadline ends the group after a time, at most 100 years: it is sealed, and the members that
// have not finished are cancelled.
func Deadline(after time.Duration) GroupOption {
	return groupOption(func(g *newGroup) error {
		if g.gate.Deadline = after; after <= 0 || after > maxDelay {
			return fmt.Errorf("Deadline(%v) is not above 0 and at most 100 years", after)
		}
		return nil
	})
}
