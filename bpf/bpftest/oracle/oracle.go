// Package oracle decides packets a second time, so that nobody has to trust the C:
// it is written from the packet rules, the RFCs and what Linux does, never from the program, and
// in the plain way that a verifier refuses. Tests compare the two on packets that its generator
// makes.
package oracle

import "net/netip"

// Reason is the word for why a packet got its verdict.
type Reason string

// The reasons that an oracle gives; rate_limited depends on time and is not decided
// here.
const (
	NotIP          Reason = "not_ip"
	OtherProtocol  Reason = "other_protocol"
	OtherPort      Reason = "other_port"
	NotOpening     Reason = "not_opening"
	Listed         Reason = "listed"
	Malformed      Reason = "malformed"
	TooDeep        Reason = "too_deep"
	SourceRoute    Reason = "source_route"
	Fragment       Reason = "fragment"
	SourcePortZero Reason = "source_port_zero"
	NotListed      Reason = "not_listed"
	Expired        Reason = "expired"
	WrongService   Reason = "wrong_service"
	Suspended      Reason = "suspended"
	Stray          Reason = "stray"
	Tunnel         Reason = "tunnel"
	Unknown        Reason = "unknown_protocol"
)

// Passes reports whether packets with this reason pass under every mode.
func (r Reason) Passes() bool {
	switch r {
	case NotIP, OtherProtocol, OtherPort, NotOpening, Listed:
		return true
	}
	return false
}

// Verdict is what happens to a packet: pass, drop, audit.
type Verdict string

// The verdicts. Audit passes what enforce would have dropped.
const (
	Pass  Verdict = "pass"
	Drop  Verdict = "drop"
	Audit Verdict = "audit"
)

// Family is the family that a packet is counted under: that of its ethertype.
type Family string

// The families. Other is what is not IP, or broken before its IP header.
const (
	IPv4  Family = "ipv4"
	IPv6  Family = "ipv6"
	Other Family = "other"
)

// Decision is all that is known of a packet in the end.
type Decision struct {
	Verdict Verdict
	Reason  Reason
	Service int // counted from 1; 0 is none
	Family  Family
}

// Decide judges frame, an Ethernet frame without its checksum or what such a frame carries,
// under p.
func Decide(frame []byte, p Policy) Decision {
	read := Read
	if p.IPFirst {
		read = ReadIP
	}
	packet := read(frame)
	reason, service := p.judge(packet)
	return Decision{p.verdict(reason, service), reason, service, packet.Family}
}

// Policy is everything that packets are decided by.
type Policy struct {
	Services []Service
	Entries  []Entry // each prefix once, any order
	// IPFirst is whether frames have no Ethernet header: tun devices.
	IPFirst bool
	// Backstop is whether what is inside a tunnel is judged once it is taken out.
	Backstop bool
	// Socket reports whether a TCP socket that does not listen belongs to the
	// connection; nil is no to all.
	Socket func(remote, local netip.AddrPort) bool
}

// Service is one service; its number is its place in Policy.Services, from 1. No two
// share a port.
type Service struct {
	TCP, UDP []uint16
	Enforce  bool // false is audit
	Scope    Scope
}

// Scope is what is dropped from unlisted sources; the wider, the greater.
type Scope int

// The scopes.
const (
	SYN Scope = iota
	StrayScope
	Strict
)

// Entry allows a prefix.
type Entry struct {
	Prefix             netip.Prefix // canonical
	Services           []int        // numbers; nil is every service
	Expired, Suspended bool
}
