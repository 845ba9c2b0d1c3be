package conformance

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

// activity returns what the store has of the past time.
func (e *env) activity(past time.Duration, hours bool) backend.Activities {
	e.Helper()
	all, err := e.reader().Activity(e.ctx, backend.ActivityRequest{Past: past, Hours: hours})
	if err != nil || all.Now.IsZero() {
		e.Fatalf("Activity = %v, %v", all, err)
	}
	return all
}

// sendActivity sends activity in a heartbeat of a worker.
func (e *env) sendActivity(b backend.Backend, w backend.Worker, all ...backend.Activity) {
	e.Helper()
	if _, err := capability[backend.Heartbeater](e, b).Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Activity: all}); err != nil {
		e.Fatalf("Heartbeat: %v", err)
	}
}

// active returns a registered worker and the store's current minute.
func (e *env) active() (backend.Worker, time.Time) {
	e.Helper()
	capability[backend.Heartbeater](e, e.b)
	w := e.worker()
	w.Lease = 12 * time.Hour
	e.claim(e.b, w, 0)
	return w, e.activity(0, false).Now.Truncate(time.Minute)
}

// activityOf returns an activity whose numbers depend on n.
func activityOf(name string, at time.Time, n int64) backend.Activity {
	return backend.Activity{
		Name: name, At: at, Done: n, Retried: n + 1, Failed: n + 2, Cancelled: n + 3,
		Waited: []byte{byte(n), 1, 2, 3}, Ran: []byte{byte(n + 1), 4},
	}
}

func (e *env) wantActivity(what string, got backend.Activities, want ...backend.Activity) {
	e.Helper()
	all := slices.Clone(got.Activities)
	for i := range all {
		if all[i].At.Location() != time.UTC {
			e.Errorf("%s: the minute %v is not UTC", what, all[i].At)
		}
	}
	for i := range want {
		want[i].At = want[i].At.UTC()
	}
	if len(all)+len(want) > 0 && !reflect.DeepEqual(all, want) {
		e.Errorf("%s: the activity is %+v, want %+v", what, all, want)
	}
}

// sumOf returns the sum of activities of one name and time.
func sumOf(all ...backend.Activity) backend.Activity {
	sum := backend.Activity{Name: all[0].Name, At: all[0].At}
	waited, ran := map[int]uint64{}, map[int]uint64{}
	for _, a := range all {
		sum.Done += a.Done
		sum.Retried += a.Retried
		sum.Failed += a.Failed
		sum.Cancelled += a.Cancelled
		addHistogram(waited, a.Waited)
		addHistogram(ran, a.Ran)
	}
	sum.Waited, sum.Ran = encodeHistogram(waited), encodeHistogram(ran)
	return sum
}

// addHistogram adds an encoded histogram: pairs of a number of empty buckets and the
// count of the next one.
func addHistogram(counts map[int]uint64, encoded []byte) {
	for i := 0; len(encoded) > 0; i++ {
		gap, a := binary.Uvarint(encoded)
		n, b := binary.Uvarint(encoded[a:])
		i += int(gap)
		counts[i] += n
		encoded = encoded[a+b:]
	}
}

func encodeHistogram(counts map[int]uint64) (encoded []byte) {
	next := 0
	for _, i := range slices.Sorted(maps.Keys(counts)) {
		encoded = binary.AppendUvarint(binary.AppendUvarint(encoded, uint64(i-next)), counts[i])
		next = i + 1
	}
	return encoded
}

// byHour returns the sums of activities by hour and name.
func byHour(all ...backend.Activity) (hours []backend.Activity) {
	for _, a := range all {
		a.At = a.At.Truncate(time.Hour)
		i := slices.IndexFunc(hours, func(h backend.Activity) bool { return h.Name == a.Name && h.At.Equal(a.At) })
		if i < 0 {
			hours = append(hours, a)
		} else {
			hours[i] = sumOf(hours[i], a)
		}
	}
	slices.SortFunc(hours, func(a, b backend.Activity) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name)) })
	return hours
}

