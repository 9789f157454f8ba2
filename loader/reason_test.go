package loader_test

import (
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader"
)

// Promise: why an interface is not native is said in the driver's own words, not guessed
// from the number of its error; asking for them leaves no program behind. The reason is
// not forgotten by the next daemon.
func TestReasonIsTheDrivers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.must(h.lab.Wire.SetQueues("eth0", 1, 2)) // more than eth0 receives on
	gate := h.published()
	const words = "XDP expects number of rx queues not less than peer tx queues"
	at := h.attach(gate, "eth0", loader.Auto)
	if at.Mode != loader.Generic || !strings.Contains(at.Reason, words) {
		t.Errorf("%s, because %q; want generic, because %q", at.Mode, at.Reason, words)
	}
	if !at.Ours {
		t.Errorf("%+v, want our program and no other", at)
	}
	h.must(gate.Close())
	gate = h.open()
	defer gate.Close()
	if at := h.attach(gate, "eth0", loader.Auto); !at.Adopted || !strings.Contains(at.Reason, words) {
		t.Errorf("adopted %v, because %q; want the reason that it had, %q", at.Adopted, at.Reason, words)
	}
}
