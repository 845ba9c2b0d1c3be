package sqlite

import (
	"os"

	"golang.org/x/sys/unix"
)

// closings tells each time somebody closes a file that could be written to,
// which a process does that ends, however it ends
// (https://man7.org/linux/man-pages/man7/inotify.7.html, IN_CLOSE_WRITE). The
// channel is nil where the system cannot tell.
func closings(path string) (closed <-chan struct{}, stop func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_WRITE); err != nil {
		events.Close()
		return nil, func() {}
	}
	told, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		var event [unix.SizeofInotifyEvent + unix.NAME_MAX + 1]byte
		for {
			if _, err := events.Read(event[:]); err != nil {
				return
			}
			signal(told)
		}
	}()
	return told, func() {
		events.Close()
		<-ended
	}
}
