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

// Why returns a sentence that says what a job waits for, where it runs, or how it ended.
func (q *Queue) Why(ctx context.Context, id int64) (string, error) {
	info, err := q.Get(ctx, id)
	if err != nil {
		return "", err
	}
	if info.State.Terminal() {
		return whyEnded(&info), nil
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
		return whyRunning(&info, workers), nil
	}
	if text, err := q.whyPaused(ctx, &info); err != nil || text != "" {
		return text, err
	}
	if info.State == Blocked && info.CallbackOf != 0 && info.BlockedBy == 0 {
		return q.whyBehind(ctx, &info, workers)
	}
	if info.State == Blocked && info.needs != 0 && info.BlockedBy == 0 {
		return q.whyNeeds(ctx, &info, workers)
	}
	now := q.engine().Now()
	if b, ok := q.engine().Backend.(backend.Scheduler); ok {
		all, err := b.Schedules(ctx)
		if err != nil {
			return "", fmt.Errorf("plainjobs: why: %w", err)
		}
		now = all.Now // by the store's clock, which decides
	}
	if text := whyNotPending(&info, names, now); text != "" {
		return text, nil
	}
	stopped, err := q.stopped(ctx)
	if err != nil || stopped != "" {
		return stopped, err
	}
	environment := ""
	if b, ok := q.engine().Backend.(backend.SettingsStore); ok {
		if environment, err = b.Environment(ctx); err != nil {
			return "", fmt.Errorf("plainjobs: why: %w", err)
		}
	}
	if text := whyNotClaimed(&info, names, workers, environment); text != "" {
		return text, nil
	}
	suspect, err := q.suspectAlone(ctx, info.Name, workers, now)
	if err != nil || suspect != nil {
		return whyAlone(suspect), err
	}
	return whySlot(&info, workers, q.engine().Definition(engine.Lookup(info.Name)), named(names, info.Name).Override), nil
}

// stopped returns what keeps the store from being written to, or an empty string.
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

// suspectAlone returns a suspect that runs alone in a worker's process, if there is one
// in the process of each live worker that knows the name, and else nil. A worker starts
// no other job then.
func (q *Queue) suspectAlone(ctx context.Context, name string, workers []Worker, now time.Time) (*Info, error) {
	running, _, err := q.List(ctx, Filter{States: []State{Running}}, 0, 1000)
	if err != nil {
		return nil, err
	}
	type process struct {
		host string
		pid  int
	}
	alone := map[process]*Info{}
	for i := range running {
		r := &running[i]
		if !r.Suspect || !r.StartedAt.IsZero() && now.Sub(r.StartedAt) >= engine.SuspectApart {
			continue
		}
		if at := slices.IndexFunc(workers, func(w Worker) bool { return w.ID == r.Worker }); at >= 0 {
			alone[process{workers[at].Host, workers[at].PID}] = r
		}
	}
	var suspect *Info
	for _, w := range workers {
		if !w.Alive || !slices.Contains(w.Jobs, name) {
			continue
		}
		if suspect = alone[process{w.Host, w.PID}]; suspect == nil {
			return nil, nil
		}
	}
	return suspect, nil
}

func whyAlone(suspect *Info) string {
	if suspect == nil {
		return ""
	}
	return fmt.Sprintf("Job #%d, which was running when its worker died, runs alone in its worker's process: "+
		"other jobs start there when it ends, or after %v.", suspect.ID, engine.SuspectApart)
}

func whyEnded(i *Info) string {
	last := ""
	if n := len(i.Errors); n > 0 && i.State != Done {
		last = ": " + i.Errors[n-1].Error
	}
	return fmt.Sprintf("It is %v since %s%s.", i.State, stamp(i.FinishedAt), last)
}

func whyRunning(i *Info, workers []Worker) string {
	at := slices.IndexFunc(workers, func(w Worker) bool { return w.ID == i.Worker })
	cancelling := ""
	if i.Cancelling {
		cancelling = ", was cancelled, and its handler has not returned yet"
	}
	then := "start a worker, which runs it again"
	if slices.ContainsFunc(workers, func(w Worker) bool { return w.Alive && slices.Contains(w.Jobs, i.Name) }) {
		then = "another worker will run it again"
	}
	switch {
	case at < 0:
		return fmt.Sprintf("Its worker is gone: %s.", then)
	case workers[at].Ended:
		return fmt.Sprintf("The process of its worker (%s, pid %d) has ended: %s.", workers[at].Host, workers[at].PID, then)
	case !workers[at].Alive:
		w := workers[at]
		return fmt.Sprintf("Its worker (%s, pid %d) was last seen at %s: %s.", w.Host, w.PID, stamp(w.SeenAt), then)
	}
	return fmt.Sprintf("It runs, in attempt %d, on %s (pid %d)%s.", i.Attempt, workers[at].Host, workers[at].PID, cancelling)
}

