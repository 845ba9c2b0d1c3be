package conformance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plainjobs/plainjobs/backend"
)

var pushCases = []testCase{{
	name: "push/stored",
	rule: "a job that Push acknowledged exists, for every process, until it is finished and pruned",
	run: func(e *env) {
		ids := e.push(e.b, "a", 3)
		other := e.store.Open(e)
		e.wantIDs("Claim by another handle", e.claim(other, e.worker(), 10, "a"), ids...)
	},
}, {
	name: "push/all-or-none",
	rule: "Push stores all of the jobs or none, and refuses a batch with a fault",
	run: func(e *env) {
		for what, spoil := range map[string]func(*backend.NewJob){
			"no name":         func(j *backend.NewJob) { j.Name = "" },
			"a long name":     func(j *backend.NewJob) { j.Name = strings.Repeat("x", 129) },
			"a binary name":   func(j *backend.NewJob) { j.Name = "a\xff" },
			"a NUL in a name": func(j *backend.NewJob) { j.Name = "a\x00b" },
			"no attempts":     func(j *backend.NewJob) { j.MaxAttempts = 0 },
			"negative delay":  func(j *backend.NewJob) { j.Delay = -1 },
			"absurd delay":    func(j *backend.NewJob) { j.Delay = 1<<63 - 1 },
			"much metadata":   func(j *backend.NewJob) { j.Metadata = make([]byte, 64<<10+1) },
		} {
			jobs := []backend.NewJob{newJob("a"), newJob("a"), newJob("a"), newJob("a")}
			spoil(&jobs[2])
			if _, err := e.b.Push(e.ctx, jobs); !errors.Is(err, backend.ErrInvalid) {
				e.Errorf("Push of a batch with %s: error is %v, want ErrInvalid", what, err)
			}
		}
		e.wantIDs("Claim after refused pushes", e.claim(e.b, e.worker(), 10, "a"))
	},
}, {
	name: "push/ids-in-order",
	rule: "IDs are positive, ascend in the order of the batch and are never assigned twice",
	run: func(e *env) {
		var all []int64
		for _, n := range []int{1, 2, 7, 8, 9, 33, 200, 1000} {
			all = append(all, e.push(e.b, "a", n)...)
		}
		if all[0] <= 0 || !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
			e.Errorf("IDs are %v", short(all))
		}
	},
}, {
	name: "push/ids-not-reused",
	rule: "an ID is never reused, not even after its job is deleted and the store is reopened",
	opts: Options{History: backend.History{Done: -1}},
	run: func(e *env) {
		w := e.worker()
		used := map[int64]bool{}
		for range 5 {
			b := e.store.Open(e)
			if d, ok := b.(backend.Describer); ok && d.Describe().Shared {
				if err := closeBackend(b); err != nil {
					e.Fatalf("Close: %v", err)
				}
				b = e.store.Open(e) // a store that was closed in between
			}
			for _, id := range e.push(b, "a", 2) {
				if used[id] {
					e.Fatalf("ID %d was given twice", id)
				}
				used[id] = true
			}
			for _, j := range e.claim(b, w, 2, "a") {
				e.complete(b, j.Lease)
			}
		}
	},
}, {
	name: "push/payload",
	rule: "a payload is kept byte for byte",
	run: func(e *env) {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		payloads := [][]byte{nil, {}, {0}, every, []byte("\xff\xfe\x00'\"--"), bytes.Repeat([]byte{0xAB}, 1<<20)}
		for _, p := range payloads {
			id := e.pushJobs(e.b, backend.NewJob{Name: "a", Payload: p, MaxAttempts: 1})[0]
			j := e.claim1(e.b, e.worker(), "a")
			if j.ID != id || !bytes.Equal(j.Payload, p) {
				e.Errorf("a payload of %d bytes came back as %d others", len(p), len(j.Payload))
			}
		}
	},
}, {
	name: "push/metadata",
	rule: "metadata is kept byte for byte",
	run: func(e *env) {
		for _, metadata := range [][]byte{nil, {0, 0xFF, '"'}, bytes.Repeat([]byte{0xAB}, 64<<10)} {
			job := newJob("a")
			job.Metadata = metadata
			id := e.pushJobs(e.b, job)[0]
			j := e.claim1(e.b, e.worker(), "a")
			if j.ID != id || !bytes.Equal(j.Metadata, metadata) || !bytes.Equal(j.Payload, job.Payload) {
				e.Errorf("metadata of %d bytes came back as %d others", len(metadata), len(j.Metadata))
			}
			if info := e.get(id); !bytes.Equal(info.Metadata, metadata) {
				e.Errorf("metadata of %d bytes is shown as %d others", len(metadata), len(info.Metadata))
			}
		}
	},
}, {
	name: "push/fields",
	rule: "Claim returns what Push was given",
	run: func(e *env) {
		want := backend.NewJob{Name: "a/b.c-d_e", Payload: []byte("x"), Priority: -32768, MaxAttempts: 7}
		e.pushJobs(e.b, want)
		j := e.claim1(e.b, e.worker(), want.Name)
		if j.Name != want.Name || j.Priority != want.Priority || j.MaxAttempts != 7 || j.Attempt != 1 || j.Suspect {
			e.Errorf("Claim returned %+v", j)
		}
		if j.CreatedAt.IsZero() || !j.RunAt.Equal(j.CreatedAt) || j.CreatedAt.Location() != time.UTC {
			e.Errorf("created %v, to run %v: want the same time, in UTC", j.CreatedAt, j.RunAt)
		}
	},
}, {
	name: "push/arguments-not-kept",
	rule: "a method does not retain its arguments",
	run: func(e *env) {
		job := backend.NewJob{Name: "a", Payload: []byte("before"), Metadata: []byte("before"), MaxAttempts: 1}
		e.pushJobs(e.b, job)
		copy(job.Payload, "after!")
		copy(job.Metadata, "after!")
		if j := e.claim1(e.b, e.worker(), "a"); string(j.Payload) != "before" || string(j.Metadata) != "before" {
			e.Errorf("payload is %q, metadata %q", j.Payload, j.Metadata)
		}
	},
}, {
	name: "push/delay",
	rule: "a scheduled job is claimed after its time and not before",
	run: func(e *env) {
		job := newJob("a")
		job.Delay = 10 * e.unit
		id := e.pushJobs(e.b, job)[0]
		w := e.worker()
		e.wantIDs("Claim before the time", e.claim(e.b, w, 10, "a"))
		e.wantState(id, backend.Scheduled)
		e.advance(9 * e.unit)
		e.reap(e.b, backend.ReapRequest{})
		e.wantIDs("Claim still before the time", e.claim(e.b, w, 10, "a"))
		e.advance(e.unit)
		e.wantIDs("Claim at the time", e.claim(e.b, w, 10, "a"), id)
	},
}, {
	name: "push/concurrent",
	rule: "methods are safe for concurrent use by goroutines and processes",
	run: func(e *env) {
		const handles, pushers, each = 3, 4, 25
		var mu sync.Mutex
		var ids []int64
		var wg sync.WaitGroup
		for range handles {
			b := e.store.Open(e)
			for range pushers {
				wg.Go(func() {
					defer e.recoverShort()
					for range each {
						pushed, err := b.Push(e.ctx, []backend.NewJob{newJob("a")})
						if err != nil || len(pushed) != 1 {
							e.Errorf("Push = %v, %v", pushed, err)
							return
						}
						mu.Lock()
						ids = append(ids, pushed[0].ID)
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		slices.Sort(ids)
		got := e.claim(e.b, e.worker(), 1000, "a")
		// The order of two concurrent pushes is not defined.
		slices.SortFunc(got, func(a, b backend.Job) int { return cmp.Compare(a.ID, b.ID) })
		e.wantIDs("Claim of all", got, ids...)
		if len(ids) != handles*pushers*each {
			e.Errorf("%d jobs were pushed, want %d", len(ids), handles*pushers*each)
		}
	},
}, {
	name: "push/empty",
	rule: "an empty batch does nothing",
	run: func(e *env) {
		if pushed, err := e.b.Push(e.ctx, nil); len(pushed) != 0 || err != nil {
			e.Errorf("Push of nothing = %v, %v", pushed, err)
		}
		if lost, err := e.b.Complete(e.ctx, nil); len(lost) != 0 || err != nil {
			e.Errorf("Complete of nothing = %v, %v", lost, err)
		}
		if lost, err := e.b.Fail(e.ctx, nil); len(lost) != 0 || err != nil {
			e.Errorf("Fail of nothing = %v, %v", lost, err)
		}
	},
}, {
	name: "push/context-done",
	rule: "a method whose context has ended changes nothing and returns the context's error",
	run: func(e *env) {
		w := e.worker()
		e.push(e.b, "a", 1)
		j := e.claim1(e.b, w, "a")
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		check := func(what string, err error) {
			e.Helper()
			if !errors.Is(err, context.Canceled) {
				e.Errorf("%s returned %v, want context.Canceled", what, err)
			}
		}
		_, err := e.b.Push(ctx, []backend.NewJob{newJob("a")})
		check("Push", err)
		_, err = e.b.Claim(ctx, request(w, 1, "a"))
		check("Claim", err)
		_, err = e.b.Complete(ctx, []backend.Completion{{Lease: j.Lease}})
		check("Complete", err)
		_, err = e.b.Fail(ctx, []backend.Failure{{Lease: j.Lease, Ending: backend.EndRetry}})
		check("Fail", err)
		e.advance(2 * e.unit)
		_, err = e.b.Reap(ctx, backend.ReapRequest{Expired: true})
		check("Reap", err)
		e.everyMethod(ctx, e.b, check)
		e.wantIDs("Claim", e.claimAny(e.b, e.worker(), 10, "a"))
		e.wantLost("Complete", e.complete(e.b, j.Lease))
		e.wantCounts("a done=1")
	},
}}
