// Events: what people are told of a refused packet is what it was, of every one that is
// sampled, and nothing is told of those that pass.
package maps_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
	"github.com/xdpallow/xdpallow/maps/ring"
)

// openEvents has every refused packet sampled.
func openEvents(t *testing.T, tables *maps.Tables) *ring.Reader {
	t.Helper()
	if err := tables.SetSampling(1, 1); err != nil {
		t.Fatal(err)
	}
	events, err := ring.Open(tables)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	return events
}

func drained(t *testing.T, events *ring.Reader) (all []ring.Event) {
	t.Helper()
	if err := events.Drain(func(e ring.Event) { all = append(all, e) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// loopback is the interface of a test run.
const loopback = 1

// refusals are refused packets of every kind, each with its event.
func refusals() map[string]struct {
	frame []byte
	want  ring.Event
} {
	type refusal = struct {
		frame []byte
		want  ring.Event
	}
	const tcp, udp = 6, 17
	v4, v6 := mapstest.Opening(addr("198.51.100.9"), port), mapstest.Opening(addr("2001:db8:9::9"), port)
	all := map[string]refusal{}
	of := func(name string, frame []byte, e ring.Event) {
		e.Interface, e.Weight, e.Length, e.Verdict = loopback, 1, uint32(len(frame)), maps.Drop
		all[name] = refusal{frame, e}
	}
	frameOf := func(name string, f mapstest.Frame, reason maps.Reason, protocol uint8, port uint16) {
		family := maps.IPv4
		if f.Source.Is6() {
			family = maps.IPv6
		}
		of(name, f.Bytes(), ring.Event{Source: f.Source, Family: family, Reason: reason, Protocol: protocol, Port: port})
	}
	for name, f := range map[string]mapstest.Frame{"ipv4": v4, "ipv6": v6} {
		frameOf(name, f, maps.NotListed, tcp, port)
		tagged, long, zero, first, later, datagram := f, f, f, f, f, f
		tagged.Tags, long.Payload, zero.SourcePort, datagram.UDP = 2, 1400, 0, true
		first.More, later.Fragment = true, 3
		frameOf(name+", two tags", tagged, maps.NotListed, tcp, port)
		frameOf(name+", long", long, maps.NotListed, tcp, port)
		frameOf(name+", no source port", zero, maps.SourcePortZero, tcp, port)
		frameOf(name+", a datagram", datagram, maps.NotListed, udp, port)
		frameOf(name+", first fragment", first, maps.Fragment, tcp, 0)
		frameOf(name+", later fragment", later, maps.Fragment, tcp, 0)
	}
	routed := v4
	routed.Options = []byte{131, 7, 4, 10, 0, 0, 1, 0}
	frameOf("source route", routed, maps.SourceRoute, tcp, port)
	suspended, expired, foreign := v4, v6, v4
	suspended.Source, expired.Source, foreign.Source = addr("192.0.2.8"), addr("2001:db8:1::7"), addr("192.0.2.9")
	frameOf("suspended", suspended, maps.Suspended, tcp, port)
	frameOf("expired", expired, maps.Expired, tcp, port)
	frameOf("of another service", foreign, maps.WrongService, tcp, port)

	limited := v4
	limited.Source = addr("192.0.2.10")
	frameOf("over its rate", limited, maps.RateLimited, tcp, port)

	deep := v4
	deep.Tags = 5
	of("five tags", deep.Bytes(), ring.Event{Family: maps.Other, Reason: maps.TooDeep})
	of("half a tag", append(make([]byte, 12), 0x81, 0x00, 0), ring.Event{Family: maps.Other, Reason: maps.Malformed})
	short := v4.Bytes()[:14+16] // the source is there, not the header's end
	of("cut IPv4 header", short, ring.Event{Family: maps.IPv4, Reason: maps.Malformed})
	of("cut IPv6 header", v6.Bytes()[:14+24], ring.Event{Family: maps.IPv6, Reason: maps.Malformed})
	return all
}

// eventsPolicy lists what refusals needs, and 192.0.2.1.
func eventsPolicy() maps.Policy {
	policy := policyOf(1, "192.0.2.1/32", "192.0.2.8/32", "2001:db8:1::7/128", "192.0.2.9/32", "192.0.2.10/32")
	policy.Entries[1].Suspended = true
	policy.Entries[2].Expires = 1
	policy.Entries[3].Services = maps.ServiceBit(2)
	policy.Entries[4].Owner = 1
	return policy
}

// exhaust gives owner 1 a limit that its next opening is over.
func exhaust(t *testing.T, tables *maps.Tables, gate mapstest.Program) {
	t.Helper()
	if err := tables.SetOwner(1, maps.Owner{Limit: perHour(1)}); err != nil {
		t.Fatal(err)
	}
	gate.Run(t, mapstest.Opening(addr("192.0.2.10"), port).Bytes())
}

func TestEveryRefusedPacketIsAnEvent(t *testing.T) {
	tables := mapstest.Tables(t, eventsPolicy())
	gate, shadow, events := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true), openEvents(t, tables)
	exhaust(t, tables, gate)
	for name, refusal := range refusals() {
		before := boottime(t)
		shadow.Run(t, refusal.frame)
		if got := drained(t, events); got != nil {
			t.Errorf("%s: the shadow program told of %+v", name, got)
		}
		gate.Run(t, refusal.frame)
		got := drained(t, events)
		for i := range got {
			if got[i].Time < before || got[i].Time > boottime(t) {
				t.Errorf("%s: at %d, it was %d", name, got[i].Time, before)
			}
		}
		diff := cmp.Diff([]ring.Event{refusal.want}, got, cmpopts.IgnoreFields(ring.Event{}, "Time"), cmpopts.EquateComparable(netip.Addr{}))
		if diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// What passes is nobody's business, audit is: it says what enforce would cost.
func TestOnlyRefusedPacketsAreEvents(t *testing.T) {
	policy := eventsPolicy()
	policy.Services[0].Enforce = false
	tables := mapstest.Tables(t, policy)
	gate, events := mapstest.Load(t, tables, false), openEvents(t, tables)
	listed := mapstest.Opening(addr("192.0.2.1"), port)
	ack, elsewhere, arp := listed, listed, listed.Bytes()
	ack.Source, ack.Flags = addr("198.51.100.9"), mapstest.ACK
	elsewhere.Source, elsewhere.Port = ack.Source, port+1
	arp[13] = 0x06
	for _, frame := range [][]byte{listed.Bytes(), ack.Bytes(), elsewhere.Bytes(), arp} {
		gate.Run(t, frame)
	}
	if got := drained(t, events); got != nil {
		t.Errorf("passed, and told of: %+v", got)
	}
	gate.Run(t, mapstest.Opening(ack.Source, port).Bytes())
	if got := drained(t, events); len(got) != 1 || got[0].Verdict != maps.Audit || got[0].Reason != maps.NotListed {
		t.Errorf("audited: %+v", got)
	}
}
