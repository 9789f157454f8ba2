package impact

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// judged is a change between two states of one service, tcp/443.
func judged(old, next policy.State) *finder {
	services := []policy.Service{{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Mode: policy.Enforce}}
	old.Services, next.Services = services, services
	return &finder{old: old, next: next, now: time.Now(), byPrefix: map[netip.Prefix]*api.Cut{}, byPeer: map[netip.Addr]*api.Cut{}}
}

func entriesOf(prefixes ...string) policy.Entries {
	var entries []policy.Entry
	for _, text := range prefixes {
		entries = append(entries, policy.EntryOf(policy.Claim{Prefix: netip.MustParsePrefix(text), Owner: "acme"}))
	}
	return policy.NewEntries(entries)
}

func unseen(*policy.Entry) *time.Time { return nil }

// A thousand peers of one entry are counted, and some of them named: the caller's own
// sessions always are.
func TestCutsAreBounded(t *testing.T) {
	c := judged(policy.State{Entries: entriesOf("10.0.0.0/8")}, policy.State{})
	for i := range 1000 {
		c.connection(policy.Peer{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 443}, i == 999)
	}
	cuts := c.sorted(unseen)
	if len(cuts) != 1 || cuts[0].Connections != 1000 || len(cuts[0].Peers) != maxCutPeers+1 || !cuts[0].Peers[maxCutPeers].Session {
		t.Errorf("%d cuts, %d connections of the first, %d peers", len(cuts), cuts[0].Connections, len(cuts[0].Peers))
	}
}

// Promise: the line about a change that was made names who was cut off, also a peer whom
// no entry lets in.
func TestSumCuts(t *testing.T) {
	at := netip.MustParsePrefix("10.0.0.0/8")
	peer := func(address string, port uint16, connections int) api.CutPeer {
		return api.CutPeer{Address: netip.MustParseAddr(address), Port: policy.Port{Protocol: policy.TCP, Number: port}, Connections: connections}
	}
	stranger := api.Cut{Connections: 1, Peers: []api.CutPeer{peer("203.0.113.99", 443, 1)}}
	both := api.Cut{Connections: 3, Peers: []api.CutPeer{peer("2001:db8::9", 443, 1), peer("2001:db8::9", 8443, 2)}}
	for want, cuts := range map[string][]api.Cut{
		"cut off: 203.0.113.99 (not listed): 1 connection to tcp/443":           {stranger},
		"cut off: 2001:db8::9 (not listed): 3 connections to tcp/443, tcp/8443": {both},
		"cut off: acme (1 prefix in use, 2 open connections), no owner (1 prefix in use); 203.0.113.99 (not listed): 1 connection to tcp/443": {
			{Prefix: &at, Owner: "acme", Connections: 2}, stranger, {Prefix: &at},
		},
		"cut off: a (1 prefix in use), b (1 prefix in use), c (1 prefix in use), d (1 prefix in use); 203.0.113.99 (not listed): 1 connection to tcp/443; and 2 more": {
			{Prefix: &at, Owner: "a"}, {Prefix: &at, Owner: "b"}, {Prefix: &at, Owner: "c"}, {Prefix: &at, Owner: "d"}, stranger, stranger, both,
		},
	} {
		if got := Sum(cuts); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// Who is suspended is cut off as who is removed is, by prefix and by owner; a peer that
// another entry goes on letting in is not.
func TestSuspensionsCut(t *testing.T) {
	entries := entriesOf("10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24")
	for _, test := range []struct {
		name    string
		next    policy.State
		touched string
		cuts    string
	}{
		{"nobody", policy.State{Entries: entries}, "", ""},
		{"an entry", policy.State{Entries: entries, Suspended: policy.NewSuspended([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, nil)}, "10.1.0.0/16 ", "10.1.0.0/16 "},
		{"what is around", policy.State{Entries: entries, Suspended: policy.NewSuspended([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil)}, "10.0.0.0/8 10.1.0.0/16 ", "10.0.0.0/8 10.1.0.0/16 "},
		{"a part", policy.State{Entries: entries, Suspended: policy.NewSuspended([]netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}, nil)}, "10.1.0.0/16 ", "10.1.0.0/16 "},
		{"an owner", policy.State{Entries: entries, Suspended: policy.NewSuspended(nil, []policy.Hold{policy.State{Entries: entries}.Hold("acme", false, time.Now())})}, "10.0.0.0/8 10.1.0.0/16 192.0.2.0/24 ", "10.0.0.0/8 10.1.0.0/16 192.0.2.0/24 "},
		{"removed, and another covers", policy.State{Entries: entriesOf("10.0.0.0/8", "192.0.2.0/24")}, "", ""},
	} {
		c := judged(policy.State{Entries: entries}, test.next)
		seen, touched := map[netip.Prefix]bool{}, ""
		for entry := range c.touched(policy.Diff(c.old, c.next)) {
			if len(c.lost(entry)) > 0 {
				seen[entry.Prefix] = true
			}
		}
		for entry := range entries.All() {
			if seen[entry.Prefix] {
				touched += fmt.Sprint(entry.Prefix, " ")
			}
		}
		for _, addr := range []string{"10.9.9.9", "10.1.1.1", "192.0.2.1", "203.0.113.1", "127.0.0.1"} {
			c.connection(policy.Peer{Addr: netip.MustParseAddr(addr), Port: 443}, false)
		}
		cuts := ""
		for _, cut := range c.sorted(unseen) {
			cuts += fmt.Sprint(cut.Prefix, " ")
		}
		if diff := cmp.Diff([]string{test.touched, test.cuts}, []string{touched, cuts}); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.name, diff)
		}
	}
}
