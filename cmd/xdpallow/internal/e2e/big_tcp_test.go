package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: 0 false drops in generic mode, which sees what the kernel has joined: segments
// of more bytes than the length field of IP can say. Linux leaves it 0 then. Of listed
// clients to the protected port, and of anybody to other ports, they pass.
func TestSegmentsLongerThan64KiB(t *testing.T) {
	t.Parallel()
	const size, most, other = 8 << 20, 100_000, port + 1
	h := newHost(t)
	for _, ns := range []*netlab.Namespace{h.lab.Host, h.lab.Wire} {
		nl := ns.Netlink()
		device, err := nl.LinkByName("eth0")
		if err == nil {
			err = errors.Join(
				nl.LinkSetGSOMaxSize(device, most), nl.LinkSetGSOIPv4MaxSize(device, most),
				nl.LinkSetGROMaxSize(device, most), nl.LinkSetGROIPv4MaxSize(device, most),
			)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []int{port, other} {
		labtest.ServeHTTP(t, h.lab.Host, fmt.Sprintf(":%d", p), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n) // the client compares
		}))
	}
	h.run(append(allowed, "--attach", "generic")...)
	for _, c := range []struct {
		client netip.Addr
		target netip.AddrPort
	}{
		{netlab.Listed4, h.api4()},
		{netlab.Listed6, h.api6()},
		{netlab.Unlisted4, netip.AddrPortFrom(h.link().Host4, other)},
		{netlab.Unlisted6, netip.AddrPortFrom(h.link().Host6, other)},
	} {
		// How much TCP sends at once, and whether the tap loses it, depends on the load: it
		// is sent again until there was such a segment.
		long := false
		for tries := 0; tries < 10 && !long; tries++ {
			inside := labtest.Must(openTap(h.lab.Host, "eth0"))(t)
			response, err := h.lab.Wire.HTTPClient(c.client, 30*time.Second).
				Post("http://"+c.target.String()+"/", "application/octet-stream", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatalf("from %s to %s: %v", c.client, c.target, err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || string(body) != fmt.Sprint(size) {
				t.Errorf("from %s to %s: %q of %d bytes came through (%v)", c.client, c.target, body, size, err)
			}
			long = inside.saw(func(frame []byte) bool {
				if c.client.Is4() {
					return frame[12] == 8 && frame[16] == 0 && frame[17] == 0 && len(frame) > 1<<15
				}
				return frame[12] == 0x86 && frame[18] == 0 && frame[19] == 0 && len(frame) > 1<<15
			})
			inside.close()
		}
		if !long {
			t.Errorf("from %s to %s: no segment was longer than its length field can say: this was no test of them", c.client, c.target)
		}
	}
	if dropped := h.packets("xdp", "drop"); dropped != 0 {
		t.Errorf("%d packets of listed clients and of other ports were dropped, as malformed: %d", dropped, h.packets("xdp", "drop", "malformed"))
	}
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, h.api4(), netlab.Dropped)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted6, h.api6(), netlab.Dropped)
}
