package impact

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: who is named is exactly who passes before a change and not after it. Of open
// connections these are the peers; of entries that were used, all that let in a source
// which is now dropped are named, or one around it is, and none is named in vain.
func TestNamedIsWhoIsCutOff(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	var everybody []policy.Peer // and the ports of both services, and one that is nobody's
	for last := range 16 {
		for port := range uint16(3) {
			everybody = append(everybody, policy.Peer{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(last)}), Port: port + 1})
		}
	}
	named := 0
	rapid.Check(t, func(t *rapid.T) {
		old := desiredtest.Start()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			next, plan, err := old.Apply(desiredtest.Edit(t, old, now), now, 0)
			if err != nil {
				continue
			}
			cutOff := func(peer policy.Peer) bool {
				before, _ := old.Policy.Admits(peer, now)
				after, _ := next.Policy.Admits(peer, now)
				return before && !after
			}
			want := map[string]int{}
			for _, peer := range everybody {
				if cutOff(peer) {
					want[fmt.Sprint(peer.Addr, " ", peer.Port)] = 1
				}
			}
			never := func(*policy.Entry) *time.Time { return nil }
			got := map[string]int{}
			for port := range uint16(3) { // of one entry so many peers are named that these 16 are
				peers := slices.DeleteFunc(slices.Clone(everybody), func(p policy.Peer) bool { return p.Port != port+1 })
				countPeers(got, Assess(old.Policy, next.Policy, plan, Use{LastSeen: never, Since: now, Peers: peers}, now))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("peers who are cut off (-want +named)\n%s", diff)
			}
			named += len(got)

			always := func(*policy.Entry) *time.Time { return &now }
			cuts := Assess(old.Policy, next.Policy, plan, Use{LastSeen: always, Since: now}, now)
			for _, peer := range everybody {
				_, isService := next.Policy.ServiceOf(policy.Port{Protocol: policy.TCP, Number: peer.Port})
				_, wasService := old.Policy.ServiceOf(policy.Port{Protocol: policy.TCP, Number: peer.Port})
				if isService && wasService && cutOff(peer) && !around(cuts, peer.Addr) {
					t.Fatalf("%v is cut off, and of the entries around it none is named: %+v", peer, cuts)
				}
			}
			for _, cut := range cuts {
				if !slices.ContainsFunc(everybody, func(peer policy.Peer) bool { return cut.Prefix.Contains(peer.Addr) && cutOff(peer) }) {
					t.Fatalf("%v is named, and nobody in it is cut off", cut.Prefix)
				}
			}
			old = next
		}
	})
	if named == 0 {
		t.Error("nobody was ever cut off")
	}
}

// countPeers counts the connections of cuts by peer and port.
func countPeers(peers map[string]int, cuts []api.Cut) {
	for _, cut := range cuts {
		for _, peer := range cut.Peers {
			peers[fmt.Sprint(peer.Address, " ", peer.Port.Number)] += peer.Connections
		}
	}
}

// around reports whether one of cuts is an entry around addr.
func around(cuts []api.Cut, addr netip.Addr) bool {
	for _, cut := range cuts {
		if cut.Prefix != nil && cut.Prefix.Contains(addr) {
			return true
		}
	}
	return false
}
