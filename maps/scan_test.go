// Rounds: what somebody else changes among many entries is found, and nothing else is.
package maps_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

func manyEntries(n int) (entries []maps.Entry) {
	for i := range n {
		for _, text := range []string{fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255), fmt.Sprintf("2001:db8:%x::/48", i)} {
			entries = append(entries, entriesOf(text)...)
		}
	}
	return entries
}

// Promise: a round sees every entry once, slice by slice, and begins anew after a
// publish; the count is that of the entries, through patches too.
func TestRoundSeesEveryEntry(t *testing.T) {
	policy := policyOf(1)
	policy.Entries = manyEntries(5000)
	tables := mapstest.Tables(t, policy)
	var round maps.Scan
	for range 2 {
		seen, calls := map[netip.Prefix]int{}, 0
		for complete := false; !complete; calls++ {
			part, last, err := tables.Next(&round, 1024)
			if err != nil || len(part) > 2*1024 {
				t.Fatalf("%d entries, %v", len(part), err)
			}
			for _, e := range part {
				seen[e.Prefix]++
			}
			complete = last
		}
		for _, e := range policy.Entries {
			if seen[e.Prefix] != 1 {
				t.Fatalf("%v was seen %d times", e.Prefix, seen[e.Prefix])
			}
		}
		if len(seen) != len(policy.Entries) || round.Seen != len(seen) || calls < 5 {
			t.Errorf("%d seen in %d calls, %d counted, there are %d", len(seen), calls, round.Seen, len(policy.Entries))
		}
	}
	if _, _, err := tables.Next(&round, 1024); err != nil || round.Seen >= 5000 {
		t.Fatalf("%d seen, %v", round.Seen, err)
	}
	policy.Generation = 2
	mapstest.Publish(t, tables, policy)
	if part, _, err := tables.Next(&round, 1024); err != nil || round.Seen != len(part) {
		t.Errorf("after a publish the round goes on: %d seen, %v", round.Seen, err)
	}
}

func TestCountFollowsPatches(t *testing.T) {
	policy := policyOf(1)
	policy.Entries = manyEntries(300)
	tables := mapstest.Tables(t, policy)
	for _, c := range []struct {
		put    []maps.Entry
		remove []netip.Prefix
		want   [2]int
	}{
		{nil, nil, [2]int{300, 300}},
		{entriesOf("192.0.2.0/24", "192.0.3.1/32", "2001:db8:f000::/48"), nil, [2]int{302, 301}},
		{nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("192.0.3.1/32")}, [2]int{300, 301}},
		{entriesOf("192.0.2.0/24"), nil, [2]int{300, 301}},
	} {
		if _, err := tables.Patch(c.put, c.remove, 1); err != nil {
			t.Fatal(err)
		}
		// Before 6.4 no kernel tells.
		if counts, known, err := tables.Count(); err != nil || known && counts != c.want {
			t.Errorf("%v entries, %v; want %v", counts, err, c.want)
		}
	}
}

// Promise: what is in its place is left alone, and a prefilter that has every bit lacks
// none.
func TestNothingIsRestoredThatIsThere(t *testing.T) {
	policy := policyOf(1, "192.0.2.0/24", "10.0.0.0/8", "203.0.113.7/32", "2001:db8::/32", "2001:db8:a::/48", "2001:db9::1/128")
	tables := mapstest.Tables(t, policy)
	if restored, err := tables.RestoreMaps(); err != nil || len(restored) != 0 {
		t.Errorf("restored %v, %v", restored, err)
	}
	if same, err := tables.SameServices(policy); err != nil || !same {
		t.Errorf("the policy is not the same: %v", err)
	}
	if same, err := tables.SameCurrent(); err != nil || !same {
		t.Errorf("current is not the same: %v", err)
	}
	var prefixes []netip.Prefix
	for _, e := range policy.Entries {
		prefixes = append(prefixes, e.Prefix)
	}
	if lacking, err := tables.Unfiltered(prefixes); err != nil || len(lacking) != 0 {
		t.Errorf("the prefilter lacks %v, %v", lacking, err)
	}
	if lacking, err := tables.Unfiltered([]netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}); err != nil || len(lacking) != 1 {
		t.Errorf("the prefilter has what nobody put: %v, %v", lacking, err)
	}
	other := policyOf(1)
	other.Services[0].Enforce = false
	if same, err := tables.SameServices(other); err != nil || same {
		t.Errorf("another policy is the same: %v", err)
	}
}
