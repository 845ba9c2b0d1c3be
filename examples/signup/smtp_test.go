package main

import (
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
)

// A postOffice is an SMTP server that records mails.
type postOffice struct {
	net.Listener
	mails chan string // recipient, empty line, message
	once  sync.Once   // the first mail is refused temporarily
}

func newPostOffice(t *testing.T) *postOffice {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &postOffice{Listener: l, mails: make(chan string, 10)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.talk(conn)
		}
	}()
	return p
}

// talk serves one conversation.
func (p *postOffice) talk(conn net.Conn) {
	defer conn.Close()
	c := textproto.NewConn(conn)
	say := func(format string, args ...any) { _ = c.PrintfLine(format, args...) }
	say("220 ready")
	recipient := ""
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO", "MAIL":
			say("250 fine")
		case "RCPT":
			recipient = strings.Trim(strings.TrimPrefix(rest, "TO:"), "<>")
			busy := false
			p.once.Do(func() { busy = true })
			if busy {
				say("451 greylisted, try again later")
				continue
			}
			say("250 fine")
		case "DATA":
			say("354 go on")
			data, err := io.ReadAll(c.DotReader())
			if err != nil {
				return
			}
			p.mails <- fmt.Sprintf("%s\n\n%s", recipient, data)
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}
