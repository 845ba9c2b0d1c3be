package plainjobs

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

// Why says in one sentence what holds a job, or how it ended.
func (q *Queue) Why(ctx context.Context, id int64) (string, error) {
	info, err := q.Get(ctx, id)
	if err != nil {
		return "", err
	}
	if info.State.Terminal() {
		return ended(&info), nil
	}
	names, err := q.Names(ctx)
	if err != nil {
		return "", err
	}
	workers, err := q.Workers(ctx)
	if err != nil {
		return "", err
	}
	if info.State == Running {
		return runs(&info, workers), nil
	}
	now := q.engine().Now()
	if b, ok := q.engine().Backend.(backend.Scheduler); ok {
		all, err := b.Schedules(ctx)
		if err != nil {
			return "", fmt.Errorf("plainjobs: why: %w", err)
		}
		now = all.Now // by the clock that decides
	}
	if text := told(&info, names, now); text != "" {
		return text, nil
	}
	stopped, err := q.stopped(ctx)
	if err != nil || stopped != "" {
		return stopped, err
	}
	home := ""
	if b, ok := q.engine().Backend.(backend.SettingsStore); ok {
		if home, err = b.Environment(ctx); err != nil {
			return "", fmt.Errorf("plainjobs: why: %w", err)
		}
	}
	return waits(&info, names, workers, home), nil
}

// stopped says what keeps the store from being written to, or nothing.
func (q *Queue) stopped(ctx context.Context) (string, error) {
	e, ok := q.engine().Backend.(backend.Inspector)
	if !ok {
		return "", nil
	}
	found, err := e.Examine(ctx, backend.ExamineRequest{})
	for _, f := range found {
		if f.Stops {
			return fmt.Sprintf("The %s is %s: %s. To go on, %s.", f.Name, f.Value, f.Problem, f.Fix), nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("plainjobs: why: %w", err)
	}
	return "", nil
}

func ended(i *Info) string {
	last := ""
	if n := len(i.Errors); n > 0 && i.State != Done {
		last = ": " + i.Errors[n-1].Error
	}
	return fmt.Sprintf("It is %v since %s%s.", i.State, stamp(i.FinishedAt), last)
}

func runs(i *Info, workers []Worker) string {
	at := slices.IndexFunc(workers, func(w Worker) bool { return w.ID == i.Worker })
	cancelling := ""
	if i.Cancelling {
		cancelling = ", was cancelled, and its handler has not returned yet"
	}
	then := "start a worker, which runs it again"
	if slices.ContainsFunc(workers, func(w Worker) bool { return w.Alive && slices.Contains(w.Jobs, i.Name) }) {
		then = "another worker is about to run it again"
	}
	switch {
	case at < 0:
		return fmt.Sprintf("Its worker is gone: %s.", then)
	case workers[at].Ended:
		return fmt.Sprintf("The process of its worker (%s, pid %d) has ended: %s.", workers[at].Host, workers[at].PID, then)
	case !workers[at].Alive:
		w := workers[at]
		return fmt.Sprintf("Its worker (%s, pid %d) was last heard of at %s: %s.", w.Host, w.PID, stamp(w.SeenAt), then)
	}
	return fmt.Sprintf("It runs, in attempt %d, on %s (pid %d)%s.", i.Attempt, workers[at].Host, workers[at].PID, cancelling)
}

// noWorker says what to do where no worker is alive. One that is paused, as the
// database belongs to another environment, is not known to the store.
func noWorker(home string) string {
	const variable = "PLAINJOBS_ENV"
	switch home {
	case "":
		return "No worker is alive: start one."
	case os.Getenv(variable):
		return fmt.Sprintf("No worker is alive: start one with %s=%s. Those with another value are paused.", variable, home)
	}
	return fmt.Sprintf("The database belongs to the environment %s, and no worker of that is alive; those with another value of %s are paused. "+
		"Start one with %s=%s, or if this is a copy, run the command env VALUE, or env --forget.", home, variable, variable, home)
}

// told says what holds a job that waits by what is stored of it and its name, or
// nothing.
func told(i *Info, names []NameInfo, now time.Time) string {
	if n := named(names, ""); n.Paused {
		return "The whole queue is paused: resume it."
	}
	switch {
	case named(names, i.Name).Paused:
		return fmt.Sprintf("Jobs named %s are paused: resume them.", i.Name)
	case i.State == Blocked:
		return fmt.Sprintf("Its serial key %q is held by job #%d, which has to end first.", i.SerialKey, i.BlockedBy)
	case i.State == Scheduled && i.RunAt.After(now) && i.Failures > 0:
		return fmt.Sprintf("Attempt %d of %d failed; the next is at %s.", i.Failures, i.MaxAttempts, stamp(i.RunAt))
	case i.State == Scheduled && i.RunAt.After(now):
		return fmt.Sprintf("Its time is %s.", stamp(i.RunAt))
	}
	return ""
}

func named(names []NameInfo, name string) NameInfo {
	if at := slices.IndexFunc(names, func(n NameInfo) bool { return n.Name == name }); at >= 0 {
		return names[at]
	}
	return NameInfo{}
}

// waits says what holds a job that may run.
func waits(i *Info, names []NameInfo, workers []Worker, home string) string {
	mine := named(names, i.Name)
	running := int(mine.Running)
	alive := slices.DeleteFunc(slices.Clone(workers), func(w Worker) bool { return !w.Alive })
	knows := func(w Worker) bool { return slices.Contains(w.Jobs, i.Name) }
	switch {
	case len(alive) == 0:
		return noWorker(home)
	case !slices.ContainsFunc(alive, knows):
		return fmt.Sprintf("None of the %d live workers knows the name %s: deploy one that defines it.", len(alive), i.Name)
	case mine.MaxRunning > 0 && running >= mine.MaxRunning:
		return fmt.Sprintf("As many jobs named %s run as may: %d.", i.Name, running)
	case !mine.Free.IsZero():
		return fmt.Sprintf("The rate of %d in %v is used up until %s.", mine.Rate, mine.Per, stamp(mine.Free))
	case i.Suspect:
		return "A worker died while it held this job: it waits to run where no other suspect does."
	}
	most := ""
	if d := engine.Lookup(i.Name); d != nil && d.Concurrency > 0 {
		most = fmt.Sprintf(", each of which runs %d at once", d.Concurrency)
	}
	return fmt.Sprintf("Nothing holds it: it waits for a slot of the %d workers that know it%s.",
		len(slices.DeleteFunc(alive, func(w Worker) bool { return !knows(w) })), most)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
