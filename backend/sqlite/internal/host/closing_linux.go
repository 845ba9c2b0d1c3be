package host

import (
	"os"

	"golang.org/x/sys/unix"
)

// watchClosing sends a value each time a process closes a file that was open for
// writing. The kernel also closes the files of a process that is killed
// (https://man7.org/linux/man-pages/man7/inotify.7.html, IN_CLOSE_WRITE). The
// channel is nil if inotify is not available.
func watchClosing(path string) (closed <-chan struct{}, stop func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_WRITE); err != nil {
		events.Close()
		return nil, func() {}
	}
	notices, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		var event [unix.SizeofInotifyEvent + unix.NAME_MAX + 1]byte
		for {
			if _, err := events.Read(event[:]); err != nil {
				return
			}
			select {
			case notices <- struct{}{}:
			default:
			}
		}
	}()
	return notices, func() {
		events.Close()
		<-ended
	}
}