var activityCases = []testCase{{
	name: "activity/stored",
	rule: "activity of all workers together, by minute and name in order, and by the hour",
	run: func(e *env) {
		w, now := e.active()
		other := e.worker()
		e.claim(e.b, other, 0)
		before := now.Add(-time.Minute)
		e.sendActivity(e.b, w, activityOf("b", now, 1), activityOf("a", now, 2), activityOf("c", before, 3))
		e.sendActivity(e.other(), other, activityOf("b", now, 40))
		e.sendActivity(e.b, other)
		e.sendActivity(e.b, w, activityOf("b", before, 4))
		both := sumOf(activityOf("b", now, 1), activityOf("b", now, 40))
		want := []backend.Activity{activityOf("b", before, 4), activityOf("c", before, 3), activityOf("a", now, 2), both}
		e.wantActivity("by the minute", e.activity(time.Hour, false), want...)
		e.wantActivity("by the hour", e.activity(2*time.Hour, true), byHour(want...)...)
		empty := backend.Activity{Name: "empty", At: now.Add(-2 * time.Minute), Done: 1}
		e.sendActivity(e.b, w, empty)
		got := e.activity(time.Hour, false).Activities
		if len(got) != 5 || got[0].Name != "empty" || len(got[0].Waited)+len(got[0].Ran) > 0 {
			e.Errorf("with an activity without histograms the store has %+v", got)
		}
	},
}, {
	name: "activity/past",
	rule: "only minutes that began within the past time",
	run: func(e *env) {
		w, now := e.active()
		e.sendActivity(e.b, w, activityOf("a", now, 1), activityOf("a", now.Add(-30*time.Minute), 2))
		e.wantActivity("of ten minutes", e.activity(10*time.Minute, false), activityOf("a", now, 1))
	},
}, {
	name: "activity/replaced",
	rule: "a worker's activity replaces its own of the same name and minute, so a repeated heartbeat counts once",
	run: func(e *env) {
		w, now := e.active()
		e.sendActivity(e.b, w, activityOf("a", now, 1), activityOf("b", now, 1))
		e.sendActivity(e.b, w, activityOf("a", now, 1))
		e.sendActivity(e.other(), w, activityOf("a", now, 7))
		e.wantActivity("", e.activity(time.Hour, false), activityOf("a", now, 7), activityOf("b", now, 1))
	},
}, {
	name: "activity/unregistered",
	rule: "a heartbeat without a row stores no activity; one that leaves does",
	run: func(e *env) {
		w, now := e.active()
		heart := capability[backend.Heartbeater](e, e.b)
		gone := backend.HeartbeatRequest{Worker: e.worker(), Activity: []backend.Activity{activityOf("gone", now, 1)}}
		if _, err := heart.Heartbeat(e.ctx, gone); !errors.Is(err, backend.ErrWorkerGone) {
			e.Errorf("without a row Heartbeat = %v", err)
		}
		last := backend.HeartbeatRequest{Worker: w, Leave: true, Activity: []backend.Activity{activityOf("a", now, 1)}}
		if _, err := heart.Heartbeat(e.ctx, last); err != nil {
			e.Errorf("Heartbeat = %v", err)
		}
		e.wantActivity("", e.activity(time.Hour, false), activityOf("a", now, 1))
	},
}, {
	name: "activity/ignored",
	rule: "minutes that Reap may have merged, and those of a clock that is ahead, are ignored",
	run: func(e *env) {
		w, now := e.active()
		e.sendActivity(e.b, w, activityOf("a", now.Add(-backend.KeepMinutes).Truncate(time.Hour).Add(-time.Minute), 1), activityOf("a", now.Add(5*time.Minute), 2),
			activityOf("a", now, 3))
		e.wantActivity("by the minute", e.activity(24*time.Hour, false), activityOf("a", now, 3))
	},
}, {
	name: "activity/invalid",
	rule: "activity of a part of a minute, of one name and minute twice, or of more than 1000 minutes is refused",
	run: func(e *env) {
		w, now := e.active()
		many := make([]backend.Activity, 1001)
		for i := range many {
			many[i] = activityOf("a", now.Add(-time.Duration(i)*time.Minute), 1)
		}
		for what, all := range map[string][]backend.Activity{
			"part of a minute": {activityOf("a", now.Add(time.Second), 1)},
			"twice":            {activityOf("a", now, 1), activityOf("a", now, 2)},
			"negative":         {{Name: "a", At: now, Done: -1}},
			"no name":          {activityOf("", now, 1)},
			"too many":         many,
		} {
			_, err := capability[backend.Heartbeater](e, e.b).Heartbeat(e.ctx, backend.HeartbeatRequest{Worker: w, Activity: all})
			if !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("%s: Heartbeat = %v, want ErrInvalid", what, err)
			}
		}
		e.wantActivity("", e.activity(time.Hour, false))
	},
}, {
	name: "activity/merged",
	rule: "Reap merges old minutes by the hour, a bounded number in each call, and what was merged counts once",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("needs a clock that can be moved")
		}
		w, now := e.active()
		other := e.worker()
		other.Lease = w.Lease
		e.claim(e.b, other, 0)
		var all []backend.Activity
		for i := range 7 {
			at := now.Add(-time.Duration(i/2) * time.Minute)
			name, by := "a", w
			if i%2 == 1 {
				name = "b"
			}
			if i > 3 {
				by = other
			}
			all = append(all, activityOf(name, at, int64(i)))
			e.sendActivity(e.b, by, all[i])
		}
		want := byHour(all...)
		e.advance(2 * time.Hour)
		for range 10 {
			e.wantActivity("while it is merged", e.activity(8*time.Hour, true), slices.Clone(want)...)
			if !e.reap(e.b, backend.ReapRequest{Limit: 2}).More {
				break
			}
		}
		e.wantActivity("merged, by the minute", e.activity(8*time.Hour, false))
		e.sendActivity(e.other(), w, all[0])
		e.reap(e.other(), backend.ReapRequest{})
		e.wantActivity("merged", e.activity(8*time.Hour, true), want...)
	},
}, {
	name: "activity/kept",
	rule: "minutes are kept for KeepMinutes and hours for KeepHours",
	run: func(e *env) {
		if e.store.Advance == nil {
			e.Skip("needs a clock that can be moved")
		}
		w, now := e.active()
		e.sendActivity(e.b, w, activityOf("a", now, 1))
		hour := byHour(activityOf("a", now, 1))[0]
		e.advance(backend.KeepMinutes - time.Minute)
		e.reap(e.b, backend.ReapRequest{})
		e.wantActivity("after 59 minutes", e.activity(2*time.Hour, false), activityOf("a", now, 1))
		e.advance(backend.KeepHours - backend.KeepMinutes - time.Hour)
		for e.reap(e.b, backend.ReapRequest{}).More {
		}
		e.wantActivity("after almost KeepHours", e.activity(10*24*time.Hour, true), hour)
		e.advance(3 * time.Hour)
		e.reap(e.b, backend.ReapRequest{})
		e.wantActivity("after KeepHours", e.activity(10*24*time.Hour, true))
	},
}}
