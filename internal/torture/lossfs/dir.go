package main

import (
	"context"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A dir is the only directory. Its lock also guards all files, so that an image
// is of one moment.
type dir struct {
	fs.Inode

	mu    sync.Mutex
	files map[string]*file
	// gone are files that were removed since the directory was synced: a power
	// cut may bring them back.
	gone []*file
}

var (
	_ fs.NodeCreater  = (*dir)(nil)
	_ fs.NodeUnlinker = (*dir)(nil)
	_ fs.NodeFsyncer  = (*dir)(nil)
	_ fs.NodeStatfser = (*dir)(nil)
)

// Create implements [fs.NodeCreater].
func (d *dir) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &file{dir: d, name: name, mode: mode}
	d.files[name] = f
	// The kernel may forget an unused inode. The file must outlive that.
	node := d.NewPersistentInode(ctx, f, fs.StableAttr{Mode: syscall.S_IFREG})
	f.attr(&out.Attr)
	return node, nil, fuse.FOPEN_KEEP_CACHE, fs.OK
}

// Unlink implements [fs.NodeUnlinker].
func (d *dir) Unlink(_ context.Context, name string) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f != nil && f.entered {
		d.gone = append(d.gone, f)
	}
	delete(d.files, name)
	if f != nil {
		f.ForgetPersistent()
	}
	return fs.OK
}

// Fsync implements [fs.NodeFsyncer]: it puts the names on the disk.
func (d *dir) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		f.entered = true
	}
	d.gone = nil
	return fs.OK
}

// Statfs implements [fs.NodeStatfser].
func (d *dir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Blocks, out.Bfree, out.Bavail, out.NameLen = 4096, 1<<24, 1<<23, 1<<23, 255
	return fs.OK
}
