package e2e

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// takesOver runs another build and checks that it adopted the link.
func (h *host) takesOver(path, schema string, args ...string) *daemon {
	h.tb.Helper()
	before := h.linkID()
	d := h.start(path, args...)
	d.await("enforcing: the canary was dropped")
	if log := d.logged(); !strings.Contains(log, "eth0: adopted (native), no gap") {
		h.tb.Errorf("%s did not adopt:\n%s", filepath.Base(path), log)
	}
	if after := h.linkID(); after != before {
		h.tb.Errorf("link %d became %d: it was detached and attached", before, after)
	}
	h.onlySchema(schema)
	return d
}

// onlySchema checks that nothing is pinned for another schema.
func (h *host) onlySchema(schema string) {
	h.tb.Helper()
	files, err := os.ReadDir(h.bpffs())
	if err != nil {
		h.tb.Fatal(err)
	}
	var schemas []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), "v") {
			schemas = append(schemas, f.Name())
		}
	}
	if !slices.Equal(schemas, []string{schema}) {
		h.tb.Errorf("pinned are %v, want %s alone", schemas, schema)
	}
}

// programID is what runs on eth0, asked past the daemon.
func (h *host) programID() uint32 {
	h.tb.Helper()
	device, err := h.lab.Host.Netlink().LinkByName("eth0")
	if err != nil {
		h.tb.Fatal(err)
	}
	if device.Attrs().Xdp == nil {
		return 0
	}
	return device.Attrs().Xdp.ProgId
}

// linkID changes when a program was detached and attached again.
func (h *host) linkID() uint32 {
	h.tb.Helper()
	pinned, err := link.LoadPinnedLink(filepath.Join(h.bpffs(), "links", "eth0"), nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer pinned.Close()
	info, err := pinned.Info()
	if err != nil {
		h.tb.Fatal(err)
	}
	return uint32(info.ID)
}

var equalPrefixes = gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// list is the whole policy as people see it, without what changes by itself.
func (h *host) list() []api.Entry {
	h.tb.Helper()
	entries := ask[api.Listing](h, "list").Entries
	for i := range entries {
		entries[i].LastSeen, entries[i].FirstEnforced, entries[i].Hits = nil, nil, 0
	}
	return entries
}

// Promise: 0 gaps through an upgrade to another program and another schema, and back:
// no unlisted SYN reaches TCP, no listed SYN is lost, entries and counters are
// carried over.
func TestUpgrade(t *testing.T) {
	other := secondBuild(t)
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	h.must("add", "192.0.2.0/28", "2001:db8:42::/48", "--owner", "acme", "--note", "OPS-1")
	h.must("add", "192.0.2.7", "--owner", "tenant")
	entries := h.list()

	thereAndBack := func() {
		for _, build := range []struct{ path, schema string }{{other, "v0"}, {binary, pins.Schema}} {
			counters, program := h.counted(), h.programID()
			if build.schema != pins.Schema {
				d.stop()
			} else {
				d.kill()
			}
			d = h.takesOver(build.path, build.schema, allowed...)
			h.since(counters) // never backwards
			if h.programID() == program {
				t.Errorf("program %d still runs", program)
			}
			if diff := gocmp.Diff(entries, h.list(), equalPrefixes); diff != "" {
				t.Errorf("entries after %s took over (-before +after)\n%s", build.schema, diff)
			}
		}
	}

	// While only unlisted sources send, nothing at all may reach TCP.
	end, segments := h.attack(seed(t)), h.segments()
	for range 3 {
		thereAndBack()
	}
	arrived := end()
	h.drops(arrived)
	if moved := h.segments() - segments; moved != 0 {
		t.Errorf("%d of %d unlisted SYNs reached TCP", moved, arrived)
	}

	// With customers: each frame is counted once, in one program or the other.
	end, leave := h.attack(seed(t)), h.customers()
	for range 3 {
		thereAndBack()
	}
	ipv4, ipv6 := leave()
	arrived += end()
	h.drops(arrived)
	if got4, got6 := h.packets("pass", "listed", "ipv4"), h.packets("pass", "listed", "ipv6"); got4 != ipv4 || got6 != ipv6 {
		t.Errorf("%d and %d listed SYNs counted, %d and %d sent", got4, got6, ipv4, ipv6)
	}
}

// Promise: a start that dies half way, at any moment of an upgrade or of the way back,
// leaves the gate shut, and whichever build starts next ends well, with every packet
// counted once.
func TestUpgradeDiesHalfWay(t *testing.T) {
	builds := []struct{ path, schema string }{{binary, pins.Schema}, {secondBuild(t), "v0"}}
	seed := seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	h.must("add", "192.0.2.0/28", "--owner", "acme")
	entries := h.list()
	end, segments := h.attack(seed), h.segments()
	for round := range 12 {
		before := h.counted()
		d.kill()
		for range 1 + random.IntN(2) {
			h.diesHalfWay(builds[random.IntN(2)].path, random)
		}
		// The two take turns, so that each has counters of the other when it dies.
		next := builds[(round+1)%2]
		d = h.takesOver(next.path, next.schema, allowed...)
		h.since(before) // never backwards
		if diff := gocmp.Diff(entries, h.list(), equalPrefixes); diff != "" {
			t.Errorf("entries (-before +after)\n%s", diff)
		}
	}
	arrived := end()
	h.drops(arrived)
	if moved := h.segments() - segments; moved != 0 {
		t.Errorf("%d of %d unlisted SYNs reached TCP", moved, arrived)
	}
}

// diesHalfWay kills a daemon at a random moment of its start: every second time
// between the swap of the programs and the end of the clean-up, where it hurts.
func (h *host) diesHalfWay(path string, random *rand.Rand) {
	h.tb.Helper()
	program := h.programID()
	d := h.start(path, allowed...)
	after := time.Duration(random.Int64N(int64(150 * time.Millisecond)))
	if random.IntN(2) == 0 {
		after = time.Duration(random.Int64N(int64(20 * time.Millisecond)))
		for deadline := time.Now().Add(10 * time.Second); h.programID() == program && time.Now().Before(deadline); {
			time.Sleep(100 * time.Microsecond)
		}
	}
	time.Sleep(after)
	d.kill()
	if h.programID() == 0 {
		h.tb.Fatalf("killed after %v, the gate is open:\n%s", after, d.logged())
	}
}
