package loader_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/maps"
)

// Promise (0 leaks): a queue that a veth is given while it is guarded lets strangers in,
// which Inspect tells, and to link our program again ends.
func TestLateQueue(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.open()
	defer gate.Close()
	if _, err := gate.Tables.Publish(policy()); err != nil {
		t.Fatal(err)
	}
	h.attach(gate, "eth0", loader.Native)
	late := func() (n int) {
		t.Helper()
		h.do(func() error {
			at, err := gate.Inspect("eth0")
			n = at.Late
			return err
		})
		return n
	}
	if in, n := h.strangers(gate), late(); in != 0 || n != 0 {
		t.Fatalf("%d of 64 strangers got in over one queue; %d are late", in, n)
	}
	for _, err := range []error{h.lab.Host.SetQueues("eth0", 2, 1), h.lab.Wire.SetQueues("eth0", 1, 2)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if in, n := h.strangers(gate), late(); in == 0 || in == 64 || n != 1 {
		t.Errorf("%d of 64 strangers got in over two queues, %d of which are late, want some and 1", in, n)
	}
	h.do(func() error { return gate.Relink("eth0") })
	if in, n := h.strangers(gate), late(); in != 0 || n != 0 {
		t.Errorf("linked again, %d of 64 strangers got in; %d queues are late", in, n)
	}
}

// strangers sends 64 SYNs to the closed port and returns how many reached TCP. All others
// are refused, and nothing else is counted.
func (h *host) strangers(gate *loader.Gate) (in uint64) {
	h.Helper()
	before, segments := h.counted(gate, "eth0"), labtest.TCPInSegs(h, h.lab.Host)
	arrived := h.flood(5000, 64)().Arrived()
	var after map[maps.Series]uint64
	eventually(h.T, "every frame ends somewhere", func() bool {
		after = h.counted(gate, "eth0")
		in = labtest.TCPInSegs(h, h.lab.Host) - segments
		return in+after[refused4]-before[refused4] >= arrived
	})
	before[refused4] += arrived - in
	if diff := cmp.Diff(before, after); diff != "" {
		h.Errorf("counters after %d strangers (-want +got)\n%s", arrived, diff)
	}
	return in
}
