package loader_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/maps/counters"
)

// Promise: a pin that is not what its place is for stops a start with the command that
// takes it away, after which the start goes on.
func TestForeignPins(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.published()
	defer gate.Close()
	foreign, err := counters.New()
	h.must(err)
	defer foreign.Close()
	link := filepath.Join(h.root, "links", "eth0")
	h.must(foreign.Pin(link), os.Mkdir(h.schema("counters", "eth0"), 0o700))
	for _, path := range []string{link, h.schema("counters", "eth0")} {
		err := h.lab.Host.Do(func() error {
			_, err := gate.Attach("eth0", loader.Native)
			return err
		})
		var hinting interface{ Hint() string }
		if !errors.As(err, &hinting) || !strings.Contains(err.Error(), path) || hinting.Hint() != "rm -r "+path {
			t.Fatalf("with a foreign pin at %s: %v", path, err)
		}
		h.must(os.RemoveAll(path)) // as the hint says; a guest of the kernels tool has no rm
	}
	h.attach(gate, "eth0", loader.Native)
	h.knock(netlab.Connected, netlab.Dropped)
}

// Promise: no file of somebody else is hidden: where a pin root would need a mount over a
// directory that has files, it is refused.
func TestNothingIsMountedOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gate, err := loader.Open(dir)
	if err == nil {
		gate.Close()
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	var hinting interface{ Hint() string }
	if !errors.As(err, &hinting) || !strings.Contains(err.Error(), dir+" is not on a BPF file system, and has files") {
		t.Errorf("%v, want a refusal with a hint", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Errorf("the file is hidden: %v", err)
	}
}
