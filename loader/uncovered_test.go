package loader_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader"
)

// Promise: to find what is uncovered costs about as much as to list interfaces and addresses
// once, with four hundred of them, too: each status and each scrape asks for it.
func TestUncoveredCostsTwoDumps(t *testing.T) {
	h := newHost(t)
	const links = 400
	handle := h.lab.Host.Netlink()
	for i := range links {
		name := fmt.Sprintf("br%d", i)
		h.must(handle.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}), h.lab.Host.SetUp(name, true),
			h.lab.Host.AddAddr(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + byte(i>>8), byte(i), 1}), 24)))
	}
	took := func(fn func() error) time.Duration {
		var times []time.Duration
		for range 5 {
			h.do(func() error {
				begin := time.Now()
				err := fn()
				times = append(times, time.Since(begin))
				return err
			})
		}
		return slices.Min(times)
	}
	dumps := took(func() error {
		if _, err := netlink.LinkList(); err != nil {
			return err
		}
		_, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		return err
	})
	uncovered := took(func() error {
		names, _, err := loader.Uncovered([]string{"eth0"})
		if err == nil && len(names) != links {
			err = fmt.Errorf("%d are uncovered, want %d", len(names), links)
		}
		return err
	})
	t.Logf("%d interfaces: two dumps take %v, what is uncovered %v", links, dumps, uncovered)
	if uncovered > 5*dumps {
		t.Errorf("what is uncovered takes %v, the dumps that it needs %v", uncovered, dumps)
	}
}
