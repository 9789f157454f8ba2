// Owners: what holds for an organisation holds for all its entries and for nobody else's,
// at once and over every change of the list, and what became of its openings is counted
// once, at the entry that decided.
package maps_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// perHour is a burst, and nothing after it that a test could wait for.
func perHour(burst uint32) maps.Limit { return maps.Limit{PerSecond: 1.0 / 3600, Burst: burst} }

func setOwner(t *testing.T, tables *maps.Tables, number uint16, o maps.Owner) {
	t.Helper()
	if err := tables.SetOwner(number, o); err != nil {
		t.Fatal(err)
	}
	if same, err := tables.SameOwner(number, o); !same || err != nil {
		t.Errorf("owner %d is not %+v: %v", number, o, err)
	}
}

// owned is an entry of an owner.
func owned(prefix string, owner uint16) maps.Entry {
	return maps.Entry{Prefix: netip.MustParsePrefix(prefix), Services: maps.EveryService, Owner: owner}
}

// nestedPolicy has two owners, one within the other, and one entry of nobody's.
func nestedPolicy(generation uint64) maps.Policy {
	policy := policyOf(generation)
	policy.Entries = []maps.Entry{
		owned("192.0.2.0/24", 1), owned("192.0.2.128/25", 2), owned("2001:db8:1::/48", 1), owned("203.0.113.0/24", 0),
	}
	return policy
}

// Promise: suspend stops an owner at once, overrides what covers him, and outlives
// publish, patch and the daemon; nobody else notices.
func TestSuspendedOwner(t *testing.T) {
	tables, pins := open(t, nestedPolicy(1))
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	const drop, pass = 1, 2
	check := func(what string, want map[string]maps.Reason) {
		t.Helper()
		for source, reason := range want {
			if got := ask(t, shadow, source); got != reason {
				t.Errorf("%s: %s is %v, want %v", what, source, got, reason)
			}
			action := uint32(drop)
			if reason == maps.Listed {
				action = pass
			}
			for _, udp := range []bool{false, true} {
				frame := mapstest.Opening(addr(source), port)
				frame.UDP = udp
				if got := gate.Run(t, frame.Bytes()); got != action {
					t.Errorf("%s: action on %s, UDP %v: %d, want %d", what, source, udp, got, action)
				}
			}
			fragment := mapstest.Opening(addr(source), port)
			fragment.Fragment = 1
			if got := gate.Run(t, fragment.Bytes()); got != action {
				t.Errorf("%s: action on a fragment of %s: %d, want %d", what, source, got, action)
			}
			segment := mapstest.Opening(addr(source), port) // open connections live on
			segment.Flags = mapstest.ACK
			if got := gate.Run(t, segment.Bytes()); got != pass {
				t.Errorf("%s: action on a segment of %s: %d", what, source, got)
			}
		}
	}
	reasons := func(one, two, six, none maps.Reason) map[string]maps.Reason {
		return map[string]maps.Reason{"192.0.2.1": one, "192.0.2.200": two, "2001:db8:1::1": six, "203.0.113.1": none}
	}
	check("nobody suspended", reasons(maps.Listed, maps.Listed, maps.Listed, maps.Listed))
	setOwner(t, tables, 1, maps.Owner{Suspended: true})
	first := reasons(maps.Suspended, maps.Listed, maps.Suspended, maps.Listed)
	check("1 suspended", first)
	mapstest.Publish(t, tables, nestedPolicy(2))
	check("published", first)
	if _, err := tables.Patch([]maps.Entry{owned("198.51.100.0/24", 1)}, nil, 3); err != nil {
		t.Fatal(err)
	}
	first["198.51.100.1"] = maps.Suspended
	check("patched", first)
	next := reopen(t, pins)
	delete(first, "198.51.100.1")
	mapstest.Publish(t, next, nestedPolicy(4))
	check("after a restart", first)

	setOwner(t, next, 2, maps.Owner{Suspended: true}) // the /24 around him does not save him
	setOwner(t, next, 1, maps.Owner{})
	check("2 suspended, 1 resumed", reasons(maps.Listed, maps.Suspended, maps.Listed, maps.Listed))
	setOwner(t, next, 2, maps.Owner{})
	check("all resumed", reasons(maps.Listed, maps.Listed, maps.Listed, maps.Listed))
}

