package sqlitetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/backend"
)

// holdVariable makes the test's binary push a job into the named database and keep the
// database open until it is killed.
const holdVariable = "PLAINJOBS_TEST_HOLD"

func holdInChild(path string, open Open) {
	b, err := open(path, nil)
	if err == nil {
		_, err = b.Push(context.Background(), []backend.NewJob{newJob("a")})
	}
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("holding")
	bufio.NewScanner(os.Stdin).Scan()
}

// hold starts a process that has a database open, and returns what kills it.
func hold(t *testing.T, path string, prepare ...func(*exec.Cmd)) (kill func()) {
	t.Helper()
	kill, _ = startChild(t, holdVariable, path, "holding", prepare...)
	return kill
}

// testLeftovers replaces a database by a backup while its log still exists: its process
// was killed, or still runs.
func (d driver) testLeftovers(t *testing.T) {
	vacuum := func(t *testing.T, path, to string) { d.vacuumInto(t, path, to) }
	// A copy in WAL mode, as the online backup and a copied file are.
	whole := func(t *testing.T, path, to string) {
		d.run(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
		if err := copyFile(path, to); err != nil {
			t.Fatal(err)
		}
	}
	over := func(t *testing.T, backup, path string) {
		if err := copyFile(backup, path); err != nil { // keeps the file
			t.Fatal(err)
		}
	}
	move := func(t *testing.T, backup, path string) { rename(t, backup, path) }
	remove := func(t *testing.T, _, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		backup func(t *testing.T, path, to string)
		put    func(t *testing.T, backup, path string)
		lives  bool // the process that has the old file open
		linux  bool // detected by the creation times of the files
	}{
		{name: "VacuumCopiedOver", backup: vacuum, put: over},
		{name: "VacuumMoved", backup: vacuum, put: move},
		{name: "VacuumMovedUnderProcess", backup: vacuum, put: move, lives: true},
		{name: "CopyMoved", backup: whole, put: move, linux: true},
		{name: "CopyMovedUnderProcess", backup: whole, put: move, lives: true, linux: true},
		{name: "Removed", backup: whole, put: remove, linux: true},
		{name: "RemovedUnderProcess", backup: whole, put: remove, lives: true, linux: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.linux && runtime.GOOS != "linux" || c.lives && runtime.GOOS == "windows" {
				t.Skip("this system cannot detect it, or prevents it")
			}
			path := filepath.Join(t.TempDir(), "app.db")
			b, err := d.open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			push(t, b, "a")
			backup := path + ".backup"
			c.backup(t, path, backup)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			kill := hold(t, path)
			if !c.lives {
				kill()
			}
			c.put(t, backup, path)
			before, log := sum(path), sum(path+"-wal")
			d.refuses(t, path, backend.ErrInvalid, "another database file")
			if _, err := os.Stat(path); err == nil && sum(path) != before || sum(path+"-wal") != log {
				t.Error("a file that was refused was written to")
			}
			kill()
			for _, name := range []string{path + "-wal", path + "-shm"} {
				if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			want := int64(2)
			if c.name == "Removed" || c.name == "RemovedUnderProcess" {
				want = 1
			}
			restored := mustOpen(t, d.open, path, nil)
			push(t, restored, "a")
			if n := count(t, restored); n != want {
				t.Errorf("without the old log there are %d jobs, want %d", n, want)
			}
		})
	}
	// A database with its own log must open: after a kill, and as a copy of all files.
	t.Run("Pair", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		hold(t, path)()
		if n := count(t, mustOpen(t, d.open, path, nil)); n != 1 {
			t.Errorf("after a kill there are %d jobs, want 1", n)
		}
		path = filepath.Join(t.TempDir(), "app.db")
		hold(t, path)()
		to := filepath.Join(t.TempDir(), "copy.db")
		for _, suffix := range []string{"-wal", ""} { // the log is older than the database then
			if err := copyFile(path+suffix, to+suffix); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, mustOpen(t, d.open, to, nil)); n != 1 {
			t.Errorf("in a copy with its log there are %d jobs, want 1", n)
		}
	})
}

