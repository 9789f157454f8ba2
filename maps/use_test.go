// What the kernel does with an entry by itself: it ends it in time, and notes who
// used it. A dead daemon keeps nobody alive, and `list --unused` does not lie.
package maps_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// until asks for the reason of source until deadline has passed, and fails where an
// answer is not before's or after's on its side of it.
func until(t *testing.T, shadow mapstest.Program, source string, deadline uint64, before, after maps.Reason) {
	t.Helper()
	var early int
	for {
		start := boottime(t)
		got := ask(t, shadow, source)
		switch end := boottime(t); {
		case end < deadline:
			if early++; got != before {
				t.Fatalf("%s, %v before its end: %v, want %v", source, time.Duration(deadline-end), got, before)
			}
		case start > deadline:
			if got != after {
				t.Errorf("%s, %v after its end: %v, want %v", source, time.Duration(start-deadline), got, after)
			}
			if early == 0 {
				t.Errorf("%s was never asked before its end", source)
			}
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestEntriesExpireByThemselves(t *testing.T) {
	policy := policyOf(1, "192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24", "198.51.100.7/32")
	deadline := boottime(t) + 1e9
	for _, i := range []int{0, 1, 3} {
		policy.Entries[i].Expires = deadline
	}
	tables := mapstest.Tables(t, policy)
	shadow := mapstest.Load(t, tables, true)
	before := liveEntries(t, tables)
	until(t, shadow, "192.0.2.1", deadline, maps.Listed, maps.Expired)
	if got := ask(t, shadow, "2001:db8::1"); got != maps.Expired {
		t.Errorf("IPv6 after its end: %v", got)
	}
	// What covers him still grants.
	if got := ask(t, shadow, "198.51.100.7"); got != maps.Listed {
		t.Errorf("in a /24 that never ends: %v", got)
	}
	if diff := cmp.Diff(before, liveEntries(t, tables), comparePrefixes); diff != "" {
		t.Errorf("somebody touched the entries (-before +after)\n%s", diff)
	}
}

// usePolicy lists a /24 and a /48 for port, and in the /24 an expired host and one
// that is suspended.
func usePolicy() maps.Policy {
	policy := policyOf(1, "192.0.2.0/24", "192.0.2.7/32", "192.0.2.8/32", "2001:db8:1::/48")
	policy.Entries[1].Expires = 1
	policy.Entries[2].Suspended = true
	return policy
}

// hits are what the entries have, zero ones left out; last_seen must go with them.
func hits(t *testing.T, entries []maps.Entry) map[string]uint32 {
	t.Helper()
	now, all := uint32(boottime(t)/1e9), map[string]uint32{}
	for _, e := range entries {
		if e.Hits != 0 {
			all[e.Prefix.String()] = e.Hits
		}
		if seen := e.LastSeen != 0 && e.LastSeen <= now && e.LastSeen+60 > now; seen != (e.Hits != 0) {
			t.Errorf("%v: %d hits, last seen at %d, it is %d", e.Prefix, e.Hits, e.LastSeen, now)
		}
	}
	return all
}

func wantHits(t *testing.T, what string, entries []maps.Entry, want map[string]uint32) {
	t.Helper()
	if diff := cmp.Diff(want, hits(t, entries)); diff != "" {
		t.Errorf("%s: hits (-want +got)\n%s", what, diff)
	}
}

func TestOnlyListedOpeningsAreNoted(t *testing.T) {
	tables := mapstest.Tables(t, usePolicy())
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	for _, source := range []string{"192.0.2.1", "2001:db8:1::1"} {
		opening := mapstest.Opening(addr(source), port)
		udp, ack, elsewhere, zero := opening, opening, opening, opening
		udp.UDP = true
		ack.Flags |= mapstest.ACK
		elsewhere.Port++
		zero.SourcePort = 0
		first, later := opening, opening
		first.More, later.Fragment = true, 2
		for _, f := range []mapstest.Frame{udp, ack, elsewhere, zero, first, later} {
			gate.Run(t, f.Bytes())
		}
		shadow.Run(t, opening.Bytes())
	}
	for _, source := range []string{"192.0.2.8", "192.0.3.1", "2001:db8:2::1"} { // suspended, unlisted
		gate.Run(t, mapstest.Opening(addr(source), port).Bytes())
	}
	wantHits(t, "nothing that counts", liveEntries(t, tables), map[string]uint32{})

	// Noted at the entry that grants, not at the expired one that is longer.
	for _, source := range []string{"192.0.2.1", "192.0.2.7", "192.0.2.255", "2001:db8:1::1"} {
		gate.Run(t, mapstest.Opening(addr(source), port).Bytes())
	}
	wantHits(t, "four openings", liveEntries(t, tables), map[string]uint32{"192.0.2.0/24": 3, "2001:db8:1::/48": 1})
}

func TestUseIsNeverLost(t *testing.T) {
	policy := usePolicy()
	tables := mapstest.Tables(t, policy)
	gate := mapstest.Load(t, tables, false)
	knock := func(sources ...string) {
		for _, source := range sources {
			gate.Run(t, mapstest.Opening(addr(source), port).Bytes())
		}
	}
	patch := func(put []maps.Entry, remove ...netip.Prefix) []maps.Entry {
		used, err := tables.Patch(put, remove, tables.Generation()+1)
		if err != nil {
			t.Fatal(err)
		}
		return used
	}
	knock("192.0.2.1", "192.0.2.2", "2001:db8:1::1")

	changed := policy.Entries[0]
	changed.Owner, changed.Hits = 9, 77 // hits are the kernel's to say
	inside := entriesOf("192.0.3.0/24")[0]
	inside.Hits = 5
	wantHits(t, "used, of a changing patch", patch([]maps.Entry{changed, inside}), map[string]uint32{})
	wantHits(t, "after a changing patch", liveEntries(t, tables),
		map[string]uint32{"192.0.2.0/24": 2, "2001:db8:1::/48": 1})

	used := patch(nil, changed.Prefix, inside.Prefix)
	wantHits(t, "used, of a removing patch", used, map[string]uint32{"192.0.2.0/24": 2})
	wantHits(t, "after a removing patch", liveEntries(t, tables), map[string]uint32{"2001:db8:1::/48": 1})

	// To publish what was read must not count it twice.
	policy.Generation, policy.Entries = 9, liveEntries(t, tables)
	knock("2001:db8:1::2")
	used, err := tables.Publish(policy)
	if err != nil {
		t.Fatal(err)
	}
	wantHits(t, "used, of a publish", used, map[string]uint32{"2001:db8:1::/48": 2})
	wantHits(t, "after a publish", liveEntries(t, tables), map[string]uint32{})
	knock("2001:db8:1::2")
	wantHits(t, "after an opening", liveEntries(t, tables), map[string]uint32{"2001:db8:1::/48": 1})
}