// charged are the openings of every owner that has any.
func charged(t *testing.T, tables *maps.Tables) map[uint16]maps.Openings {
	t.Helper()
	all, now := map[uint16]maps.Openings{}, uint32(boottime(t)/1e9)
	for number := range maps.MaxOwners + 1 {
		o, err := tables.Openings(uint16(number))
		if err != nil {
			t.Fatal(err)
		}
		if seen := o.LastSeen != 0; seen != (o.Passed != 0) || seen && (o.LastSeen > now || o.LastSeen+60 < now) {
			t.Errorf("owner %d passed %d, last seen at %d, it is %d", number, o.Passed, o.LastSeen, now)
		}
		o.LastSeen = 0
		for _, by := range []map[maps.Reason]uint64{o.Dropped, o.Audited} {
			if len(by) != 4 {
				t.Errorf("owner %d: %v are not all four reasons", number, by)
			}
			for reason, n := range by {
				if n == 0 {
					delete(by, reason)
				}
			}
		}
		if o.Passed != 0 || len(o.Dropped)+len(o.Audited) != 0 {
			all[uint16(number)] = o
		}
	}
	return all
}

// chargesPolicy enforces port and audits the next one. Of owner 1 are a listed network,
// an expired host, one of a service that nobody asks for and a suspended one in it;
// 2 is suspended, 3 is limited; an expired host of 4 lies in a network of 5.
func chargesPolicy() maps.Policy {
	policy := policyOf(1)
	policy.Services = append(policy.Services, maps.Service{TCP: []uint16{port + 1}, UDP: []uint16{port + 1}})
	policy.Entries = []maps.Entry{
		owned("10.0.0.0/24", 1), owned("10.1.0.1/32", 1), owned("10.1.0.2/32", 1), owned("10.0.0.3/32", 1),
		owned("2001:db8:2::/48", 2), owned("10.3.0.0/24", 3), owned("10.5.0.1/32", 4), owned("10.5.0.0/24", 5), owned("10.9.0.0/24", 0),
	}
	policy.Entries[1].Expires = 1
	policy.Entries[2].Services = maps.ServiceBit(9)
	policy.Entries[3].Suspended = true
	policy.Entries[6].Expires = 1
	return policy
}

// The whole effect of some openings: on every owner, on every counter, on every entry.
func TestOpeningsAreChargedToTheEntryThatDecides(t *testing.T) {
	tables := mapstest.Tables(t, chargesPolicy())
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	setOwner(t, tables, 2, maps.Owner{Suspended: true})
	setOwner(t, tables, 3, maps.Owner{Limit: perHour(2)})
	sources := []string{
		"10.0.0.1", "10.1.0.1", "10.1.0.2", "10.0.0.3", "2001:db8:2::1", "10.3.0.1", "10.3.0.2", "10.3.0.3",
		"10.5.0.1", "10.9.0.1", "198.51.100.1", "2001:db8:9::1",
	}
	for _, source := range sources { // what is no opening of TCP, and what the shadow program is asked
		for _, at := range []uint16{port, port + 1} {
			opening := mapstest.Opening(addr(source), at)
			udp, ack, zero, later := opening, opening, opening, opening
			udp.UDP, zero.SourcePort, later.Fragment = true, 0, 2
			ack.Flags |= mapstest.ACK
			for _, frame := range []mapstest.Frame{udp, ack, zero, later} {
				gate.Run(t, frame.Bytes())
			}
			shadow.Run(t, opening.Bytes())
		}
	}
	if got := charged(t, tables); len(got) != 0 {
		t.Errorf("charged for nothing: %+v", got)
	}
	wantHits(t, "no opening", liveEntries(t, tables), map[string]uint32{})
	before := gate.Counted(t)
	for _, at := range []uint16{port, port + 1} {
		for _, source := range sources {
			gate.Run(t, mapstest.Opening(addr(source), at).Bytes())
		}
	}
	refusedBy := func(n uint64) map[maps.Reason]uint64 {
		return map[maps.Reason]uint64{maps.Expired: n, maps.WrongService: n, maps.Suspended: n}
	}
	want := map[uint16]maps.Openings{
		1: {Passed: 2, Dropped: refusedBy(1), Audited: refusedBy(1)},
		2: {Dropped: map[maps.Reason]uint64{maps.Suspended: 1}, Audited: map[maps.Reason]uint64{maps.Suspended: 1}},
		3: {Passed: 2, Dropped: map[maps.Reason]uint64{maps.RateLimited: 1}, Audited: map[maps.Reason]uint64{maps.RateLimited: 3}},
		5: {Passed: 2, Dropped: map[maps.Reason]uint64{}, Audited: map[maps.Reason]uint64{}},
	}
	if diff := cmp.Diff(want, charged(t, tables), cmp.Transformer("", withoutNil)); diff != "" {
		t.Errorf("openings (-want +got)\n%s", diff)
	}
	wantHits(t, "openings", liveEntries(t, tables),
		map[string]uint32{"10.0.0.0/24": 2, "10.3.0.0/24": 2, "10.5.0.0/24": 2, "10.9.0.0/24": 2})
	wantDelta := map[string]uint64{"pass listed ipv4": 8}
	for verdict, limited := range map[string]uint64{"drop": 1, "audit": 3} {
		for what, n := range map[string]uint64{
			"expired ipv4": 1, "wrong_service ipv4": 1, "suspended ipv4": 1, "suspended ipv6": 1,
			"rate_limited ipv4": limited, "not_listed ipv4": 1, "not_listed ipv6": 1,
		} {
			wantDelta[verdict+" "+what] = n
		}
	}
	delta := map[string]uint64{}
	for series, count := range gate.Counted(t) {
		if n := count.Packets - before[series].Packets; n != 0 {
			delta[fmt.Sprint(series.Verdict, " ", series.Reason, " ", series.Family)] = n
		}
	}
	if diff := cmp.Diff(wantDelta, delta); diff != "" {
		t.Errorf("counters (-want +got)\n%s", diff)
	}
}

