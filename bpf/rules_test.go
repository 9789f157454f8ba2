// The rules of README.md that are easier said as a table over bits than as single
// packets: what opens a connection, what a fragment hides, and what is refused
// from every source. The promises are 0 leaks and 0 false drops.
package bpf_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

const guarded, other = 8443, 8444

// listed and unlisted are sources under rulesPolicy, one of each family.
var (
	listed   = []netip.Addr{netip.MustParseAddr("198.18.5.9"), netip.MustParseAddr("fd00:18:0:5::9")}
	unlisted = []netip.Addr{netip.MustParseAddr("198.18.6.9"), netip.MustParseAddr("fd00:18:0:6::9")}
)

func rulesPolicy() maps.Policy {
	policy := casesPolicy(true, maps.ScopeSYN)
	policy.Services[0].UDP = []uint16{guarded}
	return policy
}

func rulesShadow(t *testing.T) mapstest.Program {
	return mapstest.Load(t, mapstest.Tables(t, rulesPolicy()), true)
}

// expect holds a shadow program's reason for frame against want; the mode is enforce.
func expect(t *testing.T, shadow mapstest.Program, what string, frame []byte, want maps.Reason) {
	t.Helper()
	verdict := maps.Drop
	if want.Passes() {
		verdict = maps.Pass
	}
	if got := maps.AnswerOf(shadow.Run(t, frame)); got != (maps.Answer{Verdict: verdict, Reason: want}) {
		t.Errorf("%s: %v, want %v, %v", what, got, verdict, want)
	}
}

// All 256 flag bytes: SYN without ACK opens, whatever else is set, and nothing else. A
// segment without SYN, ACK and RST belongs to no connection, and is judged by its source.
func TestOnlySYNWithoutACKOpens(t *testing.T) {
	const syn, ack, rst = mapstest.SYN, mapstest.ACK, mapstest.RST
	shadow := rulesShadow(t)
	openings, scans := 0, 0
	for flags := range 256 {
		for family := range listed {
			toListed, toUnlisted := maps.NotOpening, maps.NotOpening
			switch {
			case flags&(syn|ack) == syn:
				toListed, toUnlisted = maps.Listed, maps.NotListed
				openings++
			case flags&(syn|ack|rst) == 0:
				toListed, toUnlisted = maps.Listed, maps.NotListed
				scans++
			}
			frame := mapstest.Opening(listed[family], guarded)
			frame.Flags = uint8(flags)
			expect(t, shadow, fmt.Sprintf("flags %08b from %v", flags, frame.Source), frame.Bytes(), toListed)
			frame.Source = unlisted[family]
			expect(t, shadow, fmt.Sprintf("flags %08b from %v", flags, frame.Source), frame.Bytes(), toUnlisted)
			frame.Port = other
			expect(t, shadow, fmt.Sprintf("flags %08b to another port", flags), frame.Bytes(), maps.OtherPort)
		}
	}
	if openings != 2*64 {
		t.Errorf("%d openings, of 256 flag bytes 64 are some", openings)
	}
	if scans != 2*32 {
		t.Errorf("%d scans, of 256 flag bytes 32 are some", scans)
	}
}

// A datagram is an opening and is judged by its first fragment, which has the port.
// Of TCP every fragment is judged.
func TestFragments(t *testing.T) {
	shadow := rulesShadow(t)
	for _, c := range []struct {
		what             string
		udp, more        bool
		offset           uint16
		listed, unlisted maps.Reason
	}{
		{"datagram", true, false, 0, maps.Listed, maps.NotListed},
		{"first fragment of UDP", true, true, 0, maps.Listed, maps.NotListed},
		{"middle fragment of UDP", true, true, 2, maps.OtherProtocol, maps.OtherProtocol},
		{"last fragment of UDP", true, false, 2, maps.OtherProtocol, maps.OtherProtocol},
		{"first fragment of TCP", false, true, 0, maps.Listed, maps.Fragment},
		{"middle fragment of TCP", false, true, 1, maps.Listed, maps.Fragment},
		{"last fragment of TCP", false, false, 0x1fff, maps.Listed, maps.Fragment},
	} {
		for family := range listed {
			frame := mapstest.Opening(listed[family], guarded)
			frame.UDP, frame.More, frame.Fragment = c.udp, c.more, c.offset
			expect(t, shadow, fmt.Sprintf("%s from %v", c.what, frame.Source), frame.Bytes(), c.listed)
			frame.Source = unlisted[family]
			expect(t, shadow, fmt.Sprintf("%s from %v", c.what, frame.Source), frame.Bytes(), c.unlisted)
			// Another port is nobody's, but a fragment of TCP might be any port's.
			frame.Port = other
			want := c.unlisted
			if want == maps.NotListed {
				want = maps.OtherPort
			}
			expect(t, shadow, c.what+" to another port", frame.Bytes(), want)
		}
	}
}

