package desired_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: who stands depends on what origins say, and not on who said it first: the same
// claims of four origins, in any order and in any portions, and read anew as after a restart,
// make one state.
func TestWhoStandsInAnyOrder(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		var claims []policy.Claim
		for _, origin := range append(slices.Clone(desiredtest.Followed), policy.OriginCLI) {
			for _, c := range rapid.SliceOfNDistinct(desiredtest.Claim(now), 0, 4, func(c policy.Claim) string { return c.Prefix.String() }).Draw(t, string(origin)) {
				c.Origin = origin
				if rapid.IntRange(0, 5).Draw(t, "elsewhere") == 0 && origin != policy.OriginCLI {
					c.Services = []string{"of other hosts"}
				}
				claims = append(claims, c)
			}
		}
		want, err := desired.New(desiredtest.Services("api", "mail"), nil, slices.Clone(claims), now)
		if err != nil {
			t.Fatal(err)
		}
		is := desiredtest.Start()
		for rest := rapid.Permutation(claims).Draw(t, "order"); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "portion")
			edit := desired.Edit{Claims: policy.Edit{Put: rest[:n]}, Whole: rapid.IntRange(0, 3).Draw(t, "whole") == 0}
			if is, _, err = is.Apply(edit, now, 0); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if diff := cmp.Diff(dump(want), dump(is), asBefore...); diff != "" {
			t.Fatalf("another order (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want.Counts, is.Counts, asBefore...); diff != "" {
			t.Fatalf("counted in another order (-want +got):\n%s", diff)
		}
		for _, origin := range desiredtest.Followed { // a reading is the way to what it says
			said := rapid.SliceOfNDistinct(desiredtest.Claim(now), 0, 4, func(c policy.Claim) string { return c.Prefix.String() }).Draw(t, "reading")
			for i := range said {
				said[i].Origin = origin
			}
			if is, _, err = is.Apply(desired.Edit{Claims: is.Follow(origin, said)}, now, 0); err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(said, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
			if diff := cmp.Diff(said, slices.Collect(is.Of(origin)), asBefore...); diff != "" {
				t.Fatalf("%s (-said +kept):\n%s", origin, diff)
			}
			if again := is.Follow(origin, said); !again.Empty() {
				t.Fatalf("read again: %+v", again)
			}
		}
	})
}

// Promise: of two owners the stronger origin's stands and the other claim is aside, counted and
// not enforced; it stands when the stronger one goes.
func TestAside(t *testing.T) {
	now := time.Now()
	prefix := desiredtest.Prefix.Example(1)
	claim := func(origin policy.Origin, owner string, services ...string) policy.Claim {
		return policy.Claim{Prefix: prefix, Origin: origin, Owner: owner, Services: services}
	}
	url, dns := policy.URLOrigin("a"), policy.DNSOrigin("a")
	is := desiredtest.Start()
	apply := func(edit policy.Edit) policy.Plan {
		t.Helper()
		next, plan, err := is.Apply(desired.Edit{Claims: edit}, now, 0)
		if err != nil {
			t.Fatal(err)
		}
		is = next
		return plan
	}
	stands := func(when, owner string, origins ...policy.Origin) {
		t.Helper()
		entry, found := is.Policy.Entries.Find(prefix)
		if !found || entry.Owner() != owner || !slices.Equal(entry.Origins(), origins) {
			t.Errorf("%s: %v, owner %s, of %v", when, found, entry.Owner(), entry.Origins())
		}
	}
	apply(policy.Edit{Put: []policy.Claim{claim(dns, "globex", "mail")}})
	stands("alone", "globex", dns)
	apply(policy.Edit{Put: []policy.Claim{claim(url, "acme", "api")}})
	stands("beside a stronger origin", "acme", url)
	if entry, _ := is.Policy.Entries.Find(prefix); !slices.Equal(entry.Services(), []string{"api"}) || is.Counts.Aside[dns] != 1 || is.Counts.Followed[dns] != 1 {
		t.Errorf("aside: %v, counted %+v", entry.Services(), is.Counts)
	}
	if plan := apply(policy.Edit{Put: []policy.Claim{claim(dns, "initech", "mail")}}); !plan.Empty() {
		t.Errorf("what is aside changes: %+v", plan)
	}

	_, err := is.Add(api.AddRequest{Prefixes: []string{prefix.String()}, Owner: "globex"}, now)
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || refused.What != prefix.String()+" belongs to acme (url:a)" {
		t.Errorf("add for another owner: %v", err)
	}
	_, err = is.Remove(api.RemoveRequest{Prefixes: []string{prefix.String()}}, now)
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || !strings.HasSuffix(refused.What, "was not made by add: it stands in url:a") || refused.Hint != "xdpallow suspend "+prefix.String() {
		t.Errorf("remove: %v", err)
	}
	added, err := is.Add(api.AddRequest{Prefixes: []string{prefix.String()}, Owner: "acme"}, now)
	if err != nil {
		t.Fatal(err)
	}
	apply(policy.Edit{Put: added.Claims})
	stands("added here", "acme", policy.OriginCLI, url)
	apply(policy.Edit{Remove: []policy.ClaimKey{{Origin: url, Prefix: prefix}, {Origin: policy.OriginCLI, Prefix: prefix}}})
	stands("when the stronger are gone", "initech", dns)
	if len(is.Counts.Aside) > 0 {
		t.Errorf("counted aside: %v", is.Counts.Aside)
	}
}

// Promise: nobody is warned of an end that moves on by itself; that of a customer's own entry is
// told, also where a page lists him, too.
func TestRenewedEntriesDoNotEndSoon(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	claim := func(prefix string, origin policy.Origin) policy.Claim {
		return policy.Claim{Prefix: netip.MustParsePrefix(prefix), Origin: origin, Until: now.Add(time.Hour)}
	}
	is, _, err := desiredtest.Start().Apply(desired.Edit{Claims: policy.Edit{Put: []policy.Claim{
		claim("192.0.2.1/32", policy.URLOrigin("partner")), claim("192.0.2.2/32", policy.DNSOrigin("branch")),
		claim("192.0.2.3/32", policy.OriginCLI), claim("192.0.2.4/32", policy.EtcdOrigin("prod", "main")),
		claim("192.0.2.5/32", policy.URLOrigin("partner")), claim("192.0.2.5/32", policy.OriginCLI),
	}}}, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	if soon, over := is.Counts.Ending(now, 14*24*time.Hour), is.Counts.Ended(now.Add(2*time.Hour)); soon != 3 || over != 5 {
		t.Errorf("%d end soon and %d have ended then, want 3 and 5", soon, over)
	}
	is, _, err = is.Apply(desired.Edit{Claims: policy.Edit{Remove: []policy.ClaimKey{claim("192.0.2.5/32", policy.OriginCLI).Key()}}}, now, 0)
	if soon := is.Counts.Ending(now, 14*24*time.Hour); err != nil || soon != 2 {
		t.Errorf("%d end soon, %v", soon, err)
	}
}
