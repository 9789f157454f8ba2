// What is pinned is the gate: a look at it must not add to it, and an attachment that
// comes half way must not leave a half.
package loader_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// pinned lists every file and directory under the root.
func (h *host) pinned() (paths []string) {
	h.Helper()
	err := filepath.WalkDir(h.root, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	return paths
}

func (h *host) schema(parts ...string) string {
	return filepath.Join(append([]string{h.root, pins.Schema}, parts...)...)
}

// Promise: a reader makes nothing. Something that is missing is an error, again each
// time, and not a new map that nobody writes to.
func TestReaderMakesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.published()
	h.attach(gate, "eth0", loader.Auto)
	gate.Close()

	whole := h.pinned()
	reader := labtest.Must(h.read())(t)
	h.ask(reader, "eth0")
	reader.Close()
	if got := h.pinned(); !slices.Equal(got, whole) {
		t.Errorf("pinned after a look: %q, before: %q", got, whole)
	}
	for _, path := range []string{h.schema("local"), h.schema("counters", "eth0")} {
		aside := filepath.Join(h.root, "aside")
		if err := os.Rename(path, aside); err != nil {
			t.Fatal(err)
		}
		before := h.pinned()
		for range 2 {
			if reader, err := h.read(); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("without %s: %v, %v", path, reader, err)
			}
		}
		if got := h.pinned(); !slices.Equal(got, before) {
			t.Errorf("pinned after a look without %s: %q, before: %q", path, got, before)
		}
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
	}
	labtest.Must(h.read())(t).Close()
}

// Promise: an attachment that cannot be pinned is none, whatever of it could be pinned
// before, and does not stand in the way of the next.
func TestFailedPinLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"links", "twins", "programs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			gate := h.published()
			defer gate.Close()
			// Pins are made aside first: a directory there is not cleared away.
			dir := h.schema(kind)
			if kind == "links" {
				dir = filepath.Join(h.root, kind)
			}
			blocked := filepath.Join(dir, "~eth0")
			if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			h.do(func() error {
				if at, err := gate.Attach("eth0", loader.Auto); err == nil {
					t.Errorf("attached: %+v", at)
				}
				return nil
			})
			for _, path := range []string{filepath.Join(h.root, "links", "eth0"), h.schema("programs", "eth0"), h.schema("twins", "eth0")} {
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", path, err)
				}
			}
			h.knock(netlab.Connected, netlab.Connected)
			if err := os.RemoveAll(blocked); err != nil {
				t.Fatal(err)
			}
			h.attach(gate, "eth0", loader.Auto)
			h.knock(netlab.Connected, netlab.Dropped)
		})
	}
}

// Promise: a pin that cannot be put into its place leaves none beside it, where a link
// would stay attached.
func TestFailedPinLeavesNothingAside(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.open()
	defer gate.Close()
	// A pin takes the place of a pin, but not of a directory.
	if err := os.Mkdir(h.schema("twins", "eth0"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.do(func() error {
		if at, err := gate.Attach("eth0", loader.Auto); err == nil {
			t.Errorf("attached: %+v", at)
		}
		return nil
	})
	if _, err := os.Lstat(h.schema("twins", "~eth0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the shadow program is left aside: %v", err)
	}
}

// Promise: something else under the name of a pin is replaced by a rename: at no moment is
// there no pin, and a daemon that is killed in between leaves the gate shut.
func TestWrongPinIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.published()
	defer gate.Close()
	before := h.attach(gate, "eth0", loader.Auto)
	for what, path := range map[string]string{
		"link": filepath.Join(h.root, "links", "eth0"), "program": h.schema("programs", "eth0"), "counters": h.schema("counters", "eth0"),
	} {
		wrong := labtest.Must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}))(t)
		defer wrong.Close()
		if err := errors.Join(os.Remove(path), wrong.Pin(path)); err != nil {
			t.Fatal(err)
		}
		gone := watchName(t, path)
		h.do(func() error { _, err := gate.Repin(); return err })
		if gone() {
			t.Errorf("%s: it was unpinned before it was pinned", what)
		}
		if again := labtest.Must(gate.Repin())(t); len(again.Links)+len(again.Programs)+len(again.Counters) > 0 {
			t.Errorf("%s: it was not put back: %+v", what, again)
		}
	}
	if err := gate.Close(); err != nil {
		t.Fatal(err)
	}
	h.knock(netlab.Connected, netlab.Dropped)
	next := h.open()
	defer next.Close()
	if at := h.attach(next, "eth0", loader.Auto); !at.Adopted || at.LinkID != before.LinkID {
		t.Errorf("the next daemon found %+v, want link %d", at, before.LinkID)
	}
}

// watchName returns whether the name was ever taken away since.
func watchName(t *testing.T, path string) (gone func() bool) {
	t.Helper()
	fd := labtest.Must(unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC))(t)
	t.Cleanup(func() { unix.Close(fd) })
	labtest.Must(unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO))(t)
	return func() (gone bool) {
		t.Helper()
		events := make([]byte, 64<<10)
		n, err := unix.Read(fd, events)
		if err != nil {
			t.Fatalf("nothing was seen to happen to %s: %v", path, err)
		}
		for events = events[:n]; len(events) > 0; {
			mask, size := binary.NativeEndian.Uint32(events[4:]), binary.NativeEndian.Uint32(events[12:])
			name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+size])
			gone = gone || name == filepath.Base(path) && mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0
			events = events[unix.SizeofInotifyEvent+size:]
		}
		return gone
	}
}
