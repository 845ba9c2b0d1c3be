package conformance

import (
	"reflect"

	"github.com/plainjobs/plainjobs/backend"
)

var examineCases = []testCase{{
	name: "examine/repair",
	rule: "if only the store has changed the jobs, an examination with Repair changes nothing",
	run: func(e *env) {
		examiner := capability[backend.Inspector](e, e.b)
		e.live()
		e.push(e.b, "waits", 3)
		e.pushJobs(e.b, serialJob("line", "s"), serialJob("line", "s"), uniqueJob("one", backend.Unique{Key: "k"}))
		before := e.exportAll(e.b, 1000)
		counts, err := e.reader().Count(e.ctx)
		if err != nil {
			e.Fatalf("Count: %v", err)
		}
		for _, repair := range []bool{false, true} {
			if _, err := examiner.Examine(e.ctx, backend.ExamineRequest{Derived: true, Repair: repair}); err != nil {
				e.Errorf("Examine: %v", err)
			}
		}
		wantSame(e, "after Examine", e.exportAll(e.b, 1000).Jobs, before.Jobs)
		if after, err := e.reader().Count(e.ctx); err != nil || !reflect.DeepEqual(after, counts) {
			e.Errorf("Count = %v, %v; want %v", after, err, counts)
		}
		e.wantDuplicate("the key of a job that waits", uniqueJob("one", backend.Unique{Key: "k"}), before.Jobs[len(before.Jobs)-1].ID)
	},
}}
