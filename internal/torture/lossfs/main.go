// Command lossfs is a file system in memory that loses unsynced writes, as a
// disk does when the power is cut:
//
//	lossfs mountpoint
//
// It writes "ready" to its output, then reads requests for images from its
// input and answers each, all as JSON values. An image is what a power cut at
// that moment may leave. When its input ends, lossfs unmounts.
//
// It needs Linux, root and /dev/fuse. It is a module of its own, so that users
// of plainjobs do not depend on FUSE.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: lossfs mountpoint")
		os.Exit(2)
	}
	// A signal to the process group must not end lossfs: it would stay mounted.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	if err := run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lossfs:", err)
		os.Exit(1)
	}
}

func run(mountpoint string, in io.Reader, out io.Writer) error {
	root := &dir{files: map[string]*file{}}
	// Only the kernel makes changes, so it may cache.
	long := time.Hour
	server, err := fs.Mount(mountpoint, root, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long,
		MountOptions: fuse.MountOptions{FsName: "lossfs", Name: "lossfs", DirectMountStrict: true, DisableXAttrs: true},
	})
	if err != nil {
		return err
	}
	defer func() {
		if server.Unmount() != nil { // a process has a file open
			_ = syscall.Unmount(mountpoint, syscall.MNT_DETACH)
		}
	}()
	fmt.Fprintln(out, `"ready"`)
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var r request
		err := requests.Decode(&r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		image, err := root.image(r)
		if err != nil {
			image.Error = err.Error()
		}
		if err := replies.Encode(image); err != nil {
			return err
		}
	}
}
