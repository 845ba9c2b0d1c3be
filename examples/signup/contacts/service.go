// Package contacts stores the mailing list.
package contacts

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/mail"
	"net/textproto"
	"net/url"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/examples/signup/jobs"
	sender "github.com/plainjobs/plainjobs/examples/signup/mail"
	"github.com/plainjobs/plainjobs/examples/signup/schema"
)

// A Service stores the list in a database.
type Service struct {
	DB    *sql.DB
	Queue *plainjobs.Queue // in the same database
	Mail  sender.Sender
	URL   string // of the web server, without a slash at its end
}

var (
	// ErrAddress is returned for an invalid mail address.
	ErrAddress = errors.New("invalid mail address")
	// ErrUnknown is returned if no contact has the address or token.
	ErrUnknown = errors.New("unknown")
)

// Migrate creates the table if it does not exist.
func (s *Service) Migrate(ctx context.Context) error {
	_, err := s.DB.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS contacts (
			email        TEXT PRIMARY KEY,
			token        TEXT NOT NULL UNIQUE,
			created_at   INTEGER NOT NULL,
			sent_at      INTEGER NOT NULL DEFAULT 0,
			confirmed_at INTEGER NOT NULL DEFAULT 0
		) STRICT`)
	return err
}

// Create stores a contact and, in the same transaction, the job that asks for
// confirmation. It does not reveal whether an address is already on the list.
func (s *Service) Create(ctx context.Context, email string) error {
	address, err := mail.ParseAddress(email)
	if err != nil || len(address.Address) > 200 {
		return ErrAddress
	}
	contact := schema.Contact{Email: address.Address, Token: rand.Text(), CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	created, err := tx.ExecContext(ctx, `INSERT INTO contacts (email, token, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		contact.Email, contact.Token, contact.CreatedAt.UnixMicro())
	if err != nil {
		return err
	}
	if n, err := created.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if _, err := s.Queue.WithTx(tx).Perform(ctx, jobs.DoubleOptIn.With(contact)); err != nil {
		return err
	}
	return tx.Commit()
}

// Resend sends the request for confirmation again. It uses the queue of the context,
// which runs the job at once in a test.
func (s *Service) Resend(ctx context.Context, email string) error {
	contact, err := s.find(ctx, `email = ?`, email)
	if err != nil || !contact.ConfirmedAt.IsZero() {
		return err
	}
	_, err = plainjobs.Perform(ctx, jobs.DoubleOptIn.With(contact))
	return err
}

// Confirm marks the contact with a token as confirmed.
func (s *Service) Confirm(ctx context.Context, token string) (schema.Contact, error) {
	_, err := s.DB.ExecContext(ctx, `UPDATE contacts SET confirmed_at = ? WHERE token = ? AND confirmed_at = 0`, time.Now().UnixMicro(), token)
	if err != nil {
		return schema.Contact{}, err
	}
	return s.find(ctx, `token = ?`, token)
}

// Count returns the number of contacts, and how many are confirmed.
func (s *Service) Count(ctx context.Context) (all, confirmed int, err error) {
	err = s.DB.QueryRowContext(ctx, `SELECT count(*), count(CASE WHEN confirmed_at > 0 THEN 1 END) FROM contacts`).Scan(&all, &confirmed)
	return all, confirmed, err
}

func (s *Service) find(ctx context.Context, where, value string) (schema.Contact, error) {
	var c schema.Contact
	var created, sent, confirmed int64
	err := s.DB.QueryRowContext(ctx, `SELECT email, token, created_at, sent_at, confirmed_at FROM contacts WHERE `+where, value).
		Scan(&c.Email, &c.Token, &created, &sent, &confirmed)
	if errors.Is(err, sql.ErrNoRows) {
		return c, ErrUnknown
	}
	for _, t := range []struct {
		to   *time.Time
		from int64
	}{{&c.CreatedAt, created}, {&c.SentAt, sent}, {&c.ConfirmedAt, confirmed}} {
		if t.from > 0 {
			*t.to = time.UnixMicro(t.from).UTC()
		}
	}
	return c, err
}

// SendDoubleOptIn is the handler of jobs.DoubleOptIn. It runs again after a crash
// between the mail and the commit that ends the job. The contact then receives the same
// message again.
func (s *Service) SendDoubleOptIn(ctx context.Context, c schema.Contact) error {
	err := s.Mail.Send(ctx, sender.Message{
		ID: "double-opt-in." + c.Token, To: c.Email, Subject: "Please confirm",
		Text: fmt.Sprintf("Did you sign up? Then follow this link:\n\n%s/confirm?token=%s\n\nIf you did not, do nothing.\n",
			s.URL, url.QueryEscape(c.Token)),
	})
	if refused := (*textproto.Error)(nil); errors.As(err, &refused) && refused.Code >= 500 {
		return plainjobs.Cancel(err) // the mailbox does not exist, so a retry is useless
	}
	if err != nil {
		return err
	}
	_, err = s.DB.ExecContext(ctx, `UPDATE contacts SET sent_at = ? WHERE email = ?`, time.Now().UnixMicro(), c.Email)
	return err
}

// Report is the handler of jobs.DailyReport.
func (s *Service) Report(ctx context.Context, to string) error {
	all, confirmed, err := s.Count(ctx)
	if err != nil {
		return err
	}
	i, _ := plainjobs.FromContext(ctx)
	return s.Mail.Send(ctx, sender.Message{
		ID: fmt.Sprint("report.", i.ID), To: to, Subject: fmt.Sprintf("%d contacts", confirmed),
		Text: fmt.Sprintf("%d of %d contacts have confirmed.\n", confirmed, all),
	})
}
