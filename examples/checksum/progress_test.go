package main

import (
	"bytes"
	"testing"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	for terminal, want := range map[bool]string{
		true:  clearLine + "1 of 2" + clearLine + "2 of 2" + clearLine + "text\n" + clearLine + "done" + clearLine,
		false: "text\n",
	} {
		var out bytes.Buffer
		p := &progress{out: &out, terminal: terminal}
		p.show("%d of %d", 1, 2)
		p.show("%d of %d", 2, 2)
		if _, err := p.Write([]byte("text\n")); err != nil {
			t.Fatal(err)
		}
		p.show("done")
		p.clear()
		p.clear()
		if out.String() != want {
			t.Errorf("terminal %v: %q, want %q", terminal, out.String(), want)
		}
	}
}
