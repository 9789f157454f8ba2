// What is pinned is the gate: a look at it must not add to it, and an attachment that
// comes half way must not leave a half.
package loader_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
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
	return filepath.Join(append([]string{h.root, loader.Schema}, parts...)...)
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
		t.Errorf("the twin is left aside: %v", err)
	}
}
