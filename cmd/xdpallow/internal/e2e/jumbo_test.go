package e2e

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: an MTU of 9000 is guarded natively, and large transfers of a listed client
// arrive as they were sent, both ways.
func TestJumboFrames(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, ns := range []*netlab.Namespace{h.lab.Host, h.lab.Wire} {
		if err := labtest.SetMTU(ns, "eth0", 9000); err != nil {
			t.Fatal(err)
		}
	}
	const size = 16 << 20
	content := make([]byte, size)
	seed := [32]byte{9}
	_, _ = rand.NewChaCha8(seed).Read(content) // never fails
	// An echo: what came back went both ways.
	labtest.ServeHTTP(t, h.lab.Host, ":8443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(body) // the client compares
	}))
	h.run(append(allowed, "--attach", "native")...)
	if mode := h.guarded("eth0"); mode != "native" {
		t.Fatalf("attached %q at MTU 9000, want native", mode)
	}
	before := labtest.Must(h.lab.Host.Statistics("eth0"))(t)
	for _, target := range []string{h.api4().String(), h.api6().String()} {
		client := netlab.Listed4
		if target[0] == '[' {
			client = netlab.Listed6
		}
		response, err := h.lab.Wire.HTTPClient(client, 30*time.Second).Post("http://"+target+"/", "application/octet-stream", bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || sha256.Sum256(body) != sha256.Sum256(content) {
			t.Errorf("%s: %d bytes of %d came back, or others (%v)", target, len(body), size, err)
		}
	}
	after := labtest.Must(h.lab.Host.Statistics("eth0"))(t)
	if frame := (after.RxBytes - before.RxBytes) / max(1, after.RxPackets-before.RxPackets); frame < 3000 {
		t.Errorf("frames had %d bytes on average: this was no test of large ones", frame)
	}
	if h.packets("drop", "ipv4")+h.packets("drop", "ipv6") > 0 {
		t.Error("a listed client's packets were dropped")
	}
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, h.api4(), netlab.Dropped)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted6, h.api6(), netlab.Dropped)
}
