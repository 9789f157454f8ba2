package nesting

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// What is listed in another's network is told when it comes to be so, whichever of the two
// comes last; once, and in one line when it is much.
func TestNestingIsTold(t *testing.T) {
	claim := func(prefix, owner string) policy.Claim {
		return policy.Claim{Prefix: netip.MustParsePrefix(prefix), Owner: owner, Origin: policy.OriginCLI}
	}
	now := time.Now()
	start, err := desired.New(nil, nil, []policy.Claim{
		claim("203.0.113.0/24", "acme"), claim("203.0.113.7/32", "globex"), claim("203.0.113.8/32", ""), claim("192.0.2.7/32", "globex"),
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	stop := desired.Edit{Overrides: desired.OverridesEdit{Suspend: []store.Suspension{{
		Subject: policy.Subject{Owner: "acme"}, Reason: "OPS-1", Time: time.Unix(0, 0), Unnoted: true,
	}}}}
	stopped, _, err := start.Apply(stop, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	var many []policy.Claim
	for i := range 9 {
		many = append(many, claim(fmt.Sprintf("203.0.113.%d/32", 100+i), "initech"))
	}
	for _, c := range []struct {
		name string
		from desired.State
		put  []policy.Claim
		want []string
	}{
		{"outside", start, []policy.Claim{claim("198.51.100.0/24", "acme")}, nil},
		{"one's own", start, []policy.Claim{claim("203.0.113.64/26", "acme")}, nil},
		{"as it was", start, []policy.Claim{claim("203.0.113.7/32", "globex")}, nil},
		{"another's", start, []policy.Claim{claim("203.0.113.9/32", "globex")}, []string{"203.0.113.9/32 (globex) lies in 203.0.113.0/24 of acme"}},
		{"another's now", start, []policy.Claim{claim("203.0.113.8/32", "globex")}, []string{"203.0.113.8/32 (globex) lies in 203.0.113.0/24 of acme"}},
		{"nobody's", start, []policy.Claim{claim("203.0.113.9/32", "")}, []string{"203.0.113.9/32 has no owner: it counts for acme"}},
		{"around another's", start, []policy.Claim{claim("192.0.2.0/24", "acme")}, []string{"192.0.2.7/32 (globex) lies in 192.0.2.0/24 of acme"}},
		{"between", start, []policy.Claim{claim("203.0.113.0/28", "initech")}, []string{
			"203.0.113.8/32 has no owner: it counts for initech", "203.0.113.0/28 (initech) lies in 203.0.113.0/24 of acme", "203.0.113.7/32 (globex) lies in 203.0.113.0/28 of initech",
		}},
		{"many", start, many, []string{"9 prefixes lie in networks of other owners, as 203.0.113.100/32 (initech) in 203.0.113.0/24 of acme"}},
		{"of who is suspended", stopped, []policy.Claim{claim("198.51.100.0/24", "acme")}, []string{
			"198.51.100.0/24 is listed and lets nobody in: acme is suspended since 1970-01-01T00:00:00Z by uid 0 (OPS-1)",
		}},
		{"in his network", stopped, []policy.Claim{claim("203.0.113.9/32", "")}, []string{
			"203.0.113.9/32 is listed and lets nobody in: acme is suspended", "203.0.113.9/32 has no owner: it counts for acme",
		}},
		{"many in his network", stopped, many, []string{"9 prefixes are listed and let nobody in, as 203.0.113.100/32: acme is suspended"}},
	} {
		next, plan, err := c.from.Apply(desired.Edit{Claims: policy.Edit{Put: c.put}}, now, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := Warnings(next, c.from, plan, plan.Added, plan.Changed)
		same := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			same = same && strings.HasPrefix(got[i], c.want[i])
		}
		if !same {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A change of much finds the same entries in networks of others as one of little, whichever way it
// looks for them.
func TestNestingsOfMuchAndOfLittle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	claims := func(n int) (all []policy.Claim) {
		for range n {
			p, _ := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.Uint32())}).Prefix(24 + random.IntN(9))
			all = append(all, policy.Claim{Prefix: p, Owner: []string{"", "acme", "globex"}[random.IntN(3)], Origin: policy.OriginCLI})
		}
		return all
	}
	collect := func(all iter.Seq2[*policy.Entry, *policy.Entry]) map[*policy.Entry]*policy.Entry {
		return maps.Collect(all)
	}
	for range 300 {
		start, _, err := desired.State{}.Apply(desired.Edit{Claims: policy.Edit{Put: claims(random.IntN(40))}}, time.Now(), 0)
		if err != nil {
			t.Fatal(err)
		}
		next, plan, err := start.Apply(desired.Edit{Claims: policy.Edit{Put: claims(1 + random.IntN(10))}}, time.Now(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if little, much := collect(placed(next.Policy, plan)), collect(placedAmongAll(next.Policy, plan)); !maps.Equal(little, much) {
			t.Fatalf("%+v: %d entries, and %d among all", plan, len(little), len(much))
		}
	}
}
