package pins

// This file puts back a pin that somebody else took or replaced: our handles keep an object
// alive without it, and the next daemon finds only what is pinned.

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Restore pins object at path again when what is pinned there is gone, or is something else,
// and reports whether it had to. An error when it cannot be told what is there.
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
		// What is there may be ours. To unpin it would leave the gate to this process
		// alone, which is in trouble.
		return false, fmt.Errorf("look at pin %s: %w", path, err)
	}
	// A copy, because our object thinks that it is pinned still, and would move what is there.
	copied, err := duplicate(object)
	if err != nil {
		return false, err
	}
	defer copied.Close()
	// What is there may be anything. A directory is no pin, and no rename replaces it.
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if err := os.Remove(path); err != nil {
			return false, fmt.Errorf("clear %s: %w", path, err)
		}
	}
	return true, Put(path, copied)
}

// unanswered reports whether err tells of this process or host, and not of what it looked for.
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

// duplicate is another handle of object, which was never pinned.
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

// ID returns the kernel's number of a program, a map or a link.
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
