package e2e

// This file is about what comes in by lo, which is not only the host itself.

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// onLoopback puts the API on an address of lo, which the wire reaches by eth1.
func (h *openHost) onLoopback() (api netip.AddrPort) {
	h.tb.Helper()
	second := labtest.Must(h.lab.AddLink("eth1"))(h.tb)
	api = netip.AddrPortFrom(netip.MustParseAddr("10.99.0.1"), port)
	if err := h.lab.Wire.AddRoute(netip.PrefixFrom(api.Addr(), 32), second.Host4, "eth1", 1); err != nil {
		h.tb.Fatal(err)
	}
	return api
}

// opened reports whether a client of the wire gets as far as the server's accept.
func (h *openHost) opened(client netip.Addr, api netip.AddrPort) bool {
	h.tb.Helper()
	conn, err := h.lab.Wire.DialContext(context.Background(), "tcp", client, api.String())
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET) {
		return false
	}
	if err != nil {
		h.tb.Fatal(err)
	}
	defer conn.Close()
	at := netip.MustParseAddrPort(conn.LocalAddr().String())
	// A proxy accepts before the server does; then one of these happens.
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = conn.Read(make([]byte, 1))
	return within(300*time.Millisecond, func() bool { _, accepted := h.accepted.Load(at); return accepted })
}

// Promise (0 leaks): what comes in by lo is judged like everything else, unless it is the
// host's own: a SYN proxy and a redirect hand strangers over there.
func TestStrangersOnLoopback(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(h *openHost)
	}{
		{"nft synproxy", func(h *openHost) {
			sysctl(h.tb, h.lab.Host, "netfilter/nf_conntrack_tcp_loose", "0")
			h.nft(`table ip proxy {
				chain raw { type filter hook prerouting priority raw; iifname "eth1" tcp dport 8443 tcp flags & (fin|syn|rst|ack) == syn notrack; }
				chain in {
					type filter hook input priority filter;
					iifname "eth1" tcp dport 8443 ct state invalid,untracked synproxy mss 1460 wscale 7 sack-perm;
					ct state invalid drop;
				}
			}`)
		}},
		{"tc mirred", func(h *openHost) {
			for _, command := range [][]string{
				{"tc", "qdisc", "add", "dev", "eth1", "clsact"},
				{"tc", "filter", "add", "dev", "eth1", "ingress", "protocol", "ip", "u32", "match", "u32", "0", "0", "action", "mirred", "ingress", "redirect", "dev", "lo"},
			} {
				if out, err := labtest.Command(context.Background(), h.lab.Host, command...).CombinedOutput(); err != nil {
					h.tb.Fatalf("%v: %v\n%s", command, err, out)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newOpenHost(t)
			api := h.onLoopback()
			c.make(h)
			if !h.opened(netlab.Unlisted4, api) {
				t.Fatal("bare Linux opens nothing")
			}
			h.run(allowed...)
			if h.opened(netlab.Unlisted4, api) {
				t.Error("an unlisted source has a connection")
			}
			if !h.opened(netlab.Listed4, api) {
				t.Error("a listed source has none")
			}
			if h.packets("backstop", "drop", "not_listed") == 0 {
				t.Error("the backstop did not count what it refused")
			}
		})
	}
}

// Documented: what a SNAT in input makes of a stranger is what the backstop sees.
func TestStrangersTranslatedOnInput(t *testing.T) {
	t.Parallel()
	h := newOpenHost(t)
	api := h.onLoopback()
	h.nft(`table ip translate {
		chain in {
			type nat hook input priority 100;
			iifname "eth1" ip saddr 198.51.100.7 tcp dport 8443 snat to 10.80.1.1;
		}
	}`)
	h.run(allowed...)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, api, netlab.Connected)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4.Next(), api, netlab.Refused)
}

// Promise (0 leaks): a transparent proxy on the protected port is looked up like any other
// server, by the port that it listens on.
func TestStrangersToATransparentProxy(t *testing.T) {
	t.Parallel()
	h := &openHost{host: newHost(t)}
	second := labtest.Must(h.lab.AddLink("eth1"))(t)
	var listener net.Listener
	h.check(h.lab.Host.Do(func() (err error) {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			set := func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) }
			return errors.Join(raw.Control(set), err)
		}}
		listener, err = config.Listen(context.Background(), "tcp4", "127.0.0.1:8443")
		return err
	}))
	defer listener.Close()
	h.nft(`table ip proxy {
		chain pre { type filter hook prerouting priority mangle; iifname "eth1" tcp dport 80 tproxy to 127.0.0.1:8443 meta mark set 1 accept; }
	}`)
	for _, command := range []string{"ip rule add fwmark 1 lookup 100", "ip route add local default dev lo table 100"} {
		if out, err := labtest.Command(context.Background(), h.lab.Host, "sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	there := netip.AddrPortFrom(second.Host4, 80)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, there, netlab.Connected)
	h.run(allowed...)
	if outcome, _ := h.lab.Wire.Knock(netlab.Unlisted4, there, time.Second); outcome == netlab.Connected {
		t.Error("an unlisted source has a connection")
	}
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, there, netlab.Connected)
}
