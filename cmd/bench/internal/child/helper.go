package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A command is what a child asks of a helper.
type command struct {
	Op    string
	Index int `json:",omitempty"`
}

// A reply is the answer to a command.
type reply struct {
	Count   int             `json:",omitempty"`
	At      int64           `json:",omitempty"` // Unix time in nanoseconds
	Runs    []byte          `json:",omitempty"` // how often each job ran
	Gap     int64           `json:",omitempty"` // nanoseconds
	Peak    int64           `json:",omitempty"` // KiB
	Samples []time.Duration `json:",omitempty"`
}

// A role is what a helper does. It calls serve with a function that answers
// commands.
type role func(ctx context.Context, d Driver, o Order, serve func(answer func(command) (reply, error)) error) error

var roles = map[string]role{
	"applicant": applicantRole,
	"drainer":   drainer,
	"pusher":    pusher,
	"resident":  resident,
}

// assist is the main function of a helper. It ends when its child does, which
// holds the pipe.
func assist(d Driver, o Order, orders *json.Decoder, out *json.Encoder) error {
	run := roles[o.Role]
	if run == nil {
		return errors.New("unknown role")
	}
	return run(context.Background(), d, o, func(answer func(command) (reply, error)) error {
		if err := out.Encode(reply{}); err != nil { // ready
			return err
		}
		for {
			var c command
			err := orders.Decode(&c)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			r, err := answer(c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Op, err)
			}
			if err := out.Encode(r); err != nil {
				return err
			}
		}
	})
}

// A helper is another process on the same file, by the same program.
type helper struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	orders  *json.Encoder
	replies *json.Decoder
	stderr  bytes.Buffer
}

// helperVar is set for helpers, so that the test program knows that it is one.
const helperVar = "PLAINJOBS_BENCH_HELPER"

// start starts a helper and waits until it is ready.
func start(ctx context.Context, o Order, role string) (*helper, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	o.Role = role
	h := &helper{cmd: exec.CommandContext(ctx, path)}
	h.cmd.Env = append(os.Environ(), helperVar+"=1")
	h.cmd.Stderr = &h.stderr
	h.cmd.WaitDelay = time.Second
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.orders, h.replies = json.NewEncoder(h.in), json.NewDecoder(out)
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	if err := h.orders.Encode(o); err != nil {
		return nil, errors.Join(err, h.close())
	}
	if _, err := h.receive(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *helper) send(op string, index int) error { return h.orders.Encode(command{op, index}) }

func (h *helper) receive() (r reply, err error) {
	if err = h.replies.Decode(&r); err != nil {
		err = errors.New("a helper ended early")
	}
	return r, err
}

func (h *helper) ask(op string, index int) (reply, error) {
	if err := h.send(op, index); err != nil {
		return reply{}, err
	}
	return h.receive()
}

// close ends the helper by the end of its input.
func (h *helper) close() error {
	_ = h.in.Close()
	err := h.cmd.Wait()
	if said := strings.TrimSpace(h.stderr.String()); said != "" {
		err = errors.Join(err, errors.New(said))
	}
	return err
}