// With a source route the SYN-ACK goes where the sender says: a faked listed source
// would open a connection.
func TestSourceRouteIsDroppedFromEverySource(t *testing.T) {
	const nop, end, record = 1, 0, 7
	shadow := rulesShadow(t)
	for name, c := range map[string]struct {
		options []byte
		routed  bool
	}{
		"loose":                     {[]byte{131, 3, 4, end}, true},
		"strict":                    {[]byte{137, 3, 4, end}, true},
		"strict with an address":    {[]byte{nop, 137, 7, 4, 10, 0, 0, 1}, true},
		"loose behind NOPs":         {[]byte{nop, nop, nop, nop, nop, 131, 3, 4}, true},
		"loose behind record route": {[]byte{record, 7, 4, 0, 0, 0, 0, 131, 3, 4, end, end}, true},
		"loose as the 38th byte":    {append(bytes.Repeat([]byte{nop}, 37), 131, 3, 4), true},
		"record route":              {[]byte{record, 3, 4, end}, false},
		"loose behind the end":      {[]byte{end, 131, 3, 4}, false},
		"loose inside an option":    {[]byte{record, 7, 131, 137, 131, 137, 131, end}, false},
	} {
		for _, udp := range []bool{false, true} {
			frame := mapstest.Opening(listed[0], guarded)
			frame.UDP, frame.Options = udp, c.options
			want, wantUnlisted := maps.Listed, maps.NotListed
			if c.routed {
				want, wantUnlisted = maps.SourceRoute, maps.SourceRoute
			}
			expect(t, shadow, fmt.Sprintf("%s, udp %v, listed", name, udp), frame.Bytes(), want)
			frame.Source = unlisted[0]
			expect(t, shadow, fmt.Sprintf("%s, udp %v, unlisted", name, udp), frame.Bytes(), wantUnlisted)
			frame.Port = other
			expect(t, shadow, fmt.Sprintf("%s, udp %v, other port", name, udp), frame.Bytes(), maps.OtherPort)
		}
	}
}

// accept() fails on TCP from port 0; UDP from port 0 only cannot be answered.
func TestSourcePortZeroIsDroppedFromEverySource(t *testing.T) {
	shadow := rulesShadow(t)
	for family := range listed {
		for _, source := range []netip.Addr{listed[family], unlisted[family]} {
			frame := mapstest.Opening(source, guarded)
			frame.SourcePort = 0
			expect(t, shadow, fmt.Sprintf("from port 0 of %v", source), frame.Bytes(), maps.SourcePortZero)
			frame.Port = other
			expect(t, shadow, fmt.Sprintf("from port 0 of %v to another port", source), frame.Bytes(), maps.OtherPort)
		}
		frame := mapstest.Opening(listed[family], guarded)
		frame.SourcePort, frame.UDP = 0, true
		expect(t, shadow, "datagram from port 0", frame.Bytes(), maps.Listed)
		frame.Source = unlisted[family]
		expect(t, shadow, "datagram from port 0", frame.Bytes(), maps.NotListed)
	}
}

// A frame of several buffers is judged by its first, and counted whole.
func TestMultiBufferFrames(t *testing.T) {
	const size, xdpDrop, xdpPass = 6000, 1, 2
	// A test run takes these frames without it; a driver with a large MTU does not.
	spec, err := bpf.LoadXdpallow()
	if err != nil {
		t.Fatal(err)
	}
	if section := spec.Programs[bpf.XdpallowProgXdpallow].SectionName; section != "xdp.frags" {
		t.Errorf("the program is in section %s", section)
	}
	tables := mapstest.Tables(t, rulesPolicy())
	for family := range listed {
		gate := mapstest.Load(t, tables, false)
		want := map[counters.Series]counters.Count{}
		for source, action := range map[netip.Addr]uint32{listed[family]: xdpPass, unlisted[family]: xdpDrop} {
			frame := mapstest.Opening(source, guarded)
			frame.Payload = size - len(frame.Bytes())
			if got := gate.Run(t, frame.Bytes()); got != action {
				t.Errorf("%d bytes from %v: action %d, want %d", len(frame.Bytes()), source, got, action)
			}
		}
		f := maps.Family(family)
		want[counters.Series{Verdict: maps.Pass, Reason: maps.Listed, Family: f}] = counters.Count{Packets: 1, Bytes: size}
		want[counters.Series{Verdict: maps.Drop, Reason: maps.NotListed, Family: f}] = counters.Count{Packets: 1, Bytes: size}
		if diff := cmp.Diff(want, gate.Counted(t)); diff != "" {
			t.Errorf("counters (-want +got)\n%s", diff)
		}
	}
}

// What lies behind the first buffer cannot be read, so it cannot be cleared: two
// extension headers of 2048 bytes push TCP out of it, one does not.
func TestHeaderBehindTheFirstBuffer(t *testing.T) {
	const destination, tcp = 60, 6
	shadow := rulesShadow(t)
	extended := func(source netip.Addr, headers int) []byte {
		b := mapstest.Opening(source, guarded).Bytes()
		at := len(b) - 20
		front, rest := append([]byte{}, b[:at]...), b[at:]
		for i := range headers {
			next := byte(destination)
			if i == headers-1 {
				next = tcp
			}
			front = append(append(front, next, 255), make([]byte, 2046)...)
		}
		front[20] = destination
		binary.BigEndian.PutUint16(front[18:], uint16(headers*2048+20))
		return append(front, rest...)
	}
	expect(t, shadow, "one, unlisted", extended(unlisted[1], 1), maps.NotListed)
	expect(t, shadow, "two, unlisted", extended(unlisted[1], 2), maps.Malformed)
	// His source can be read, and Linux can read the rest: no client regresses.
	expect(t, shadow, "two, listed", extended(listed[1], 2), maps.Listed)
}

