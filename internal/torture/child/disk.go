package child

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"

	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
)

// A Disk is a layer below the store that fails on demand.
type Disk interface {
	// Arm makes the f.K-th call from now on fail. The zero value ends all
	// failures.
	Arm(f DiskFault)
	// Struck returns how many calls have failed since it was armed.
	Struck() int
	// Distrusted reports whether a sync of the log has failed and the log was
	// not truncated since: its content may not be on the disk, even if later
	// syncs succeed.
	Distrusted() bool
	// Trust resets Distrusted, for a failed sync of another connection, of
	// which the store cannot know.
	Trust()
}

// A DiskFault says which calls fail.
type DiskFault struct {
	K       int    // counted from 1; zero is none
	Call    string // "" is any
	Forever bool   // later calls fail, too
	Full    bool   // fail as a full disk does, and only calls that need room
}

// A Counter counts calls and says which fail.
type Counter struct {
	mu     sync.Mutex
	fault  DiskFault
	calls  int
	struck int
}

// Arm sets the fault.
func (c *Counter) Arm(f DiskFault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault, c.calls, c.struck = f, 0, 0
}

// Struck returns how many calls have failed.
func (c *Counter) Struck() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.struck
}

// Fails counts a call and reports whether it fails, and whether because the
// disk is full.
func (c *Counter) Fails(call string, needsRoom bool) (fails, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.fault
	if f.K == 0 || f.Full && !needsRoom || f.Call != "" && f.Call != call {
		return false, false
	}
	c.calls++
	if c.calls == f.K || c.calls > f.K && f.Forever {
		c.struck++
		return true, f.Full
	}
	return false, false
}

// A driverDisk fails driver calls that write, for drivers that take no VFS.
type driverDisk struct{ Counter }

const (
	resultFull       = 13
	resultIOErrWrite = 778
)

func (d *driverDisk) before(call, query string) error {
	if call != faultdriver.Exec {
		return nil
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	switch verb {
	case "INSERT", "UPDATE", "DELETE", "COMMIT":
	default:
		return nil
	}
	switch fails, full := d.Fails(strings.ToLower(verb), true); {
	case full:
		return &faultdriver.Error{Result: resultFull}
	case fails:
		return &faultdriver.Error{Result: resultIOErrWrite}
	}
	return nil
}

func (d *driverDisk) after(string, string) error { return nil }

// Distrusted returns false: the driver sees no files.
func (d *driverDisk) Distrusted() bool { return false }

// Trust does nothing.
func (d *driverDisk) Trust() {}

// A vfsDriver opens databases in a VFS.
type vfsDriver struct {
	driver.Driver
	vfs string
}

// Open implements [driver.Driver].
func (d *vfsDriver) Open(dsn string) (driver.Conn, error) {
	if !strings.HasPrefix(dsn, "file:") {
		return d.Driver.Open(dsn) // in memory, without the VFS
	}
	return d.Driver.Open(dsn + "&vfs=" + d.vfs)
}

// openOn opens a store on the disk in the child's VFS, on the one in its
// driver, or on the real one.
func (c *child) openOn(where, path string) (*sqlite.Backend, Disk, error) {
	switch where {
	case DiskVFS:
		if c.Disk == nil {
			return nil, nil, errors.New("the driver has no faulty VFS")
		}
		db, err := sql.Open(c.SQL, ":memory:")
		if err != nil {
			return nil, nil, err
		}
		defer db.Close()
		b, err := sqlite.Open(&vfsDriver{db.Driver(), c.VFS}, path, nil)
		return b, c.Disk, err
	case DiskDriver:
		if c.onDriver == nil {
			c.onDriver = &driverDisk{}
		}
		b, err := c.openWithHook(c.onDriver, path, nil)
		return b, c.onDriver, err
	}
	b, err := c.Open(path, nil)
	return b, nil, err
}

// The places of a disk.
const (
	DiskVFS    = "vfs"
	DiskDriver = "driver"
	DiskReal   = "real"
)

// checkpointOn makes a checkpoint through its own connection.
func (c *child) checkpointOn(ctx context.Context, where, path string) error {
	dsn := "file:" + path + "?_txlock=deferred"
	if where == DiskVFS {
		dsn += "&vfs=" + c.VFS
	}
	db, err := sql.Open(c.SQL, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	var blocked, frames, moved int
	return db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&blocked, &frames, &moved)
}
