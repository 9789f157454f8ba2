// The life of a gate on the running kernel: shut, handed over under attack, opened.
// It guards the promises of 0 leaks, 0 false drops and 0 gaps on every kernel that
// `make test-kernels` boots.
package loader_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

func TestGate(t *testing.T) {
	for _, mode := range []loader.Mode{loader.Native, loader.Generic} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.knock(netlab.Connected, netlab.Connected)
			first := h.shut(mode)
			second, _ := h.handOver(first.LinkID, first.ProgramID, mode)
			defer second.Close()
			h.knock(netlab.Connected, netlab.Dropped)
			h.ask(second, "eth0")
			h.detach(second)
		})
	}
}

// shut attaches a gate to eth0, looks at it, and leaves it behind.
func (h *host) shut(mode loader.Mode) loader.Attachment {
	h.Helper()
	gate := h.published()
	at := h.attach(gate, "eth0", mode)
	want := loader.Attachment{
		Interface: "eth0", Mode: mode, MTU: 1500, Ours: true, LinkID: at.LinkID, ProgramID: at.ProgramID,
	}
	if at != want || at.LinkID == 0 || at.ProgramID == 0 {
		h.Fatalf("attached: %+v, want %+v", at, want)
	}
	h.knock(netlab.Connected, netlab.Dropped)
	h.ask(gate, "eth0")
	if err := gate.Close(); err != nil {
		h.Fatal(err)
	}
	h.knock(netlab.Connected, netlab.Dropped)
	return at
}

// handOver lets a second gate adopt what the first has left, in the middle of a
// flood of which not one frame may reach TCP, and every one is counted, once.
func (h *host) handOver(linkID, programID uint32, mode loader.Mode) (*loader.Gate, loader.Attachment) {
	h.Helper()
	reader := labtest.Must(h.read())(h.T)
	defer reader.Close()
	before := h.counted(reader, "eth0")
	segments := labtest.TCPInSegs(h, h.lab.Host)
	seen := func() uint64 { return h.counted(reader, "eth0")[refused4] - before[refused4] }

	stop := h.flood(5000, 0)
	defer stop() // also when the test ends here
	eventually(h.T, "the flood begins", func() bool { return seen() > 500 })
	gate := h.open()
	at := h.attach(gate, "eth0", loader.Auto)
	adopted := seen()
	eventually(h.T, "the flood goes on", func() bool { return seen() > adopted+500 })
	arrived := stop().Arrived()

	want := loader.Attachment{
		Interface: "eth0", Mode: mode, MTU: 1500, Ours: true, Adopted: true, LinkID: linkID, ProgramID: at.ProgramID,
	}
	if at != want || at.ProgramID == programID {
		h.Errorf("adopted: %+v, want %+v with a new program", at, want)
	}
	if got := gate.Tables.Generation(); got != 1 {
		h.Errorf("generation %d was adopted, want 1", got)
	}
	leaked := func() uint64 { return labtest.TCPInSegs(h, h.lab.Host) - segments }
	eventually(h.T, "every frame ends somewhere", func() bool { return seen()+leaked() >= arrived })
	if got := leaked(); got != 0 {
		h.Errorf("%d of %d segments reached TCP, want 0", got, arrived)
	}
	before[refused4] += arrived
	if diff := cmp.Diff(before, h.counted(gate, "eth0")); diff != "" {
		h.Errorf("counters after the hand-over (-want +got)\n%s", diff)
	}
	return gate, at
}

// flood sends unlisted SYNs to the closed port until stop is called, or count of them.
func (h *host) flood(rate int, count uint64) (stop func() netlab.Flooded) {
	eth0 := h.lab.Link("eth0")
	ctx, cancel := context.WithCancel(h.Context())
	result := make(chan netlab.Flooded, 1)
	go func() {
		defer close(result)
		flooded, err := eth0.Flood(ctx, netlab.Flood{
			Sources: netlab.UnlistedPrefix4, Target: netip.AddrPortFrom(eth0.Host4, closed), Rate: rate, Count: count,
		})
		if err != nil {
			h.Error(err)
		}
		result <- flooded
	}()
	return func() netlab.Flooded {
		if count == 0 {
			cancel()
		}
		defer cancel()
		return <-result
	}
}

// detach opens the gate; the same flood now meets TCP, which shows that it would
// have been seen before.
func (h *host) detach(gate *loader.Gate) {
	h.Helper()
	h.do(func() error { return gate.Detach("eth0") })
	h.knock(netlab.Connected, netlab.Connected)
	if at, err := gate.Inspect("eth0"); err == nil {
		h.Errorf("still there after detach: %+v", at)
	}
	if linked := labtest.Must(gate.Linked())(h.T); len(linked) != 0 {
		h.Errorf("still linked after detach: %v", linked)
	}
	segments := labtest.TCPInSegs(h, h.lab.Host)
	arrived := h.flood(5000, 1000)().Arrived()
	eventually(h.T, "the flood reaches TCP", func() bool {
		return labtest.TCPInSegs(h, h.lab.Host)-segments >= arrived
	})
}

// A driver without native XDP (lo has none) gets the generic hook only when nobody
// insists, with the kernel's reason, and a refusal leaves nothing behind.
func TestLadder(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	gate := h.published()
	defer gate.Close()
	h.do(func() error {
		if at, err := gate.Attach("lo", loader.Native); err == nil {
			t.Errorf("lo was attached natively: %+v", at)
		}
		return nil
	})
	if linked := labtest.Must(gate.Linked())(t); len(linked) != 0 {
		t.Errorf("linked after a refusal: %v", linked)
	}
	if at := h.attach(gate, "lo", loader.Auto); at.Mode != loader.Generic || at.Reason == "" {
		t.Errorf("%+v, want generic with a reason", at)
	}
	ownPort := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	labtest.Expect(t, h.lab.Host, netip.MustParseAddr("127.0.0.1"), ownPort, netlab.Dropped)
}
