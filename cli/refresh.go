package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// again calls print at an interval until ctx is done, which is not an error. On a
// terminal each output replaces the one before it.
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
		case s.live: // go to the top left; clear each line to its end, and the rest of the screen
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
