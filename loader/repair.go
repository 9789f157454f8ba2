package loader

// This file puts back what somebody else took from an attachment that we hold. Our
// handles keep programs and links alive without their pins, and the next daemon finds
// only what is pinned.

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Relink makes the link of name run our program again, in place of another's, and on all
// queues: by updates, so that no packet meets neither. The first is to a copy, for to the
// kernel an update to the program that is there is nothing to do.
func (g *Gate) Relink(name string) error {
	a, err := g.attachment(name)
	if err != nil {
		return err
	}
	copied, err := g.loadProgram(programOf(name, a.ipFirst), a.counters.Live, constants{ipFirst: a.ipFirst})
	if err != nil {
		return err
	}
	defer copied.Close()
	queues := netdev.VethQueues(name) // before: what comes meanwhile is late
	for _, program := range []*ebpf.Program{copied, a.program} {
		if err := a.link.Update(program); err != nil {
			return notUpdated(name, err)
		}
	}
	a.queues.Store(queues)
	return nil
}

// RelinkBackstop is Relink for the socket lookups.
func (g *Gate) RelinkBackstop() error { return g.Relink(backstop) }

// Repinned says what Repin had to put back.
type Repinned struct{ Links, Programs, Counters []string }

// Repin pins again what is no longer pinned of what is attached, or is pinned under its
// name and is something else.
func (g *Gate) Repin() (r Repinned, err error) {
	if err := ensureBPFFS(g.root); err != nil {
		return r, err
	}
	if err := g.makeDirectories(); err != nil {
		return r, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, a := range g.attached {
		file := escape(name)
		for _, pinned := range []struct {
			restored *[]string
			path     string
			object   pinner
		}{
			{&r.Programs, g.schema("programs", file), a.program},
			{&r.Programs, g.schema("twins", file), a.twin},
			{&r.Counters, g.schema("counters", file), a.counters.Live},
			{&r.Links, g.link(name), a.link}, // the last: see pinAll
		} {
			restored, oneErr := repin(pinned.path, pinned.object)
			if oneErr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, oneErr))
			} else if restored && !slices.Contains(*pinned.restored, name) {
				*pinned.restored = append(*pinned.restored, name)
			}
		}
	}
	return r, err
}

func repin(path string, object pinner) (restored bool, err error) {
	want, err := kernelID(object)
	if err != nil {
		return false, err
	}
	pinned, err := loadLike(path, object)
	switch {
	case err == nil:
		id, idErr := kernelID(pinned)
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
	return true, pin(path, copied)
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
	pinner
	Close() error
}

// loadLike loads what is pinned at path as the kind of object that object is.
func loadLike(path string, object pinner) (closer, error) {
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
func duplicate(object pinner) (closer, error) {
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

func kernelID(object pinner) (uint32, error) {
	switch o := object.(type) {
	case *ebpf.Program:
		return programID(o)
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
