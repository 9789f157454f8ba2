package compile

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: to suspend an owner is one word in the kernel, however much is his, and though
// somebody else's network is around his: no entry of the list is written. (One for some
// services only, or with an end, is, where it lies in somebody else's.)
func TestSuspensionIsOneWord(t *testing.T) {
	now := time.Now()
	claims := []policy.Claim{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Owner: "acme"},
		{Prefix: netip.MustParsePrefix("10.200.0.0/16")},                  // his, in his network
		{Prefix: netip.MustParsePrefix("10.201.0.0/16"), Owner: "globex"}, // stays
	}
	for i := range 1000 {
		claims = append(claims, policy.Claim{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32), Owner: "acme"})
	}
	suspend := desired.Edit{Overrides: desired.OverridesEdit{Suspend: []store.Suspension{{Subject: store.Subject{Owner: "acme"}, Unnoted: true}}}}
	for _, around := range []string{"", "initech"} {
		all := slices.Clone(claims)
		if around != "" {
			all = append(all, policy.Claim{Prefix: netip.MustParsePrefix("8.0.0.0/6"), Owner: around})
		}
		for i := range all {
			all[i].Origin = policy.OriginCLI
		}
		before, err := desired.New(nil, nil, all, now)
		if err != nil {
			t.Fatal(err)
		}
		after, plan, err := before.Apply(suspend, now, 0)
		if err != nil {
			t.Fatal(err)
		}
		if d, small := DeltaOf(before.Policy, after.Policy, plan); !small || len(d.Put)+len(d.Remove) > 0 {
			t.Errorf("within the network of %q, entries are written: %+v", around, d)
		}
	}
}