// Strict promises that routers and keepalived pairs go on talking, also where they sign
// what they say with an authentication header. One that holds TCP or UDP, or that we
// cannot read, could hide a connection to a port of ours.
func TestStrictReadsAuthenticationHeaders(t *testing.T) {
	const ah, tcp, udp, ospf, vrrp, ipip = 51, 6, 17, 89, 112, 4
	strict := mapstest.Load(t, mapstest.Tables(t, casesPolicy(true, maps.ScopeStrict)), true)
	syn := rulesShadow(t)
	header := func(next, words byte) []byte {
		return append([]byte{next, words}, make([]byte, 4*(int(words)+2)-2)...)
	}
	for _, c := range []struct {
		what     string
		payload  []byte
		fragment uint16 // as it stands in the header
		unlisted maps.Reason
	}{
		{"VRRP", append(header(vrrp, 4), make([]byte, 20)...), 0, maps.OtherProtocol},
		{"OSPF", append(header(ospf, 4), make([]byte, 20)...), 0, maps.OtherProtocol},
		{"OSPF, the first fragment", append(header(ospf, 4), make([]byte, 16)...), 0x2000, maps.OtherProtocol},
		{"OSPF, a later fragment", bytes.Repeat([]byte{tcp}, 24), 5, maps.OtherProtocol},
		{"TCP", append(header(tcp, 4), make([]byte, 20)...), 0, maps.UnknownProto},
		{"TCP, the first fragment", append(header(tcp, 4), make([]byte, 16)...), 0x2000, maps.UnknownProto},
		{"UDP", append(header(udp, 4), make([]byte, 20)...), 0, maps.UnknownProto},
		{"IP in IP", append(header(ipip, 4), make([]byte, 20)...), 0, maps.Tunnel},
		{"another one", append(header(ah, 4), header(vrrp, 4)...), 0, maps.UnknownProto},
		{"VRRP, cut", header(vrrp, 4)[:20], 0, maps.UnknownProto},
		{"VRRP, cut before its length", header(vrrp, 4)[:4], 0, maps.UnknownProto},
	} {
		for _, source := range []netip.Addr{listed[0], unlisted[0]} {
			frame := mapstest.Opening(source, guarded).Bytes()[:34]
			frame[14+9] = ah
			binary.BigEndian.PutUint16(frame[14+6:], c.fragment)
			binary.BigEndian.PutUint16(frame[14+2:], uint16(20+len(c.payload)))
			frame = append(frame, c.payload...)
			want := c.unlisted
			if source == listed[0] && !want.Passes() {
				want = maps.Listed
			}
			expect(t, strict, fmt.Sprintf("strict, %s from %v", c.what, source), frame, want)
			expect(t, syn, fmt.Sprintf("syn, %s from %v", c.what, source), frame, maps.OtherProtocol)
		}
	}
}

// In generic mode the program sees segments that Linux has joined, which may be longer
// than the length field of IP can say: it is 0 then, and means all that is left. Up to
// 65,535 bytes a 0 is a lie.
func TestLongerThanTheLengthField(t *testing.T) {
	const most = 0xffff
	shadow := rulesShadow(t)
	for family := range listed {
		for _, c := range []struct {
			length           int // that the field should say
			port             uint16
			flags            uint8
			listed, unlisted maps.Reason
		}{
			{most + 1, guarded, mapstest.ACK, maps.NotOpening, maps.NotOpening},
			{most + 1, other, mapstest.ACK, maps.OtherPort, maps.OtherPort},
			{most + 1, guarded, mapstest.SYN, maps.Listed, maps.NotListed},
			{most, guarded, mapstest.ACK, maps.Listed, maps.Malformed},
			{most, other, mapstest.ACK, maps.Listed, maps.Malformed},
		} {
			for source, want := range map[netip.Addr]maps.Reason{listed[family]: c.listed, unlisted[family]: c.unlisted} {
				frame := longFrame(source, c.port, c.flags, c.length)
				expect(t, shadow, fmt.Sprintf("%d bytes to %d, flags %#x, from %v", c.length, c.port, c.flags, source), frame, want)
			}
		}
	}
}

// longFrame is a segment whose length field should say length, and says 0.
func longFrame(source netip.Addr, port uint16, flags uint8, length int) []byte {
	uncounted, at := 14, 14+2
	if source.Is6() {
		uncounted, at = 14+40, 14+4
	}
	frame := mapstest.Opening(source, port)
	frame.Flags = flags
	frame.Payload = uncounted + length - len(frame.Bytes())
	b := frame.Bytes()
	b[at], b[at+1] = 0, 0
	return b
}
