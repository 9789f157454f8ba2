// Package disguise makes TCP SYNs that do not look like one and that Linux answers all
// the same: behind tags, options, extension headers and fragments, with odd flags and
// with data. A filter is held to Linux with them: what Linux opens for a source that is
// not listed, the filter must not let through.
//
// Most cases are such that Linux opens a connection; a few are spoilt, because what
// Linux refuses today another kernel may take.
package disguise

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
)

// Class is what a case hides behind in the first place; it has some of the others too.
type Class string

const (
	Tags      Class = "tags"      // 802.1Q and 802.1AD tags with VID 0
	Options   Class = "options"   // IPv4 options
	Headers   Class = "headers"   // IPv6 extension headers
	Fragments Class = "fragments" // in any order, some of them twice
	Flags     Class = "flags"     // of TCP, beside SYN and without ACK
	Data      Class = "data"      // TCP options, payload, odd lengths
)

// Kind is a class in a family. Class and family go together as in Kinds.
type Kind struct {
	Class Class
	IPv6  bool
}

func (k Kind) String() string {
	if k.IPv6 {
		return string(k.Class) + "/ipv6"
	}
	return string(k.Class) + "/ipv4"
}

// Kinds are all the kinds that there are.
var Kinds = []Kind{
	{Tags, false},
	{Tags, true},
	{Options, false},
	{Headers, true},
	{Fragments, false},
	{Fragments, true},
	{Flags, false},
	{Flags, true},
	{Data, false},
	{Data, true},
}

// Target is the host whose port the cases knock at.
type Target struct {
	HostMAC, WireMAC net.HardwareAddr
	Addrs4, Addrs6   []netip.Addr // the host's own, whichever interface has them
	Port             uint16
}

// Case is one attempt to open a connection. Frames are Ethernet frames, to be sent in
// order; Recipe says how they were made.
type Case struct {
	Kind   Kind
	Source netip.AddrPort
	Frames [][]byte
	Recipe string
	// Barred is true of what the filter drops from every source by design: a source
	// route, source port 0, and so many tags that no source is reached.
	Barred bool
}

// String returns what is needed to send the case again.
func (c Case) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s from %s: %s", c.Kind, c.Source, c.Recipe)
	for _, frame := range c.Frames {
		fmt.Fprintf(&b, "\n  %x", frame)
	}
	return b.String()
}

// sketch is a case in the making.
type sketch struct {
	*rand.Rand
	target      Target
	kind        Kind
	source      netip.AddrPort
	destination netip.Addr
	recipe      []string
	barred      bool
}

// Disguise makes a case of a kind. The source address is of the kind's family, and
// should belong to this case alone: an answer to it is then an answer to this case.
func (t Target) Disguise(r *rand.Rand, kind Kind, source netip.Addr) Case {
	s := t.sketch(r, kind, source)
	if kind.Class == Data && s.often(3) {
		s.source = netip.AddrPortFrom(source, 0)
		s.barred = true
		s.note("source port 0")
	}
	var packets [][]byte
	if kind.IPv6 {
		packets = s.ipv6()
	} else {
		packets = s.ipv4()
	}
	return s.finish(s.frames(packets))
}

func (t Target) sketch(r *rand.Rand, kind Kind, source netip.Addr) *sketch {
	s := &sketch{Rand: r, target: t, kind: kind}
	addrs := t.Addrs4
	if kind.IPv6 {
		addrs = t.Addrs6
	}
	s.source = netip.AddrPortFrom(source, uint16(1+r.IntN(65535)))
	s.destination = pick(s, addrs)
	return s
}

func (s *sketch) finish(frames [][]byte) Case {
	return Case{Kind: s.kind, Source: s.source, Frames: frames, Recipe: strings.Join(s.recipe, ", "), Barred: s.barred}
}

func (s *sketch) note(format string, args ...any) {
	s.recipe = append(s.recipe, fmt.Sprintf(format, args...))
}

// is reports whether the case hides behind c in the first place, or is one of the few
// of another class that do so too.
func (s *sketch) is(c Class, percent int) bool { return s.kind.Class == c || s.often(percent) }

func (s *sketch) often(percent int) bool { return s.IntN(100) < percent }

// between returns a number from low to high, both included.
func (s *sketch) between(low, high int) int { return low + s.IntN(high-low+1) }

func (s *sketch) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return b
}

func pick[T any](s *sketch, from []T) T { return from[s.IntN(len(from))] }
