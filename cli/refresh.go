package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// again prints something again and again until ctx ends, which is no error: in
// the same place on a terminal, else one below the other.
func (s *screen) again(ctx context.Context, every time.Duration, print func(io.Writer) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := true; ; first = false {
		var b bytes.Buffer
		err := print(&b)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case s.json:
		case s.live: // home, each line to its end, and what is below
			text := bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\x1b[K\n"))
			fmt.Fprintf(s.out, "\x1b[H%s\x1b[J", text)
		case first:
			fmt.Fprintf(s.out, "%s", b.Bytes())
		default:
			fmt.Fprintf(s.out, "\n%s", b.Bytes())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
