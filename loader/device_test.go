package loader_test

// Promise guarded here: an interface is judged before anything is attached to it, by what
// the kernel tells on each release, and looking leaves nothing behind.

import (
	"errors"
	"os"
	"testing"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/needs"
)

// examine looks at an interface of the lab's host.
func (h *host) examine(name string) (d loader.Device, err error) {
	h.Helper()
	h.do(func() error {
		d, err = loader.Examine(h.root, name)
		return nil
	})
	return d, err
}

func (h *host) try() (err error) {
	h.Helper()
	h.do(func() error {
		err = loader.TryNative("eth0")
		return nil
	})
	return err
}

func TestExamine(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d, err := h.examine("eth0")
	if err != nil || d.Driver != "veth" || d.MTU != 1500 || !d.Up || d.Queues == 0 || d.Attached != "" || len(d.Offloads) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if d.Declares != nil && !d.Declares.Runs { // 6.1 does not tell
		t.Errorf("a veth declares %+v", d.Declares)
	}
	if _, err := h.examine("eth7"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no interface: %v", err)
	}
	if err := h.try(); err != nil {
		t.Errorf("tried: %v", err)
	}
	if d, err := h.examine("eth0"); err != nil || d.Attached != "" {
		t.Errorf("what was tried stayed: %+v, %v", d, err)
	}
	// Ours is told from another's, by whoever may look at the pins; neither is touched.
	gate := h.published()
	defer gate.Close()
	at := h.attach(gate, "eth0", loader.Native)
	if d, err := h.examine("eth0"); err != nil || !d.Ours || d.Attached != loader.Native || d.ProgramID != at.ProgramID {
		t.Errorf("guarded: %+v, %v", d, err)
	}
	var foreign *loader.ForeignError
	if err := h.try(); !errors.As(err, &foreign) || foreign.ProgramID != at.ProgramID {
		t.Errorf("tried where a program is: %v", err)
	}
	h.do(func() error {
		if d, err := loader.Examine(t.TempDir(), "eth0"); !errors.As(err, &foreign) || d.Ours {
			t.Errorf("of another gate: %+v, %v", d, err)
		}
		return nil
	})
	if now, err := h.examine("eth0"); err != nil || now.ProgramID != at.ProgramID {
		t.Errorf("looking changed the program: %+v, %v", now, err)
	}
}

func TestKernelHasWhatIsNeeded(t *testing.T) {
	if lacks, err := needs.Kernel(); err != nil || len(lacks) != 0 {
		t.Errorf("this kernel lacks %v, %v", lacks, err)
	}
}
