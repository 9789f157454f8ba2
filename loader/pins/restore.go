package pins

// This file puts back pins that somebody removed or replaced. An open handle keeps the object
// alive without its pin, but the next daemon finds only what is pinned.

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Restore pins object at path again when nothing or something else is there, and reports
// whether it had to. It returns an error when it cannot find out what is there.
func Restore(path string, object Object) (restored bool, err error) {
	want, err := ID(object)
	if err != nil {
		return false, err
	}
	pinned, err := loadLike(path, object)
	switch {
	case err == nil:
		id, idErr := ID(pinned)
		pinned.Close()
		if idErr == nil && id == want {
			return false, nil
		}
	case unanswered(err):
		// What is there may be ours. Unpinned, only this process would keep it, and this
		// process is in trouble.
		return false, fmt.Errorf("look at pin %s: %w", path, err)
	}
	// A copy, because our object remembers its pin, and would move what is there now.
	copied, err := duplicate(object)
	if err != nil {
		return false, err
	}
	defer copied.Close()
	// A rename replaces whatever is there, but not a directory.
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if err := os.Remove(path); err != nil {
			return false, fmt.Errorf("clear %s: %w", path, err)
		}
	}
	return true, Put(path, copied)
}

// unanswered reports whether err is about this process or host and leaves open what is at a
// path: no file descriptors, no memory, no permission.
func unanswered(err error) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EINTR, unix.EAGAIN, unix.EPERM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

type closer interface {
	Object
	Close() error
}

// loadLike loads what is pinned at path as the kind of object that object is.
func loadLike(path string, object Object) (closer, error) {
	switch object.(type) {
	case *ebpf.Program:
		return ebpf.LoadPinnedProgram(path, nil)
	case *ebpf.Map:
		return ebpf.LoadPinnedMap(path, nil)
	case link.Link:
		return link.LoadPinnedLink(path, nil)
	}
	return nil, os.ErrInvalid
}

// duplicate returns another handle of object, which remembers no pin. The caller closes it.
func duplicate(object Object) (closer, error) {
	switch o := object.(type) {
	case *ebpf.Program:
		return o.Clone()
	case *ebpf.Map:
		return o.Clone()
	case interface{ FD() int }:
		fd, err := unix.FcntlInt(uintptr(o.FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("copy the handle of a link: %w", err)
		}
		return link.NewFromFD(fd)
	}
	return nil, os.ErrInvalid
}

// ID returns the id that the kernel gave a program, a map or a link.
func ID(object Object) (uint32, error) {
	switch o := object.(type) {
	case *ebpf.Program:
		info, err := o.Info()
		if err != nil {
			return 0, err
		}
		id, _ := info.ID()
		return uint32(id), nil
	case *ebpf.Map:
		info, err := o.Info()
		if err != nil {
			return 0, err
		}
		id, _ := info.ID()
		return uint32(id), nil
	case link.Link:
		info, err := o.Info()
		if err != nil {
			return 0, err
		}
		return uint32(info.ID), nil
	}
	return 0, os.ErrInvalid
}
