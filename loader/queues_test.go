package loader_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/maps/counters"
)

// Promise (0 leaks): a queue that a veth is given while it is guarded is late, whether it
// lets strangers in (6.18) or not (6.1 and 6.12), and to link our program again ends it.
func TestLateQueue(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.published()
	defer gate.Close()
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
		t.Fatalf("%d of %d strangers got in over one queue; %d are late", in, strangers, n)
	}
	for _, err := range []error{h.lab.Host.SetQueues("eth0", 2, 1), h.lab.Wire.SetQueues("eth0", 1, 2)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	in, n := h.strangers(gate), late()
	t.Logf("%d of %d strangers got in over two queues", in, strangers)
	if in == strangers || n != 1 {
		t.Errorf("%d of %d strangers got in, and %d queues are late, want 1", in, strangers, n)
	}
	h.do(func() error { return gate.Relink("eth0") })
	if in, n := h.strangers(gate), late(); in != 0 || n != 0 {
		t.Errorf("linked again, %d of %d strangers got in; %d queues are late", in, strangers, n)
	}
}

const strangers = 32

// strangers knock at the closed port, each once and over a queue that chance takes. It
// returns how many reached TCP; all others are refused, and nothing else is counted. Their
// SYNs are frames of ours: TCP would send them again when the machine is slow.
func (h *host) strangers(gate *loader.Gate) (in uint64) {
	h.Helper()
	before, segments := h.counted(gate, "eth0"), labtest.TCPInSegs(h, h.lab.Host)
	eth0 := h.lab.Link("eth0")
	var frames [][]byte
	for from := range uint16(strangers) {
		frames = append(frames, labtest.Must(eth0.SYN(netip.AddrPortFrom(netlab.Unlisted4, 2000+from), netip.AddrPortFrom(eth0.Host4, closed)))(h.T))
	}
	h.must(eth0.Send(frames...))
	var after map[counters.Series]uint64
	eventually(h.T, "every stranger ends somewhere", func() bool {
		after = h.counted(gate, "eth0")
		in = labtest.TCPInSegs(h, h.lab.Host) - segments
		return in+after[refused4]-before[refused4] >= strangers
	})
	before[refused4] += strangers - in
	if diff := cmp.Diff(before, after); diff != "" {
		h.Errorf("counters after %d strangers (-want +got)\n%s", strangers, diff)
	}
	return in
}
