package netdev_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Promise: to find what is uncovered costs about as much as to list interfaces and addresses
// once, with four hundred of them, too: each status and each scrape asks for it. Requests
// and allocations are what cost, and are counted: a slow machine has as many of them.
func TestUncoveredCostsTwoDumps(t *testing.T) {
	h := newHost(t)
	const links = 400
	handle := h.lab.Host.Netlink()
	for i := range links {
		name := fmt.Sprintf("br%d", i)
		h.must(handle.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}), h.lab.Host.SetUp(name, true),
			h.lab.Host.AddAddr(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + byte(i>>8), byte(i), 1}), 24)))
	}
	// The least of some rounds: the kernel may ask to take a dump again.
	cost := func(fn func() error) (requests uint32, allocations float64) {
		requests, allocations = math.MaxUint32, math.Inf(1)
		for range 5 {
			h.do(func() (err error) {
				allocations = min(allocations, testing.AllocsPerRun(1, func() {
					before := nl.NewNetlinkRequest(0, 0).Seq
					err = errors.Join(err, fn())
					requests = min(requests, nl.NewNetlinkRequest(0, 0).Seq-before-1)
				}))
				return err
			})
		}
		return requests, allocations
	}
	requests, allocations := cost(func() error {
		if _, err := netlink.LinkList(); err != nil {
			return err
		}
		_, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		return err
	})
	uncoveredRequests, uncoveredAllocations := cost(func() error {
		interfaces, err := netdev.Read()
		names, _ := interfaces.Uncovered([]string{"eth0"})
		if err == nil && len(names) != links {
			err = fmt.Errorf("%d are uncovered, want %d", len(names), links)
		}
		return err
	})
	t.Logf("%d interfaces: two dumps take %d requests and %.0f allocations, what is uncovered %d and %.0f",
		links, requests, allocations, uncoveredRequests, uncoveredAllocations)
	if uncoveredRequests != requests {
		t.Errorf("what is uncovered takes %d requests, the dumps that it needs %d", uncoveredRequests, requests)
	}
	if uncoveredAllocations > 2*allocations {
		t.Errorf("what is uncovered takes %.0f allocations, the dumps that it needs %.0f", uncoveredAllocations, allocations)
	}
}
