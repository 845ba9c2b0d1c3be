package mail

import (
	"context"
	"fmt"
	"io"
)

// A Printer prints messages instead of sending them.
type Printer struct {
	To   io.Writer
	From string
}

// Send implements [Sender].
func (p *Printer) Send(_ context.Context, m Message) error {
	_, err := fmt.Fprintf(p.To, "\n  From: %s\n  To: %s\n  Subject: %s\n\n%s\n", p.From, m.To, m.Subject, m.Text)
	return err
}
