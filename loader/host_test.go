// What the tests of this package share: a host of its own with a pin root of its
// own, a policy, and what the kernel says when asked from outside.
package loader_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
)

// Two guarded ports: a server listens on one, nobody on the other, where a SYN that
// gets through is a single segment for TCP to count.
const port, closed = 8443, 8444

func policy() maps.Policy {
	return maps.Policy{
		Generation: 1,
		Services:   []maps.Service{{TCP: []uint16{port, closed}, Enforce: true}},
		Entries: []maps.Entry{
			{Prefix: netlab.ListedPrefix4, Services: maps.EveryService},
			{Prefix: netlab.ListedPrefix6, Services: maps.EveryService},
		},
	}
}

// host is a protected host with a server, and where its gate is pinned.
type host struct {
	*testing.T
	lab  *netlab.Lab
	root string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{T: t, lab: labtest.New(t), root: newRoot(t)}
	labtest.Listen(t, h.lab.Host, fmt.Sprintf(":%d", port))
	return h
}

// newRoot is a directory on a BPF file system of the test's own. Not t.TempDir:
// nobody but root may look into that.
func newRoot(t *testing.T) string {
	t.Helper()
	dir := labtest.Must(os.MkdirTemp("", "xdpallow-loader-"))(t)
	t.Cleanup(func() { os.Remove(dir) })
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

// do runs fn in the host's namespace, where the interfaces are.
func (h *host) do(fn func() error) {
	h.Helper()
	if err := h.lab.Host.Do(fn); err != nil {
		h.Fatal(err)
	}
}

// open opens the gate as its owner; the test closes it.
func (h *host) open() (gate *loader.Gate) {
	h.Helper()
	h.do(func() (err error) {
		gate, err = loader.Open(h.root)
		return err
	})
	return gate
}

// read opens the gate as a reader; the test closes it.
func (h *host) read() (reader *loader.Gate, err error) {
	h.Helper()
	err = h.lab.Host.Do(func() (err error) {
		reader, err = loader.OpenReader(h.root)
		return err
	})
	return reader, err
}

// published is open, and the policy is published.
func (h *host) published() *loader.Gate {
	h.Helper()
	gate := h.open()
	if _, err := gate.Tables.Publish(policy()); err != nil {
		h.Fatal(err)
	}
	return gate
}

func (h *host) attach(g *loader.Gate, name string, mode loader.Mode) (at loader.Attachment) {
	h.Helper()
	h.do(func() (err error) {
		at, err = g.Attach(name, mode)
		return err
	})
	return at
}

// knock expects what becomes of connections from listed and unlisted clients over
// eth0, of both families.
func (h *host) knock(listed, unlisted netlab.Outcome) {
	h.Helper()
	eth0 := h.lab.Link("eth0")
	for _, c := range []struct {
		from, to netip.Addr
		want     netlab.Outcome
	}{
		{netlab.Listed4, eth0.Host4, listed},
		{netlab.Listed6, eth0.Host6, listed},
		{netlab.Unlisted4, eth0.Host4, unlisted},
		{netlab.Unlisted6, eth0.Host6, unlisted},
	} {
		labtest.Expect(h.T, h.lab.Wire, c.from, netip.AddrPortFrom(c.to, port), c.want)
	}
}

// ask expects the shadow program's answer to an opening from each kind of source.
func (h *host) ask(g *loader.Gate, name string) {
	h.Helper()
	eth0 := h.lab.Link("eth0")
	before := h.counted(g, name)
	for source, want := range map[netip.Addr]maps.Answer{
		netlab.Listed4:   {Verdict: maps.Pass, Reason: maps.Listed},
		netlab.Unlisted4: {Verdict: maps.Drop, Reason: maps.NotListed},
	} {
		frame := labtest.Must(eth0.SYN(netip.AddrPortFrom(source, 2000), netip.AddrPortFrom(eth0.Host4, port)))(h.T)
		if got := labtest.Must(g.Ask(name, frame))(h.T); got != want {
			h.Errorf("the shadow program says %v of %v, want %v", got, source, want)
		}
	}
	if diff := cmp.Diff(before, h.counted(g, name)); diff != "" {
		h.Errorf("asking was counted (-before +after)\n%s", diff)
	}
}

var refused4 = counters.Series{Verdict: maps.Drop, Reason: maps.NotListed, Family: maps.IPv4}

// counted are the series of TCP that are not zero. What neighbours say to each
// other may come at any time and is left out.
func (h *host) counted(g *loader.Gate, name string) map[counters.Series]uint64 {
	h.Helper()
	of := labtest.Must(g.Counters(name))(h.T)
	series, counts, err := of.Read()
	if err != nil {
		h.Fatal(err)
	}
	counted := map[counters.Series]uint64{}
	for i, s := range series {
		if counts[i].Packets > 0 && s.Reason != maps.NotIP && s.Reason != maps.OtherProtocol {
			counted[s] = counts[i].Packets
		}
	}
	return counted
}

// eventually waits for what the kernel does a little later.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// ownAddresses are those of the calling thread's network namespace.
func ownAddresses() ([]maps.Local, error) {
	interfaces, err := netdev.Read()
	if err != nil {
		return nil, err
	}
	return interfaces.Own()
}
