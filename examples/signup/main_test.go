package main

import (
	"bytes"
	"context"
	"io"
	"mime/quotedprintable"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Links in mails have the address of the server.
func TestBase(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:8080": "http://localhost:8080", ":8080": "http://localhost:8080", "[::]:80": "http://localhost:80",
		"0.0.0.0:80": "http://localhost:80", "[::1]:80": "http://[::1]:80", "localhost:0": "", "localhost": "",
	} {
		if got, err := (&app{addr: addr}).base(); got != want || (err == nil) != (want != "") {
			t.Errorf("at %s links begin with %q, %v; want %q", addr, got, err, want)
		}
	}
	if got, err := (&app{addr: ":0", url: "https://a.test"}).base(); got != "https://a.test" || err != nil {
		t.Errorf("with a URL links begin with %q, %v", got, err)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("SIGNUP_TEST_BE_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A program is a process of the program.
type program struct {
	*exec.Cmd
	ended chan struct{} // closed after the exit; err is set then
	err   error

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func start(t *testing.T, db string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	p := &program{Cmd: exec.CommandContext(ctx, os.Args[0], append(args, "--db", db)...), ended: make(chan struct{})}
	p.Env = append(os.Environ(), "SIGNUP_TEST_BE_PROGRAM=1")
	p.Stdout, p.Stderr = p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.Wait()
	}()
	return p
}

// wait waits until the program exits.
func (p *program) wait() error {
	<-p.ended
	return p.err
}

// find waits until the output matches a pattern, and returns its first group.
func (p *program) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if found := re.FindStringSubmatch(p.said()); found != nil {
			return found[1]
		}
		select {
		case <-p.ended:
			t.Fatalf("it exited with %v before its output matched %s: %s", p.err, pattern, p.said())
		case <-deadline.Done():
			t.Fatalf("its output does not match %s: %s", pattern, p.said())
		case <-tick.C:
		}
	}
}

func (p *program) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		t.Errorf("it exited with %v: %s", err, p.said())
	}
}

func post(t *testing.T, address string, form url.Values) string {
	t.Helper()
	r, err := http.PostForm(address, form)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s: %s", address, r.Status, text)
	}
	return string(text)
}

// The whole path: a form is sent; the mail arrives although the server first refuses it;
// the link is followed; the contact is on the list.
func TestWholePath(t *testing.T) {
	office := newPostOffice(t)
	db := filepath.Join(t.TempDir(), "signup.db")
	p := start(t, db, "dev", "--addr", "127.0.0.1:0", "--url", "http://signup.test", "--smtp", office.Addr().String())
	site := p.find(t, `open (http://\S+)`)
	if got := post(t, site+"/contacts", url.Values{"email": {"ada@example.com"}}); !strings.Contains(got, "A mail is on its way") {
		t.Errorf("the answer to the form is %s", got)
	}
	p.find(t, `(double-opt-in #1 .*retry in .*greylisted)`)
	var mail string
	select {
	case mail = <-office.mails:
	case <-time.After(30 * time.Second):
		t.Fatalf("no mail arrived: %s", p.said())
	}
	to, message, _ := strings.Cut(mail, "\n\n")
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(message)))
	if err != nil || to != "ada@example.com" {
		t.Fatalf("the mail to %s is %q, %v", to, message, err)
	}
	token := regexp.MustCompile(`http://signup\.test/confirm\?token=(\S+)`).FindSubmatch(text)
	if token == nil {
		t.Fatalf("the mail has no link: %s", text)
	}
	r, err := http.Get(site + "/confirm?token=" + string(token[1]))
	if err != nil {
		t.Fatal(err)
	}
	button, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || !bytes.Contains(button, token[1]) {
		t.Fatalf("the link shows %s, %v", button, err)
	}
	got := post(t, site+"/confirm", url.Values{"token": {string(token[1])}})
	if !strings.Contains(got, "ada@example.com is on the list") || !strings.Contains(got, "1 of 1 have confirmed") {
		t.Errorf("the answer to the confirmation is %s", got)
	}
	p.find(t, `✓ (double-opt-in #1)`)
	p.stop(t)

	// Without a server it prints mails.
	p = start(t, db, "dev", "--addr", "127.0.0.1:0", "--url", "http://signup.test")
	site = p.find(t, `open (http://\S+)`)
	post(t, site+"/contacts", url.Values{"email": {"bob@example.com"}})
	p.find(t, `To: (bob@example.com)\n  Subject: Please confirm\n`)
	p.stop(t)

	list := start(t, db, "list")
	if err := list.wait(); err != nil || !strings.Contains(list.said(), "double-opt-in  schema.Contact  yes") ||
		!strings.Contains(list.said(), "weekdays-at-six  0 6 * * 1-5") {
		t.Errorf("list printed %s, %v", list.said(), err)
	}
}
