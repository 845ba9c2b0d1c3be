package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Call starts a child, gives it an order and waits for its answer. It returns
// what the child printed to stderr, of which an error has the first lines.
func Call(cmd *exec.Cmd, order, answer any) (logged string, err error) {
	text, err := json.Marshal(order)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe() // stays open: see EndWithParent
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_, writeErr := stdin.Write(text)
	err = cmd.Wait()
	logged = firstLines(strings.TrimSpace(stderr.String()))
	switch {
	case err != nil && logged != "":
		return "", fmt.Errorf("%w: %s", err, logged)
	case err != nil:
		return "", err
	case writeErr != nil:
		return "", writeErr
	}
	if err := json.Unmarshal(stdout.Bytes(), answer); err != nil {
		return "", fmt.Errorf("the child's answer: %w", err)
	}
	return logged, nil
}

// firstLines returns the first few lines of a text and the number of the others:
// a library that fails may log a line for each job.
func firstLines(text string) string {
	const most = 5
	lines := strings.Split(text, "\n")
	if len(lines) <= most {
		return text
	}
	return strings.Join(lines[:most], "\n") + fmt.Sprintf("\n(and %s more)", Plural(len(lines)-most, "line"))
}

// EndWithParent ends this process when its input does. A parent holds the pipe
// open for as long as it wants the answer, and the pipe closes however the parent
// ends.
func EndWithParent(in io.Reader) {
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
}
