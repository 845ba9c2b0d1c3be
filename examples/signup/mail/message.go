// Package mail sends mails.
package mail

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"time"
)

// A Message is a mail in plain text.
type Message struct {
	// ID is the same for each copy of a message. A job may run twice; the recipient
	// recognizes the copy by its ID.
	ID      string
	To      string // an address
	Subject string
	Text    string
}

// A Sender delivers messages.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// encode returns the encoded message, and the bare addresses.
func (m *Message) encode(from string, date time.Time) (data []byte, sender, recipient string, err error) {
	f, err := mail.ParseAddress(from)
	if err != nil {
		return nil, "", "", fmt.Errorf("sender %q: %w", from, err)
	}
	to, err := mail.ParseAddress(m.To)
	if err != nil {
		return nil, "", "", fmt.Errorf("recipient: %w", err)
	}
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", f.String()}, {"To", to.String()}, {"Subject", mime.QEncoding.Encode("utf-8", m.Subject)},
		{"Date", date.Format(time.RFC1123Z)}, {"Message-ID", "<" + m.ID + "@signup.example.com>"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(m.Text)); err != nil {
		return nil, "", "", err
	}
	if err := w.Close(); err != nil {
		return nil, "", "", err
	}
	return b.Bytes(), f.Address, to.Address, nil
}