// whyNotPending returns what keeps a job from being pending, by its row and its name's
// settings, or an empty string.
func whyNotPending(i *Info, names []NameInfo, now time.Time) string {
	if n := named(names, ""); n.Paused {
		return "The whole queue is paused: resume it."
	}
	switch {
	case named(names, i.Name).Paused:
		return fmt.Sprintf("Jobs named %s are paused: resume them.", i.Name)
	case i.State == Blocked:
		return fmt.Sprintf("Its serial key %q is held by job #%d, which has to end first.", i.SerialKey, i.BlockedBy)
	case i.State == Scheduled && i.RunAt.After(now) && i.Signal != "":
		return fmt.Sprintf("It waits for the signal %s %q, until %s.", i.Signal, i.SignalKey, stamp(i.RunAt))
	case i.State == Scheduled && i.RunAt.After(now) && len(i.Errors) > 0 && i.Errors[len(i.Errors)-1].Attempt > i.Failures:
		return fmt.Sprintf("Its run was put off, without using an attempt: %s. The next is at %s.", i.Errors[len(i.Errors)-1].Error, stamp(i.RunAt))
	case i.State == Scheduled && i.RunAt.After(now) && i.Failures > 0:
		return fmt.Sprintf("Attempt %d of %d failed; the next is at %s.", i.Failures, i.MaxAttempts, stamp(i.RunAt))
	case i.State == Scheduled && i.RunAt.After(now):
		return fmt.Sprintf("It is scheduled for %s.", stamp(i.RunAt))
	}
	return ""
}

func named(names []NameInfo, name string) NameInfo {
	if at := slices.IndexFunc(names, func(n NameInfo) bool { return n.Name == name }); at >= 0 {
		return names[at]
	}
	return NameInfo{}
}

// whyNotClaimed returns what keeps workers from claiming a pending job, or an empty
// string.
func whyNotClaimed(i *Info, names []NameInfo, workers []Worker, environment string) string {
	mine := named(names, i.Name)
	running := int(mine.Running)
	alive, known := live(workers, i.Name)
	switch {
	case alive == 0:
		return noWorker(environment)
	case known == 0 && alive == 1:
		return fmt.Sprintf("The only live worker does not know the name %s: deploy one that defines it.", i.Name)
	case known == 0:
		return fmt.Sprintf("None of the %d live workers knows the name %s: deploy one that defines it.", alive, i.Name)
	case mine.MaxRunning > 0 && running >= mine.MaxRunning:
		return fmt.Sprintf("%d jobs named %s are running, the limit%s.", running, i.Name, setBy(mine, mine.Override.MaxRunning != 0))
	case !mine.Free.IsZero():
		return fmt.Sprintf("The rate limit of %d in %v%s is reached until %s.", mine.Rate, mine.Per, setBy(mine, mine.Override.Rate != 0), stamp(mine.Free))
	case i.Suspect:
		return "Its worker died while it ran: it waits to run where no other suspect runs."
	}
	return ""
}

// setBy says who has overridden a limit and when, or that workers define different ones.
func setBy(n NameInfo, overridden bool) string {
	switch {
	case overridden && n.Override.By != "":
		return fmt.Sprintf(" that %s has set on %s", n.Override.By, stamp(n.Override.At))
	case overridden:
		return fmt.Sprintf(" that was set on %s", stamp(n.Override.At))
	case n.Differ:
		return ", the strictest of those that live workers define"
	}
	return ""
}

// whySlot says that a job waits for a slot.
func whySlot(i *Info, workers []Worker, d *engine.Definition, o backend.Override) string {
	limit := ""
	if o.Concurrency > 0 {
		limit = fmt.Sprintf(", at most %d in each worker%s", o.Concurrency, setBy(NameInfo{Override: o}, true))
	} else if d != nil && d.Concurrency > 0 && o.Concurrency == 0 {
		limit = fmt.Sprintf(", at most %d in each worker", d.Concurrency)
	}
	if i.FairKey != "" {
		limit += fmt.Sprintf("; keys take turns, and its key is %q", i.FairKey)
	}
	_, known := live(workers, i.Name)
	if known == 1 {
		return fmt.Sprintf("It waits for a slot of the only live worker that knows its name%s.", limit)
	}
	return fmt.Sprintf("It waits for a slot of the %d live workers that know its name%s.", known, limit)
}

// live returns the number of live workers, and of those that know a name.
func live(workers []Worker, name string) (alive, known int) {
	for _, w := range workers {
		if !w.Alive {
			continue
		}
		alive++
		if slices.Contains(w.Jobs, name) {
			known++
		}
	}
	return alive, known
}

// noWorker says what to do where no worker is alive. A worker that is paused because the
// database belongs to another environment has no row.
func noWorker(environment string) string {
	const variable = "PLAINJOBS_ENV"
	switch environment {
	case "":
		return "No worker is alive: start one."
	case os.Getenv(variable):
		return fmt.Sprintf("No worker is alive: start one with %s=%s. Workers with another value are paused.", variable, environment)
	}
	return fmt.Sprintf("No worker of the environment %s, which the database belongs to, is alive. Workers with another value of %s are paused. "+
		"Start one with %s=%s. If this is a copy, run the command env VALUE, or env --forget.", environment, variable, variable, environment)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
