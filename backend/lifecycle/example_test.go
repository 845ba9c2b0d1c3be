package lifecycle_test

import (
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/backend/lifecycle"
)

// A job is claimed, fails and is retried; then its worker dies.
func Example() {
	const worker = 7
	clock := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	now := func() int64 { return lifecycle.Micros(clock) }
	show := func(what string, j lifecycle.Job) {
		fmt.Printf("%s: %v, failures %d, suspect %v, due %s\n", what, j.State, j.Failures, j.Suspect, lifecycle.Time(j.RunAt).Format("15:04:05"))
	}

	j := lifecycle.New(&backend.NewJob{Name: "mail", MaxAttempts: 3}, now())
	show("pushed", j)
	j = j.Claim(worker, 101)
	show("claimed", j)

	failure := backend.Failure{Ending: backend.EndRetry, Delay: time.Minute, Error: "connection refused"}
	failure.Token = 101
	fmt.Println("held:", j.Judge(failure.Token, failure.Ending) == lifecycle.Held)
	j, runError := j.Fail(&failure, now())
	show("failed", j)
	fmt.Printf("attempt %d: %s\n", runError.Attempt, runError.Error)
	fmt.Println("repeated:", j.Judge(failure.Token, failure.Ending) == lifecycle.Repeated)

	clock = clock.Add(time.Minute)
	j = j.Ready(now()).Claim(worker, 102)
	j, _ = j.Rescue(true, backend.Settings{}, now())
	show("rescued", j)
	fmt.Println("lost:", j.Judge(102, 0) == lifecycle.Lost)
	// Output:
	// pushed: pending, failures 0, suspect false, due 03:04:05
	// claimed: running, failures 0, suspect false, due 03:04:05
	// held: true
	// failed: scheduled, failures 1, suspect false, due 03:05:05
	// attempt 1: connection refused
	// repeated: true
	// rescued: pending, failures 1, suspect true, due 03:05:05
	// lost: true
}

// A store keeps the slots of a name, and asks before each claim.
func ExampleRate() {
	rate := lifecycle.RateOf(backend.Settings{Rate: 2, Per: time.Minute})
	now := lifecycle.Micros(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	var slots []lifecycle.Slot
	for range 3 {
		left, _ := rate.Left(slots, now)
		fmt.Println("left:", left)
		if left > 0 {
			slots = append(slots, lifecycle.Slot{At: rate.Slot(now), Jobs: 1})
		}
		now += time.Second.Microseconds()
	}
	fmt.Println("free at", lifecycle.Time(rate.Free(slots, now)).Format("15:04:05.0"))
	// Output:
	// left: 2
	// left: 1
	// left: 0
	// free at 03:05:05.4
}
