package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: lo carries the host's own clients, who are not to be dropped: it is refused, on
// the command line and in the config file, also as an interface of an old list.
func TestLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	config := filepath.Join(h.dir, "config.yaml")
	h.check(os.WriteFile(config, []byte("interfaces:\n  - eth0\n  - lo\nservices:\n  api:\n    ports: [8443]\n"), 0o600))
	for where, args := range map[string][]string{
		"":            {"run", "--interface", "lo,eth0", "--port", "8443", "--allow", "203.0.113.0/24"},
		config + ":3": {"run", "--config", config, "--allow", "203.0.113.0/24"},
	} {
		r := h.cli(args...)
		if r.code != 2 || !strings.Contains(r.stderr, where) || !strings.Contains(r.stderr, "lo is the loopback interface") {
			t.Errorf("xdpallow %v: exit %d\n%s", args, r.code, r.stderr)
		}
	}
}

// Promise: a bridge that leads containers or VMs is told apart among what is uncovered:
// what comes in by it are their own connections. One that does not forward is not.
func TestBridgeOfContainers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for name, addr := range map[string]string{"docker0": "172.17.0.1/16", "br1": "172.18.0.1/16"} {
		for _, args := range [][]string{
			{"link", "add", name, "type", "bridge"},
			{"link", "add", "v" + name, "type", "veth", "peer", "name", "p" + name},
			{"link", "set", "v" + name, "master", name, "up"},
			{"addr", "add", addr, "dev", name},
			{"link", "set", name, "up"},
		} {
			h.ip(args...)
		}
	}
	h.check(h.lab.Host.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/docker0/forwarding", []byte("1"), 0)
	}))
	h.run(allowed...)
	var s struct{ Uncovered, Routed []string }
	h.check(json.Unmarshal([]byte(h.must("status", "-o", "json")), &s))
	if !slices.Equal(s.Uncovered, []string{"br1", "docker0"}) || !slices.Equal(s.Routed, []string{"docker0"}) {
		t.Errorf("uncovered %q, routed %q; want br1 and docker0, docker0", s.Uncovered, s.Routed)
	}
	if text := h.must("status"); !strings.Contains(text, "docker0, which leads containers or VMs") || strings.Contains(text, "br1, which") {
		t.Errorf("the table does not tell them apart:\n%s", text)
	}
}

// Promise: an interface is named by any of its names, of any length that the kernel takes,
// and a bridge stands for its ports, also to detach, with a daemon and without.
func TestDetachByAnyName(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const long = "uplink-of-the-rack-in-the-basement-0"
	labtest.Must(h.lab.AddLink("eth1"))(t)
	labtest.Must(h.lab.AddLink("eth2"))(t)
	handle := h.lab.Host.Netlink()
	h.check(handle.LinkAddAltName(labtest.Must(handle.LinkByName("eth1"))(t), long))
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	h.check(handle.LinkAdd(bridge))
	h.check(handle.LinkSetMaster(labtest.Must(handle.LinkByName("eth2"))(t), bridge))
	names := []string{"--interface", "eth0," + long + ",br0"}
	d := h.run(append(allowed, names...)...)
	for _, name := range []string{"eth0", "eth1", "eth2"} {
		h.eventually(name+" guarded", func() bool { return h.guarded(name) != "" })
	}
	h.must("detach", "--yes", "--interface", long)
	h.must("detach", "--yes", "--interface", "br0")
	if s := h.status(); len(s.Interfaces) != 1 || s.Interfaces[0].Name != "eth0" {
		t.Errorf("guarded are %+v, want eth0 alone", s.Interfaces)
	}
	d.stop()
	h.run(append(allowed, names...)...).kill()
	h.must("detach", "--yes", "--interface", long)
	h.must("detach", "--yes", "--interface", "br0")
	if r := h.cli("detach", "--yes", "--interface", "nosuch0"); r.code != 1 || !strings.Contains(r.stderr, "nosuch0 is not guarded") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
}

// ip runs ip in the host's namespace.
func (h *host) ip(args ...string) {
	h.tb.Helper()
	if out, err := labtest.Command(context.Background(), h.lab.Host, append([]string{"ip"}, args...)...).CombinedOutput(); err != nil {
		h.tb.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}
