package contacts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/examples/signup/jobs"
	"github.com/plainjobs/plainjobs/examples/signup/mail"
	"github.com/plainjobs/plainjobs/plainjobstest"
	"github.com/plainjobs/plainjobs/worker"
)

// An outbox records sent messages.
type outbox struct {
	sent []mail.Message
	err  error
}

func (o *outbox) Send(_ context.Context, m mail.Message) error {
	if o.err != nil {
		return o.err
	}
	o.sent = append(o.sent, m)
	return nil
}

func newService(t *testing.T) (*Service, *outbox) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "signup.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	out := &outbox{}
	s := &Service{DB: db, Mail: out, URL: "https://signup.test"}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, out
}

// newQueued returns a service whose queue is in its database.
func newQueued(t *testing.T) (*Service, *outbox) {
	t.Helper()
	s, out := newService(t)
	store, err := sqlite.New(s.DB, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Queue = plainjobs.New(store, nil)
	t.Cleanup(func() { s.Queue.Close() })
	plainjobs.Handle(s.Queue, jobs.DoubleOptIn, s.SendDoubleOptIn)
	return s, out
}

// The service's jobs run at once, in the call that performs them, and no queue
// in a database is used: what a handler returns, the caller sees.
func TestResend(t *testing.T) {
	s, out := newService(t)
	ctx, q := plainjobstest.Inline(t)
	s.Queue = q
	plainjobs.Handle(q, jobs.DoubleOptIn, s.SendDoubleOptIn)

	if err := s.Create(ctx, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	if len(out.sent) != 0 {
		t.Errorf("in a transaction it sent %v before the commit", out.sent)
	}
	plainjobstest.Drain(t, q)
	if len(out.sent) != 1 {
		t.Fatalf("it sent %+v", out.sent)
	}
	if err := s.Resend(ctx, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	if len(out.sent) != 2 || out.sent[1] != out.sent[0] || out.sent[0].To != "ada@example.com" || !strings.Contains(out.sent[0].Text, "https://signup.test/confirm?token=") {
		t.Fatalf("it sent %+v", out.sent)
	}
	if c, err := s.find(ctx, `email = ?`, "ada@example.com"); err != nil || c.SentAt.IsZero() {
		t.Errorf("the contact is %+v, %v", c, err)
	}
	out.err = errors.New("no mail today")
	if err := s.Resend(ctx, "ada@example.com"); !errors.Is(err, out.err) {
		t.Errorf("Resend with a failing mail returned %v", err)
	}
	if err := s.Resend(ctx, "eve@example.com"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Resend to an unknown contact returned %v", err)
	}
}

// The contact and its job are committed together, or not at all.
func TestCreate(t *testing.T) {
	s, out := newQueued(t)
	ctx := t.Context()

	for range 2 { // the second time it is already on the list
		if err := s.Create(ctx, "Ada <ada@example.com>"); err != nil {
			t.Fatal(err)
		}
	}
	contact, err := s.find(ctx, `email = ?`, "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	plainjobstest.RequireEnqueued(t, s.Queue, jobs.DoubleOptIn, contact)
	plainjobstest.Drain(t, s.Queue)
	if len(out.sent) != 1 || out.sent[0].ID != "double-opt-in."+contact.Token {
		t.Errorf("it sent %+v", out.sent)
	}

	// Without a commit neither is stored.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Create(gone, "bob@example.com"); err == nil {
		t.Error("Create succeeded with a cancelled context")
	}
	if _, err := s.find(ctx, `email = ?`, "bob@example.com"); !errors.Is(err, ErrUnknown) {
		t.Errorf("the contact that was not created: %v", err)
	}
	plainjobstest.Drain(t, s.Queue)
	if len(out.sent) != 1 {
		t.Errorf("it sent %+v", out.sent)
	}
	for _, email := range []string{"", "ada", "ada@example.com\r\nBcc: eve@example.com", strings.Repeat("a", 300) + "@example.com"} {
		if err := s.Create(ctx, email); !errors.Is(err, ErrAddress) {
			t.Errorf("Create(%.50q) returned %v", email, err)
		}
	}
	if confirmed, err := s.Confirm(ctx, contact.Token); err != nil || confirmed.ConfirmedAt.IsZero() {
		t.Errorf("the confirmed contact is %+v, %v", confirmed, err)
	}
	if _, err := s.Confirm(ctx, "guess"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Confirm of a guessed token returned %v", err)
	}
}

// A job whose address the server rejects is not retried.
func TestRefused(t *testing.T) {
	for code, want := range map[int]plainjobs.State{451: plainjobs.Scheduled, 550: plainjobs.Cancelled} {
		s, out := newQueued(t) // its own queue: a retry must not meet the answer of another case
		out.err = fmt.Errorf("smtp: %w", &textproto.Error{Code: code, Msg: "no"})
		if err := s.Create(t.Context(), fmt.Sprintf("ada%d@example.com", code)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer s.Queue.Subscribe(func(e plainjobs.Event) {
			if e.Err != nil {
				cancel()
			}
		})()
		if err := worker.New(s.Queue, &worker.Options{Jobs: []plainjobs.AnyJob{jobs.DoubleOptIn}}).Run(ctx); err != nil {
			t.Fatal(err)
		}
		found, _, err := s.Queue.List(t.Context(), plainjobs.Filter{}, 0, 1)
		if err != nil || len(found) != 1 || found[0].State != want {
			t.Errorf("after %d the job is %+v, %v; want it %v", code, found, err, want)
		}
	}
}

// A tick of the schedule performs the report.
func TestReport(t *testing.T) {
	s, out := newService(t)
	_, q := plainjobstest.Memory(t, plainjobstest.Torture()) // each handler runs twice
	plainjobs.Handle(q, jobs.DailyReport, s.Report)
	plainjobstest.Tick(t, q, "weekdays-at-six", time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC))
	plainjobstest.Drain(t, q)
	if len(out.sent) != 2 || out.sent[0] != out.sent[1] || out.sent[0].Text != "0 of 0 contacts have confirmed.\n" {
		t.Errorf("it sent %+v", out.sent)
	}
}
