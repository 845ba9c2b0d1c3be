package mail

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"strings"
	"testing"
	"time"
)

func TestEncode(t *testing.T) {
	m := Message{ID: "x.1", To: "Ada <ada@example.com>", Subject: "Größe\r\nBcc: eve@example.com", Text: "Grüße\n" + strings.Repeat("lang ", 40)}
	data, from, to, err := m.encode("Me <me@example.com>", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil || from != "me@example.com" || to != "ada@example.com" {
		t.Fatalf("from %s to %s, %v", from, to, err)
	}
	got, err := mail.ReadMessage(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Header.Get("Bcc") != "" {
		t.Errorf("the subject adds a header: %v", got.Header)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	if err != nil || subject != m.Subject {
		t.Errorf("the subject is %q, %v", subject, err)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	if err != nil || strings.ReplaceAll(string(text), "\r\n", "\n") != m.Text {
		t.Errorf("the text is %q, %v", text, err)
	}
	for _, to := range []string{"", "ada", "a@b, c@d"} {
		m.To = to
		if _, _, _, err := m.encode("me@example.com", time.Now()); err == nil {
			t.Errorf("encode accepts the recipient %q", to)
		}
	}
}

// A call to a server that does not answer ends with its context.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s, err := NewSMTP(l.Addr().String(), "me@example.com", "", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, Message{To: "ada@example.com"}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it returned %v", err)
	}
	if _, err := NewSMTP("host without port", "", "", ""); err == nil {
		t.Error("NewSMTP accepts an address without a port")
	}
}
