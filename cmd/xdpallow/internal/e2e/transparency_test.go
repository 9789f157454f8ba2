package e2e

// This file compares: what clients, neighbours and the host itself can do with the
// filter is what they can do without it.

import (
	"errors"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Ports of a scene. The daemon protects port and rawPort for TCP, port for UDP.
const (
	rawPort   = port + 1 // echoes without TLS
	otherPort = 9000     // nobody protects it
	dnsPort   = 53       // of servers on the wire
)

// Clients of a scene that sit behind a router with a narrow link; they are listed.
var (
	distant4, distantPrefix4 = netip.MustParseAddr("192.0.2.7"), netip.MustParsePrefix("192.0.2.0/24")
	distant6, distantPrefix6 = netip.MustParseAddr("2001:db8:c::7"), netip.MustParsePrefix("2001:db8:c::/48")
)

// scene is a host with all that an API host does, and everybody it talks to.
type scene struct {
	*host
	distant *netlab.Namespace // behind the wire, which routes
	api     *httptest.Server  // TLS, on the protected port
}

// action is what somebody does; it returns what came of it. The same words with and
// without the filter are the test.
type action struct {
	name string
	do   func(s *scene) (seen string, err error)
}

func newScene(tb testing.TB) *scene {
	tb.Helper()
	s := &scene{host: newHost(tb)}
	s.distant = labtest.New(tb).Wire
	for _, setting := range []struct {
		ns         *netlab.Namespace
		key, value string
	}{
		{s.lab.Host, "ipv4/tcp_ecn", "1"},
		{s.lab.Wire, "ipv4/tcp_ecn", "1"},
		{s.lab.Host, "ipv4/tcp_fastopen", "1027"}, // 0x400: every listener
		{s.lab.Wire, "ipv4/tcp_fastopen", "1"},
		{s.lab.Wire, "ipv4/ip_forward", "1"},
		{s.lab.Wire, "ipv6/conf/all/forwarding", "1"},
	} {
		sysctl(tb, setting.ns, setting.key, setting.value)
	}
	if err := s.route(); err != nil {
		tb.Fatal(err)
	}
	s.serveAPI()
	s.serveOthers()
	return s
}

// narrow is the MTU behind the router, in bytes.
const narrow = 1300

// route puts the distant namespace behind the wire, over a link that is narrow on the
// way there: its router has to say "too big" to whoever sends full frames.
func (s *scene) route() error {
	file, err := os.Open(s.distant.Path())
	if err != nil {
		return err
	}
	defer file.Close()
	nl := s.lab.Wire.Netlink()
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: "far"})
	pair.PeerName, pair.PeerNamespace = "far", netlink.NsFd(file.Fd())
	if err := nl.LinkAdd(pair); err != nil {
		return err
	}
	for ns, addrs := range map[*netlab.Namespace][]string{
		s.lab.Wire: {"10.90.0.1/24", "fd90::1/64"},
		s.distant:  {"10.90.0.2/24", "fd90::2/64", "192.0.2.7/24", "2001:db8:c::7/48"},
	} {
		err = errors.Join(err, ns.SetUp("far", true))
		for _, addr := range addrs {
			err = errors.Join(err, ns.AddAddr("far", netip.MustParsePrefix(addr)))
		}
	}
	far, failed := nl.LinkByName("far")
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	for _, to := range []netip.Prefix{distantPrefix4, distantPrefix6} {
		dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
		err = errors.Join(err, nl.RouteReplace(&netlink.Route{LinkIndex: far.Attrs().Index, Dst: dst, MTU: narrow}))
	}
	return errors.Join(
		err,
		s.distant.AddRoute(netip.PrefixFrom(s.link().Host4, 32), netip.MustParseAddr("10.90.0.1"), "far", 1),
		s.distant.AddRoute(netip.PrefixFrom(s.link().Host6, 128), netip.MustParseAddr("fd90::1"), "far", 1),
	)
}

// play does everything in turn.
func (s *scene) play() map[string]string {
	s.tb.Helper()
	seen := map[string]string{}
	for _, actions := range [][]action{clientActions(), pathActions(), strangerActions(), neighbourActions(s), hostActions()} {
		for _, a := range actions {
			text, err := a.do(s)
			if err != nil {
				text = "error: " + err.Error()
			}
			if _, twice := seen[a.name]; twice {
				s.tb.Fatalf("two actions are called %q", a.name)
			}
			seen[a.name] = text
		}
	}
	return seen
}

// guard starts the daemon in a scope, natively and with the backstop.
func (s *scene) guard(scope string) *daemon {
	s.tb.Helper()
	d := s.run("--attach", "native", "--drop", scope, "--port", "8443,8444,udp/8443",
		"--allow", netlab.ListedPrefix4.String(), "--allow", netlab.ListedPrefix6.String(),
		"--allow", distantPrefix4.String(), "--allow", distantPrefix6.String())
	if now := s.status(); s.guarded("eth0") != "native" || now.Backstop == nil || !now.Enforcing {
		s.tb.Fatalf("not guarded as this test needs it: %+v", now)
	}
	return d
}

// Promise: 0 false drops. Every client of the list, every neighbour, the host's own
// connections and everybody's other ports are as without the filter, in every scope.
func TestTransparency(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]map[string]string{}
	scopes := []string{"bare", "syn", "stray", "strict"}
	t.Run("play", func(t *testing.T) {
		for _, scope := range scopes {
			t.Run(scope, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				if scope != "bare" {
					s.guard(scope)
				}
				played := s.play()
				mu.Lock()
				seen[scope] = played
				mu.Unlock()
				if scope == "bare" {
					return
				}
				for _, layer := range [][]string{{"drop"}, {"drop", "backstop"}} {
					if dropped := s.packets(layer...); dropped != 0 {
						t.Errorf("%d packets counted as %v", dropped, layer)
					}
				}
				// The control: it is no open door that all of this went through.
				labtest.Expect(t, s.lab.Wire, netlab.Unlisted4, s.api4(), netlab.Dropped)
				labtest.Expect(t, s.lab.Wire, netlab.Unlisted6, s.api6(), netlab.Dropped)
			})
		}
	})
	for name, bare := range seen["bare"] {
		if strings.HasPrefix(bare, "error: ") {
			t.Errorf("%s: without a filter it does not work either: %s", name, bare)
		}
		for _, scope := range scopes[1:] {
			if got := seen[scope][name]; got != bare {
				t.Errorf("%s, scope %s: %s; without the filter: %s", name, scope, got, bare)
			}
		}
	}
}
