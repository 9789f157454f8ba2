package compile

import (
	gomaps "maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/maps"
	"pgregory.net/rapid"

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
	suspend := desired.Edit{Overrides: desired.OverridesEdit{Suspend: []store.Suspension{{Subject: policy.Subject{Owner: "acme"}, Unnoted: true}}}}
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
		c := Compiler{Owners: OwnerIDs{}.With([]string{"acme", "globex", "initech"})}
		put, remove, small, err := c.Patch(before.Policy, after.Policy, plan)
		if !small || err != nil || len(put)+len(remove) > 0 {
			t.Errorf("within the network of %q, entries are written: %v, %v (%v)", around, put, remove, err)
		}
	}
}

// After any sequence of edits a patch leads from what the kernel has of the state before to
// what a full compile makes of the next, and so many entries of each family are expected.
func TestPatchAgainstCompile(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	c := Compiler{Clock: NewClock(now, time.Hour), Owners: OwnerIDs{}.With([]string{"acme", "globex"}), Deadlines: Deadlines{}}
	entries := func(t *rapid.T, d desired.State) map[netip.Prefix]maps.Entry {
		compiled, err := c.Policy(d, 1)
		if err != nil {
			t.Fatal(err)
		}
		all := map[netip.Prefix]maps.Entry{}
		for _, e := range compiled.Entries {
			all[e.Prefix] = e
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		is := desiredtest.Start()
		for step := range rapid.IntRange(1, 12).Draw(t, "steps") {
			next, plan, err := is.Apply(desiredtest.Edit(t, is, now), now, 0)
			if err != nil {
				continue
			}
			put, remove, small, err := c.Patch(is.Policy, next.Policy, plan)
			if err != nil {
				t.Fatal(err)
			}
			want := entries(t, next)
			if got := entries(t, is); small {
				for _, p := range remove {
					delete(got, p)
				}
				for _, e := range put {
					got[e.Prefix] = e
				}
				if !gomaps.Equal(got, want) {
					t.Fatalf("step %d: patched by %v and without %v\nthe kernel has %v\nof %v", step, put, remove, got, want)
				}
			}
			if counts := Families(next.Policy); counts[0]+counts[1] != len(want) {
				t.Fatalf("step %d: %d entries are enforced, and %v counted", step, len(want), counts)
			}
			is = next
		}
	})
}
