package migrate

import (
	"fmt"
	"testing"
	"time"

	"maragu.dev/goqite"
	"maragu.dev/goqite/jobs"

	"github.com/plainjobs/plainjobs/internal/adopt"
)

func TestGoqite(t *testing.T) {
	ctx := t.Context()
	db, path := newFile(t)
	createGoqite(t, db)
	queue := func(name string, timeout time.Duration) *goqite.Queue {
		return goqite.New(goqite.NewOpts{DB: db, Name: name, Timeout: timeout})
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	work, raw := queue("jobs", time.Hour), queue("raw", time.Hour)
	for i := range 700 {
		_, err := jobs.Create(ctx, work, "mail", goqite.Message{Body: fmt.Appendf(nil, `{"i":%d}`, i), Priority: i % 3})
		check(err)
	}
	for i := range 300 {
		_, err := jobs.Create(ctx, work, "later", goqite.Message{Body: fmt.Appendf(nil, `{"i":%d}`, i), Delay: time.Hour})
		check(err)
	}
	for i := range 20 {
		check(raw.Send(ctx, goqite.Message{Body: fmt.Appendf(nil, `{"i":%d}`, i)}))
	}
	check(queue("text", time.Hour).Send(ctx, goqite.Message{Body: []byte("no JSON")}))
	check(queue("big", time.Hour).Send(ctx, goqite.Message{Body: []byte("1"), Priority: 40000}))

	// One message is received, one was received once, and one is never delivered again.
	received, retry, dead := queue("received", time.Hour), queue("retry", time.Nanosecond), queue("dead", time.Nanosecond)
	for _, q := range []*goqite.Queue{received, retry, dead} {
		check(q.Send(ctx, goqite.Message{Body: []byte(`{"i":0}`)}))
		m, err := q.Receive(ctx)
		if err != nil || m == nil {
			t.Fatal(m, err)
		}
	}
	for range 2 {
		m, err := dead.ReceiveAndWait(ctx, time.Millisecond)
		if err != nil || m == nil {
			t.Fatal(m, err)
		}
	}
	before := count(t, db, "SELECT count(*) FROM goqite")
	waitPast(t, db, "SELECT count(*) FROM goqite WHERE received > 0 AND queue <> 'received' AND timeout > strftime('%Y-%m-%dT%H:%M:%fZ')")

	store := openStore(t, path)
	first := adoptBroken(t, db, store, "goqite", adopt.Options{})
	equal(t, "adopted", first.Adopted, map[string]int64{"mail": 700, "later": 300, "raw": 20, "retry": 1})
	equal(t, "left", first.Left, map[string]int64{
		"text: the payload is not JSON": 1, "big: the priority does not fit into 16 bits": 1,
		"received, and not due for another delivery": 1, "delivered as often as they may be": 1,
	})
	all := stored(t, store)
	if left := count(t, db, "SELECT count(*) FROM goqite"); left != 4 || len(all)+left != before {
		t.Errorf("of %d messages, %d are left and %d are jobs", before, left, len(all))
	}
	numbers(t, all, "mail", 700)
	numbers(t, all, "later", 300)
	numbers(t, all, "raw", 20)
	if j := find(t, all, "mail", 5); j.Priority != 2 || j.MaxAttempts != 3 || j.State.String() != "pending" || j.Metadata["adopted_queue"] != "jobs" {
		t.Errorf("mail 5 is %+v", j)
	}
	if j := find(t, all, "later", 5); !near(j.RunAt, time.Now().Add(time.Hour)) {
		t.Errorf("later 5 runs at %v", j.RunAt)
	}
	if j := find(t, all, "retry", 0); j.MaxAttempts != 2 {
		t.Errorf("the message that was received has %d attempts, want 2", j.MaxAttempts)
	}

	report, err := adopt.Run(ctx, db, store, "goqite", adopt.Options{Queue: "text", Rename: map[string]string{"text": "note"}, Bytes: true})
	if err != nil || report.Adopted["note"] != 1 {
		t.Errorf("adopted %v, %v", report.Adopted, err)
	}
	if all = stored(t, store); string(all[len(all)-1].Payload) != `"bm8gSlNPTg=="` {
		t.Errorf("the payload is %s", all[len(all)-1].Payload)
	}
}
