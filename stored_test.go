package plainjobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/memory"
	"github.com/plainjobs/plainjobs/worker"
)

// A schedule that cannot be stored is refused with an error that says what is wrong.
func TestSetScheduleRefuses(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	if err := q.Schedule("set/defined", "@daily", modest.With("")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, expression, want string
		task                   plainjobs.Task
		opts                   []plainjobs.ScheduleOption
	}{
		{"set", "61 * * * *", "61", modest.With(""), nil},
		{"set", "0 0 31 2 *", "", modest.With(""), nil},
		{"set", "@every 1µs", "1ms", modest.With(""), nil},
		{"set", "@daily", "Mars", modest.With(""), []plainjobs.ScheduleOption{plainjobs.Zone("Mars/Olympus")}},
		{"set", "@daily", "Local", modest.With(""), []plainjobs.ScheduleOption{plainjobs.Zone("Local")}},
		{"set", "@daily", "At and Before", modest.With("", plainjobs.At(time.Now().Add(time.Hour))), nil},
		{"set", "@daily", "At and Before", modest.With("", plainjobs.Before(time.Now().Add(time.Hour))), nil},
		{"set", "@daily", "OnFailure", modest.With("", plainjobs.OnFailure(modest.With(""))), nil},
		{"set", "@daily", "exclude each other", modest.With("", plainjobs.Unique("k")), []plainjobs.ScheduleOption{plainjobs.Overlap(false)}},
		{"set", "@daily", "RunAtStart", modest.With(""), []plainjobs.ScheduleOption{plainjobs.RunAtStart()}},
		{"set", "@daily", "CatchUp(-1)", modest.With(""), []plainjobs.ScheduleOption{plainjobs.CatchUp(-1)}},
		{"set", "@daily", "job", plainjobs.Task{}, nil},
		{"a name", "@daily", "128 of the characters", modest.With(""), nil},
		{"set/defined", "@daily", "defines a schedule of the name", modest.With(""), nil},
		{"set", "@daily", "too large", modest.With(strings.Repeat("x", 2<<20)), nil},
		{"set", "@daily", "metadata", modest.With("", plainjobs.Metadata(map[string]string{"k": strings.Repeat("x", 65500)})), nil},
	} {
		err := q.SetSchedule(t.Context(), c.name, c.expression, c.task, c.opts...)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "plainjobs: set schedule") {
			t.Errorf("SetSchedule of %s with %q = %v, want an error with %q", c.name, c.expression, err, c.want)
		}
	}
	if all, err := q.ListSchedules(t.Context(), "", "", 0); err != nil || len(all) != 0 {
		t.Errorf("ListSchedules = %v, %v", all, err)
	}
	for what, err := range map[string]error{
		"remove": q.RemoveSchedule(t.Context(), "none"), "pause": q.PauseSchedule(t.Context(), "none", true),
	} {
		if !errors.Is(err, plainjobs.ErrNotFound) {
			t.Errorf("%s of no schedule = %v, want ErrNotFound", what, err)
		}
	}
}

// A schedule that is set again keeps its pause, and its next tick if it ticks at the same times.
func TestSetScheduleAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := plainjobs.New(memory.New(nil), nil)
		set := func(expression, data string) plainjobs.ScheduleInfo {
			t.Helper()
			if err := q.SetSchedule(t.Context(), "again", expression, modest.With(data)); err != nil {
				t.Fatal(err)
			}
			all, err := q.ListSchedules(t.Context(), "again", "", 1)
			if err != nil || len(all) != 1 {
				t.Fatalf("ListSchedules = %v, %v", all, err)
			}
			return all[0]
		}
		first := set("@every 1h", "a")
		if err := q.PauseSchedule(t.Context(), "again", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if second := set("@every 1h", "b"); !second.Next.Equal(first.Next) || !second.Paused {
			t.Errorf("set again the schedule is %+v, after %+v", second, first)
		}
		if third := set("@every 2h", "b"); time.Until(third.Next) != 2*time.Hour || !third.Paused {
			t.Errorf("with another interval the schedule is %+v", third)
		}
		time.Sleep(3 * time.Hour)
		if due := set("@every 5h", "b"); !due.Next.Before(time.Now()) {
			t.Errorf("a tick that is due is lost: %+v", due)
		}
	})
}

