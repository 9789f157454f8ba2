package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: 0 leaks and 0 false drops, natively and generically, IPv4 and IPv6: a
// listed client is served, an unlisted one gets no answer, and the counters say so.
func TestGate(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			h := newHost(t)
			h.serve()
			h.run(append(allowed, "--attach", mode)...)
			if at := h.status().Interfaces; len(at) != 1 || at[0].Attach != mode || !at[0].Attached {
				t.Errorf("interfaces are %+v, want eth0 attached %s", at, mode)
			}
			for _, c := range []struct {
				family           string
				listed, unlisted netip.Addr
				api              netip.AddrPort
			}{
				{"ipv4", netlab.Listed4, netlab.Unlisted4, h.api4()},
				{"ipv6", netlab.Listed6, netlab.Unlisted6, h.api6()},
			} {
				response, err := h.lab.Wire.HTTPClient(c.listed, 5*time.Second).Get("http://" + c.api.String() + "/")
				if err != nil {
					t.Fatalf("listed %s client: %v", c.family, err)
				}
				response.Body.Close()
				labtest.Expect(t, h.lab.Wire, c.unlisted, c.api, netlab.Dropped)
				if listed := h.packets("pass", "listed", c.family); listed != 1 {
					t.Errorf("%d listed openings of %s counted, 1 was sent", listed, c.family)
				}
				if dropped := h.packets("drop", "not_listed", c.family); dropped == 0 {
					t.Errorf("no drop of %s counted", c.family)
				}
			}
			if all, drops := h.packets("drop"), h.packets("drop", "not_listed"); all != drops {
				t.Errorf("%d drops for another reason than not_listed", all-drops)
			}
		})
	}
}
