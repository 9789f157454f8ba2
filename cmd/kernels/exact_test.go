package main

// This file compares what a NIC was sent with what its program counted.

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// exact fails the test unless the gate stands and counts a stranger's and a customer's
// SYNs to the frame.
func (m *machine) exact(t *testing.T) {
	t.Helper()
	m.guards(t)
	m.outside.hush(true)
	defer m.outside.hush(false)
	before := m.settled(t)
	const strangers, customers = 100, 50
	for source, n := range map[netip.AddrPort]int{
		netip.AddrPortFrom(netlab.Unlisted4, 40000): strangers, netip.AddrPortFrom(netlab.Unlisted6, 40000): strangers,
		netip.AddrPortFrom(netlab.Listed4, 40000): customers, netip.AddrPortFrom(netlab.Listed6, 40000): customers,
	} {
		target := segments[0].guest4.Addr()
		if source.Addr().Is6() {
			target = segments[0].guest6.Addr()
		}
		link := netlab.Link{HostMAC: segments[0].mac, WireMAC: net.HardwareAddr{2, 0, 0, 0, 0xff, 0}}
		frame := labtest.Must(link.SYN(source, netip.AddrPortFrom(target, apiPort)))(t)
		for range n {
			if err := unix.Send(m.outside.fds[0], frame, 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // an emulated NIC has little room
		}
	}
	want := counted{
		"drop not_listed ipv4": strangers, "drop not_listed ipv6": strangers,
		"pass listed ipv4": customers, "pass listed ipv6": customers,
	}
	after := m.settled(t)
	for what, n := range want {
		if got := after[what] - before[what]; got != n {
			t.Errorf("%s: %d counted, %d sent", what, got, n)
		}
	}
}

// counted is packets by verdict, reason and family.
type counted map[string]uint64

// counters are those of eth0's program.
func (m *machine) counters(t *testing.T) counted {
	t.Helper()
	var stats struct {
		Counters []struct {
			Interface, Layer, Verdict, Reason, Family string
			Packets                                   uint64
		}
	}
	m.ask(t, "stats", &stats)
	found := make(counted)
	for _, c := range stats.Counters {
		if c.Interface == "eth0" && c.Layer == "xdp" {
			found[fmt.Sprintf("%s %s %s", c.Verdict, c.Reason, c.Family)] += c.Packets
		}
	}
	return found
}

// settled returns the counters once nothing of what was sent is under way.
func (m *machine) settled(t *testing.T) counted {
	t.Helper()
	before := m.counters(t)
	m.within(t, "the counters stand still", func() error {
		now := m.counters(t) // takes a machine a second: what was sent is there by then
		still := true
		for what := range now {
			still = still && (now[what] == before[what] || !strings.Contains(what, "listed"))
		}
		if before = now; !still {
			return fmt.Errorf("now %v", now)
		}
		return nil
	})
	return before
}