// Backfill pushes a job for each tick that has passed, which knows it.
func TestBackfill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		q := plainjobs.New(b, nil)
		begin := time.Now().UTC()
		time.Sleep(48 * time.Hour)
		if err := q.SetSchedule(t.Context(), "back", "0 */6 * * *", modest.With("x", plainjobs.Metadata(map[string]string{"tenant": "a"})), plainjobs.Overlap(false)); err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{5, 0} {
			n, err := q.Backfill(t.Context(), "back", begin, begin.Add(24*time.Hour+time.Second))
			if n != want || err != nil {
				t.Errorf("call %d: Backfill = %d, %v, want %d", i, n, err, want)
			}
		}
		page, _, err := q.List(t.Context(), plainjobs.Filter{}, 0, 0)
		if err != nil || len(page) != 5 {
			t.Fatalf("List = %v, %v", page, err)
		}
		for i, job := range page {
			info, err := q.Get(t.Context(), job.ID)
			want := begin.Add(time.Duration(24-6*i) * time.Hour)
			if err != nil || info.Schedule != "back" || !info.Tick.Equal(want) || info.Metadata["tenant"] != "a" {
				t.Errorf("job %d is %+v (%v), want the tick %v", i, info, err, want)
			}
		}
		for _, c := range []struct {
			name, want string
			from, to   time.Time
		}{
			{"none", "not found", begin, begin.Add(time.Hour)}, {"back", "not before", begin, begin},
			{"back", "in the future", begin, time.Now().Add(time.Hour)},
		} {
			if n, err := q.Backfill(t.Context(), c.name, c.from, c.to); n != 0 || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Backfill = %d, %v, want an error with %q", n, err, c.want)
			}
		}
		if err := q.SetSchedule(t.Context(), "fast", "@every 1s", modest.With("")); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Backfill(t.Context(), "fast", begin, time.Now()); !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("Backfill of 172800 ticks = %v, want ErrInvalid", err)
		}
		if n, err := q.Backfill(t.Context(), "fast", begin, begin.Add(20*time.Minute)); n != 1200 || err != nil {
			t.Errorf("Backfill = %d, %v, want 1200", n, err)
		}
	})
}

// RunSchedule pushes the job of a stored schedule.
func TestRunStoredSchedule(t *testing.T) {
	q := plainjobs.New(memory.New(nil), nil)
	if err := q.SetSchedule(t.Context(), "run", "@daily", modest.With("x")); err != nil {
		t.Fatal(err)
	}
	id, err := q.RunSchedule(t.Context(), "run")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := q.Get(t.Context(), id); err != nil || info.Schedule != "run" || time.Since(info.Tick) > time.Hour {
		t.Errorf("the job is %+v, %v", info, err)
	}
	if _, err := q.RunSchedule(t.Context(), "ru"); !errors.Is(err, plainjobs.ErrNotFound) {
		t.Errorf("RunSchedule of none = %v, want ErrNotFound", err)
	}
}

// Each customer has a report at an hour of its own. The schedule is stored with the customer.
func ExampleQueue_SetSchedule() {
	ctx := context.Background()
	q := plainjobs.New(memory.New(nil), nil)
	report := plainjobs.Declare[string]("customer-report")
	plainjobs.Handle(q, report, func(ctx context.Context, customer string) error {
		info, _ := plainjobs.FromContext(ctx)
		fmt.Println("report of", customer, "for", info.Tick.Format(time.DateOnly))
		return nil
	})

	err := q.SetSchedule(ctx, "report/acme", "0 6 * * *", report.With("acme"), plainjobs.Zone("Europe/Berlin"))
	if err != nil {
		fmt.Println(err)
	}
	day := time.Date(2024, 11, 4, 0, 0, 0, 0, time.UTC)
	n, err := q.Backfill(ctx, "report/acme", day, day.AddDate(0, 0, 2))
	fmt.Println(n, "jobs", err)
	err = worker.New(q, &worker.Options{Jobs: []plainjobs.AnyJob{report}, Concurrency: 1, Drain: true}).Run(ctx)
	fmt.Println(err)

	all, err := q.ListSchedules(ctx, "report/", "", 0)
	fmt.Println(len(all), all[0].Name, all[0].Zone, err)
	fmt.Println(q.RemoveSchedule(ctx, "report/acme"))
	// Output:
	// 2 jobs <nil>
	// report of acme for 2024-11-04
	// report of acme for 2024-11-05
	// <nil>
	// 1 report/acme Europe/Berlin <nil>
	// <nil>
}
