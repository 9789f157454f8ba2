package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// disturb does to a running daemon all that happens to one in its life, and returns
// the daemon that runs in the end. The list has one file.
func (h *host) disturb(d *daemon, file string, args ...string) *daemon {
	h.tb.Helper()
	for range 2 {
		d.stop()
		d = h.takesOver(binary, pins.Schema, args...)
		d.kill()
		d = h.takesOver(binary, pins.Schema, args...)
	}
	for i := range 20 {
		prefix := fmt.Sprintf("192.0.2.%d", i)
		h.must("add", prefix, "--owner", "acme")
		if i%2 == 0 {
			h.must("remove", prefix)
		}
	}
	// More at once than is patched in: a publish into the other slot.
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "192.0.%d.0/24\n", i%50+100)
		fmt.Fprintf(&many, "2001:db8:%x::/48\n", i+0x100)
	}
	for range 2 {
		if r := h.feed(many.String(), "add", "-", "--owner", "bulk"); r.code != 0 {
			h.tb.Fatalf("add -: %+v", r)
		}
		h.must("remove", "--owner", "bulk")
	}
	generation := h.status().Generation
	write(h.tb, file, "192.0.2.128/28\n192.0.2.144/28\n")
	h.must("reload")
	write(h.tb, file, "192.0.2.160/28\n")
	if err := d.cmd.Process.Signal(unix.SIGHUP); err != nil {
		h.tb.Fatal(err)
	}
	h.eventually("SIGHUP reloads", func() bool { return h.status().Generation == generation+2 })
	return d
}

func write(tb testing.TB, file, text string) {
	tb.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// Promise: 0 gaps. Through restart, SIGKILL, reload, SIGHUP, patches and publishes no
// unlisted SYN reaches TCP; and the same flood does reach it when the gate is open,
// or this test would prove nothing.
func TestNoGapUnderFlood(t *testing.T) {
	h := newHost(t)
	h.serve()
	file := filepath.Join(h.dir, "acme.list")
	write(t, file, "192.0.2.128/28\n")
	args := append([]string{"--allow-file", file, "--attach", "native"}, allowed...)
	d := h.run(args...)
	seed := seed(t)

	end, segments := h.attack(seed), h.segments()
	h.disturb(d, file, args...)
	arrived := end()
	h.drops(arrived)
	if moved := h.segments() - segments; moved != 0 {
		t.Errorf("%d of %d unlisted SYNs reached TCP", moved, arrived)
	}
	want := map[string]uint64{"drop not_listed ipv4": arrived}
	if diff := gocmp.Diff(want, h.counted()); diff != "" {
		t.Errorf("counters (-want +got)\n%s", diff)
	}

	h.must("detach", "--yes")
	segments = h.segments()
	flooded, err := h.link().Flood(t.Context(), netlab.Flood{
		Sources: attackers, Target: h.api4(), Count: floodRate / 4, Rate: floodRate, Seed: seed,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.eventually("the flood reaches TCP when detached", func() bool {
		return h.segments()-segments >= flooded.Arrived()
	})
	if moved := h.segments() - segments; moved != flooded.Arrived() {
		t.Errorf("TCP was given %d segments by a detached gate, %d arrived", moved, flooded.Arrived())
	}
}

// Promise: 0 false drops. Customers connect throughout all of that, under the same
// flood, and not one SYN of theirs is lost.
func TestCustomersNoticeNothing(t *testing.T) {
	h := newHost(t)
	h.serve()
	file := filepath.Join(h.dir, "acme.list")
	write(t, file, "192.0.2.128/28\n")
	args := append([]string{"--allow-file", file, "--attach", "native"}, allowed...)
	d := h.run(args...)

	end, leave := h.attack(seed(t)), h.customers()
	h.disturb(d, file, args...)
	ipv4, ipv6 := leave()
	arrived := end()
	h.drops(arrived)

	// Segments of open connections pass uncounted by anybody; of openings each one
	// is accounted for.
	got := h.counted()
	maps.DeleteFunc(got, func(series string, _ uint64) bool { return strings.HasPrefix(series, "pass not_opening ") })
	want := map[string]uint64{
		"drop not_listed ipv4": arrived, "pass listed ipv4": ipv4, "pass listed ipv6": ipv6,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got)\n%s", diff)
	}
}
