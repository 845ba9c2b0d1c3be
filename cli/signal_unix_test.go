//go:build unix

package cli

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A worker that stops gives its handlers the grace period.
func TestStopSignals(t *testing.T) {
	// Children would inherit an ignored signal, e.g. under nohup.
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGHUP)
	defer signal.Stop(received)
	for name, c := range map[string]struct {
		signals []syscall.Signal
		status  int
	}{
		"terminated twice":               {[]syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, 0},
		"terminal closed":                {[]syscall.Signal{syscall.SIGHUP}, 0},
		"terminal closed and terminated": {[]syscall.Signal{syscall.SIGHUP, syscall.SIGTERM}, 0},
		"log without reader":             {nil, 128 + int(syscall.SIGPIPE)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stop")
			cmd := exec.Command(os.Args[0], "work", "--log", "json", "--jobs", "import", "--no-cron")
			cmd.Env = append(os.Environ(), childVariable+"="+path)
			log, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			limit := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer limit.Stop()
			lines := bufio.NewScanner(log)
			until := func(text string) {
				for lines.Scan() {
					if strings.Contains(lines.Text(), text) {
						return
					}
				}
				t.Fatalf("it exited before it printed %q", text)
			}
			until("running")
			for _, sig := range c.signals {
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			if c.signals == nil {
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				until("waiting for 1 running")
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.signals != nil {
				for lines.Scan() {
				}
			}
			err = cmd.Wait()
			status := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				status = exit.ExitCode()
			}
			if status != c.status {
				t.Errorf("it exited with %v, want status %d", err, c.status)
			}
			if _, err := os.Stat(path + ".done"); err != nil {
				t.Error("the handler was cut off")
			}
		})
	}
}
