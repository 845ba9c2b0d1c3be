package main

import (
	"context"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A file has the content that programs see, the content on the disk, and the
// writes in between.
type file struct {
	fs.Inode

	dir  *dir
	name string
	mode uint32

	data    []byte
	disk    []byte
	pending []write
	entered bool // the name is on the disk
}

// A write is a write of data, or sets the size if data is nil.
type write struct {
	off  int64
	data []byte
}

var (
	_ fs.NodeOpener    = (*file)(nil)
	_ fs.NodeReader    = (*file)(nil)
	_ fs.NodeWriter    = (*file)(nil)
	_ fs.NodeGetattrer = (*file)(nil)
	_ fs.NodeSetattrer = (*file)(nil)
	_ fs.NodeFsyncer   = (*file)(nil)
	_ fs.NodeFlusher   = (*file)(nil)
	_ fs.NodeAllocater = (*file)(nil)
)

// apply returns the content after a write.
func (w write) apply(content []byte) []byte {
	if w.data == nil {
		return resize(content, w.off)
	}
	if end := w.off + int64(len(w.data)); end > int64(len(content)) {
		content = resize(content, end)
	}
	copy(content[w.off:], w.data)
	return content
}

func resize(content []byte, size int64) []byte {
	if size <= int64(len(content)) {
		return content[:size]
	}
	return append(content, make([]byte, size-int64(len(content)))...)
}

// do applies a write. The caller holds the lock.
func (f *file) do(w write) {
	f.data = w.apply(f.data)
	f.pending = append(f.pending, w)
}

func (f *file) attr(out *fuse.Attr) {
	out.Mode, out.Size, out.Nlink = syscall.S_IFREG|f.mode&0o7777, uint64(len(f.data)), 1
	out.Blocks, out.Blksize = (out.Size+511)/512, 4096
}

// Open implements [fs.NodeOpener].
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, fs.OK
}

// Read implements [fs.NodeReader].
func (f *file) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	off = min(off, int64(len(f.data)))
	end := min(off+int64(len(dest)), int64(len(f.data)))
	return fuse.ReadResultData(slices.Clone(f.data[off:end])), fs.OK
}

// Write implements [fs.NodeWriter].
func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	if len(data) > 0 {
		f.do(write{off, slices.Clone(data)})
	}
	return uint32(len(data)), fs.OK
}

// Getattr implements [fs.NodeGetattrer].
func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	f.attr(&out.Attr)
	return fs.OK
}

// Setattr implements [fs.NodeSetattrer].
func (f *file) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		f.do(write{off: int64(size)})
	}
	if mode, ok := in.GetMode(); ok {
		f.mode = mode
	}
	f.attr(&out.Attr)
	return fs.OK
}

// Allocate implements [fs.NodeAllocater]. One of the drivers needs it for WAL
// mode.
func (f *file) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, _ uint32) syscall.Errno {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	if end := int64(off + size); end > int64(len(f.data)) {
		f.do(write{off: end})
	}
	return fs.OK
}

// Fsync implements [fs.NodeFsyncer]. As on Linux file systems, it also puts the
// name of a new file on the disk.
func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	for _, w := range f.pending {
		f.disk = w.apply(f.disk)
	}
	f.pending, f.entered = nil, true
	return fs.OK
}

// Flush implements [fs.NodeFlusher]: closing a file syncs nothing.
func (f *file) Flush(context.Context, fs.FileHandle) syscall.Errno { return fs.OK }