// testSideFiles runs processes of several users on one database. The files that they
// create next to it have its owner, group and mode, so each can continue after another
// was killed.
func (d driver) testSideFiles(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("the test needs root")
	}
	const service, other, group = 65534, 65533, 65532
	for _, c := range []struct {
		name   string
		mode   os.FileMode
		killed func(*exec.Cmd) // makes the one that is killed another user
		after  func(*exec.Cmd)
	}{
		{"SuperuserThenService", 0o600, func(*exec.Cmd) {}, as(service, service)},
		{"OtherOfGroup", 0o660, as(other, other, group), as(service, service, group)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "plainjobs") //nolint:usetesting // t.TempDir is below a directory that other users may not enter
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			binary := filepath.Join(dir, "test")
			path := filepath.Join(dir, "app.db")
			b, err := d.open(path, nil)
			if err == nil {
				err = errors.Join(b.Close(), copyFile(os.Args[0], binary), os.Chmod(binary, 0o755))
			}
			gid := service
			if c.mode == 0o660 {
				gid = group
			}
			err = errors.Join(err, os.Chmod(dir, 0o770), os.Chown(dir, service, gid), os.Chmod(path, c.mode), os.Chown(path, service, gid))
			if err != nil {
				t.Fatal(err)
			}
			use := func(become func(*exec.Cmd)) {
				t.Helper()
				hold(t, path, func(cmd *exec.Cmd) { cmd.Path = binary; become(cmd) })()
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if e.Name() == "test" {
						continue
					}
					want := c.mode
					if e.IsDir() {
						want |= 0o700 | c.mode&0o040>>2
					}
					info, err := e.Info()
					if err != nil || info.Mode().Perm() != want || groupOf(info) != gid {
						t.Errorf("%s has mode %v and group %d, %v; want %v and %d", e.Name(), info.Mode(), groupOf(info), err, want, gid)
					}
				}
			}
			use(c.killed)
			use(c.after)
			use(c.killed)
		})
	}
	// Root creates the database for the owner of the directory.
	t.Run("MadeBySuperuser", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "plainjobs") //nolint:usetesting // as above
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		path, binary := filepath.Join(dir, "app.db"), filepath.Join(dir, "test")
		err = errors.Join(copyFile(os.Args[0], binary), os.Chmod(binary, 0o755), os.Chmod(dir, 0o755), os.Chown(dir, service, service))
		if err != nil {
			t.Fatal(err)
		}
		hold(t, path)()
		hold(t, path, func(cmd *exec.Cmd) { cmd.Path = binary; as(service, service)(cmd) })()
	})
	// The error for an unusable file names its owner.
	t.Run("Forbidden", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "plainjobs") //nolint:usetesting // as above
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		path, binary := filepath.Join(dir, "app.db"), filepath.Join(dir, "test")
		b, err := d.open(path, nil) // as the superuser's first command
		if err == nil {
			err = errors.Join(b.Close(), copyFile(os.Args[0], binary), os.Chmod(binary, 0o755), os.Chmod(dir, 0o777))
		}
		if err != nil {
			t.Fatal(err)
		}
		says := func(file string) {
			t.Helper()
			cmd := exec.Command(binary, "-test.run=^$")
			cmd.Env = append(os.Environ(), openVariable+"="+path)
			as(service, service)(cmd)
			out, err := cmd.CombinedOutput()
			text := string(out)
			if err != nil || !strings.Contains(text, file+" may not be written by user ") || !strings.Contains(text, "belongs to user root") || !strings.Contains(text, "chown") {
				t.Errorf("Open of another user's file said %q, %v", out, err)
			}
		}
		says(path)
		if err := os.Chown(path, service, service); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"-shm", "-wal"} { // as older versions have left them
			if err := os.WriteFile(path+suffix, make([]byte, 100), 0o600); err != nil {
				t.Fatal(err)
			}
			says(path + suffix)
			for _, suffix := range []string{"-shm", "-wal"} {
				if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
	})
}
