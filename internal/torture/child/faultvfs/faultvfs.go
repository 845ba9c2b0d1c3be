// Package faultvfs is a VFS for the ncruces driver whose calls fail on demand.
// It needs no privileges.
package faultvfs

import (
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/plainjobs/plainjobs/internal/torture/child"
)

// Name is the name of the VFS in a DSN.
const Name = "fault"

// Register registers the VFS and returns the disk that makes it fail.
func Register() child.Disk {
	d := &disk{VFSFilename: vfs.Find("").(vfs.VFSFilename)}
	vfs.Register(Name, d)
	return d
}

// A disk passes calls on to the operating system's files.
type disk struct {
	vfs.VFSFilename
	child.Counter
	distrusted atomic.Bool
}

// Arm implements [child.Disk].
func (d *disk) Arm(f child.DiskFault) {
	if f.K > 0 {
		d.distrusted.Store(false)
	}
	d.Counter.Arm(f)
}

// Distrusted implements [child.Disk].
func (d *disk) Distrusted() bool { return d.distrusted.Load() }

// Trust implements [child.Disk].
func (d *disk) Trust() { d.distrusted.Store(false) }

// fail returns the error of a call that is to fail, as the operating system
// returns it.
func (d *disk) fail(call, path string, needsRoom bool) error {
	switch fails, full := d.Fails(call, needsRoom); {
	case full:
		return &fs.PathError{Op: call, Path: path, Err: syscall.ENOSPC}
	case fails:
		return &fs.PathError{Op: call, Path: path, Err: syscall.EIO}
	}
	return nil
}

// OpenFilename implements [vfs.VFSFilename].
func (d *disk) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	path := name.String()
	if err := d.fail("open", path, false); err != nil {
		return nil, flags, err
	}
	f, out, err := d.VFSFilename.OpenFilename(name, flags)
	if err != nil {
		return nil, out, err
	}
	inner, ok := f.(osFile)
	if !ok { // a system without shared memory
		return nil, out, sqlite3.CANTOPEN
	}
	return &file{inner, d, path}, out, nil
}

// Delete implements [vfs.VFS].
func (d *disk) Delete(name string, syncDir bool) error {
	if err := d.fail("delete", name, false); err != nil {
		return err
	}
	return d.VFSFilename.Delete(name, syncDir)
}

// An osFile has the methods of the operating system's files.
type osFile interface {
	vfs.FileLockState
	vfs.FileHasMoved
	vfs.FileSizeHint
	vfs.FilePersistWAL
	vfs.FilePowersafeOverwrite
	vfs.FileSharedMemory
}

type file struct {
	osFile
	d    *disk
	path string
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.fail("read", f.path, false); err != nil {
		return 0, err
	}
	return f.osFile.ReadAt(p, off)
}

// WriteAt writes half of p when it fails, as a disk may.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.fail("write", f.path, true); err != nil {
		n, _ := f.osFile.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.osFile.WriteAt(p, off)
}

func (f *file) Truncate(size int64) error {
	if err := f.d.fail("truncate", f.path, false); err != nil {
		return err
	}
	err := f.osFile.Truncate(size)
	if err == nil && size == 0 && strings.HasSuffix(f.path, "-wal") {
		f.d.distrusted.Store(false)
	}
	return err
}

func (f *file) Sync(flags vfs.SyncFlag) error {
	if err := f.d.fail("sync", f.path, false); err != nil {
		if strings.HasSuffix(f.path, "-wal") {
			f.d.distrusted.Store(true)
		}
		return err
	}
	return f.osFile.Sync(flags)
}

func (f *file) Size() (int64, error) {
	if err := f.d.fail("size", f.path, false); err != nil {
		return 0, err
	}
	return f.osFile.Size()
}

func (f *file) SizeHint(size int64) error {
	if err := f.d.fail("allocate", f.path, true); err != nil {
		return err
	}
	return f.osFile.SizeHint(size)
}