// withoutNil makes no difference between no map and an empty one.
func withoutNil(m map[maps.Reason]uint64) []string {
	all := []string{}
	for _, reason := range maps.Reasons() {
		if m[reason] != 0 {
			all = append(all, fmt.Sprint(reason, m[reason]))
		}
	}
	return all
}

// Promise: 4,096 owners or more. Each of as many as there is room for has its own word.
func TestAsManyOwnersAsThereIsRoomFor(t *testing.T) {
	policy := policyOf(1)
	source := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 1}) }
	what := func(n int) maps.Owner {
		return maps.Owner{Suspended: n%2 == 1, Limit: maps.Limit{PerSecond: 1.0 / float64(n), Burst: uint32(n)}}
	}
	for n := 1; n <= maps.MaxOwners; n++ {
		policy.Entries = append(policy.Entries, owned(source(n).String()+"/32", uint16(n)))
	}
	tables := mapstest.Tables(t, policy)
	gate := mapstest.Load(t, tables, false)
	for n := 1; n <= maps.MaxOwners; n++ {
		if err := tables.SetOwner(uint16(n), what(n)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[uint16]maps.Openings{}
	for n := 1; n <= maps.MaxOwners; n++ {
		if same, err := tables.SameOwner(uint16(n), what(n)); !same || err != nil {
			t.Fatalf("owner %d is another: %v", n, err)
		}
		if same, _ := tables.SameOwner(uint16(n), what(n+2)); same {
			t.Fatalf("owner %d is said to be any", n)
		}
		gate.Run(t, mapstest.Opening(source(n), port).Bytes())
		if want[uint16(n)] = (maps.Openings{Passed: 1}); n%2 == 1 {
			want[uint16(n)] = maps.Openings{Dropped: map[maps.Reason]uint64{maps.Suspended: 1}}
		}
	}
	if diff := cmp.Diff(want, charged(t, tables), cmp.Transformer("", withoutNil)); diff != "" {
		t.Errorf("openings (-want +got)\n%s", diff)
	}

	// A number that is forgotten is as new, and its neighbours keep what they have.
	for _, n := range []uint16{1, 4000, uint16(maps.MaxOwners)} {
		if err := tables.ForgetOwner(n); err != nil {
			t.Fatal(err)
		}
		if same, err := tables.SameOwner(n, maps.Owner{}); !same || err != nil {
			t.Errorf("owner %d is remembered: %v", n, err)
		}
		delete(want, n)
	}
	if diff := cmp.Diff(want, charged(t, tables), cmp.Transformer("", withoutNil)); diff != "" {
		t.Errorf("openings after some were forgotten (-want +got)\n%s", diff)
	}
	for _, n := range []uint16{0, uint16(maps.MaxOwners + 1), 1<<16 - 1} {
		if err := tables.SetOwner(n, maps.Owner{Suspended: true}); err == nil {
			t.Errorf("owner %d was set", n)
		}
	}
}
