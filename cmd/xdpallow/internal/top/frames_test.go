package top

// A host under attack, second by second: what the tests of this package look at.

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/talkers"
)

var begin = time.Date(2026, 11, 22, 3, 12, 0, 0, time.UTC)

// attack is the frame of a second: quiet until 20, then a flood that grows.
func attack(second int) api.Live {
	var dropped, passed float64
	for s := range second {
		passed += 180 + 40*math.Sin(float64(s)/4)
		if s >= 20 {
			dropped += 1.02e6 * min(1, float64(s-19)/10)
		}
	}
	now := begin.Add(time.Duration(second) * time.Second)
	count := func(iface, layer, verdict, reason, family string, packets, size float64) api.Counter {
		return api.Counter{Interface: iface, Layer: layer, Verdict: verdict, Reason: reason, Family: family, Packets: uint64(packets), Bytes: uint64(packets * size)}
	}
	n := float64(second)
	return api.Live{
		Time: now, Host: "api-1.example.net",
		Status: api.Status{
			Enforcing: true, Generation: 42, Entries: 1204, Owners: 3, Version: "1.0.0",
			Problems: []api.Problem{
				{Code: "origin_failing", Subject: "file:beta.list", Text: "not taken over, what it said last is enforced: allow.d/beta.list:3: 203.0.113.7/24 has host bits set", Hint: "xdpallow reload --dry-run"},
			},
			Interfaces: []api.Interface{
				{Name: "eth0", Attach: "native", Attached: true},
				{Name: "eth1", Attach: "generic", Attached: true, Reason: "driver e1000e has no XDP: operation not supported"},
			},
			Uncovered: []string{"wg0"},
			Backstop:  &api.Backstop{Attached: true},
			Services: []api.Service{
				{Service: policy.Service{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}, {Protocol: policy.UDP, Number: 443}}, Mode: policy.Enforce, Scope: policy.ScopeSYN}},
				{Service: policy.Service{Name: "partner-upload", Ports: []policy.Port{{Protocol: policy.TCP, Number: 8443}}, Mode: policy.Audit, Scope: policy.ScopeStray}},
			},
			Daemon: &api.Daemon{PID: 812, Since: begin.Add(-76 * time.Hour)},
		},
		Counters: []api.Counter{
			count("eth0", "xdp", "pass", "other_port", "ipv4", 4810*n, 120),
			count("eth0", "xdp", "pass", "not_opening", "ipv4", 48200*n, 900),
			count("eth0", "xdp", "pass", "listed", "ipv4", passed, 66),
			count("eth1", "xdp", "pass", "listed", "ipv6", passed/9, 86),
			count("eth0", "xdp", "drop", "not_listed", "ipv4", dropped, 60),
			count("eth1", "xdp", "drop", "not_listed", "ipv6", dropped/200, 80),
			count("eth0", "xdp", "drop", "fragment", "ipv4", dropped/5000, 1500),
			count("eth0", "xdp", "drop", "suspended", "ipv4", 3*n, 60),
			count("eth0", "xdp", "drop", "malformed", "ipv4", 0, 0),
			count("eth0", "xdp", "audit", "not_listed", "ipv4", 2*n, 60),
			count("", "backstop", "drop", "not_listed", "ipv4", n/4, 60),
		},
		Owners: []api.Owner{
			{Owner: "acme", Passed: uint64(passed * 0.7), Dropped: map[string]uint64{"expired": 3 * uint64(second)}},
			{Owner: "beta-logistics-international-gmbh-and-co-kg-frankfurt-am-main-hub", Passed: uint64(passed * 0.2)},
			{Owner: "", Passed: uint64(passed * 0.1)},
			{Owner: "silent"},
		},
		Talkers:    talking(now, second),
		EventsLost: 12,
	}
}

func talking(now time.Time, second int) talkers.Snapshot {
	s := talkers.Snapshot{Since: now.Add(-63 * time.Second), WindowSeconds: 63, Samples: uint64(29_000 + second), Packets: 3e7, Lost: 3}
	talker := func(rate float64, reason string) talkers.Talker {
		return talkers.Talker{PacketsPerSecond: rate, BytesPerSecond: rate * 60, Share: rate / 1e6, Reason: reason, Packets: uint64(60 * rate), Samples: uint64(rate / 16), Last: now.Add(-time.Second)}
	}
	for i := range 24 {
		rate := 20_500 - 31*float64(i*i)
		s.Prefixes = append(s.Prefixes, talkers.Prefix{Prefix: netip.MustParsePrefix(fmt.Sprintf("198.18.%d.0/24", i)), Talker: talker(rate, "not_listed")})
		if i < 9 {
			s.Addresses = append(s.Addresses, talkers.Address{Address: netip.MustParseAddr(fmt.Sprintf("198.18.%d.%d", i, 250-i)), Talker: talker(rate/40, "not_listed")})
		}
	}
	s.Prefixes[5].Prefix = netip.MustParsePrefix("2001:db8:beef::/48")
	s.Addresses[2] = talkers.Address{Address: netip.MustParseAddr("2001:db8:beef:1234:5678:9abc:def0:1234"), Talker: talker(300, "fragment")}
	distance, far, seen := uint32(13), uint32(200), now.Add(-50*time.Hour)
	s.NearMisses = []talkers.NearMiss{
		{Source: netip.MustParseAddr("203.0.113.77"), Owner: "acme", Prefix: netip.MustParsePrefix("203.0.113.64/29"), Tries: 12, Distance: &distance, Last: now.Add(-3 * time.Second), PrefixLastSeen: &seen},
		{Source: netip.MustParseAddr("2001:db8:7:9::14"), Owner: "beta-logistics-international-gmbh-and-co-kg-frankfurt-am-main-hub", Prefix: netip.MustParsePrefix("2001:db8:7:1::/64"), Tries: 3, Last: now.Add(-7 * time.Minute)},
		{Source: netip.MustParseAddr("192.0.2.200"), Prefix: netip.MustParsePrefix("192.0.2.0/25"), Tries: 1, Distance: &far, Last: now.Add(-2 * time.Hour)},
	}
	for i, n := range s.NearMisses {
		s.NearMisses[i].Within = talkers.Within(n.Source, n.Prefix)
	}
	return s
}
