// Package maps is what the kernel half and user space agree on, as Go types: the
// words of a verdict, canonical prefixes as trie keys, and the two slots of a policy
// and how one is published. It works on maps that it is given or makes, and opens no
// files or sockets itself.
package maps

import (
	"fmt"

	"github.com/xdpallow/xdpallow/bpf"
)

// Reason is why a packet got its verdict. Reasons are append-only.
type Reason uint8

// The reasons, in the order of the C enum.
const (
	NotIP          = Reason(bpf.XdpallowReasonREASON_NOT_IP)
	OtherProtocol  = Reason(bpf.XdpallowReasonREASON_OTHER_PROTOCOL)
	OtherPort      = Reason(bpf.XdpallowReasonREASON_OTHER_PORT)
	NotOpening     = Reason(bpf.XdpallowReasonREASON_NOT_OPENING)
	Listed         = Reason(bpf.XdpallowReasonREASON_LISTED)
	Malformed      = Reason(bpf.XdpallowReasonREASON_MALFORMED)
	TooDeep        = Reason(bpf.XdpallowReasonREASON_TOO_DEEP)
	SourceRoute    = Reason(bpf.XdpallowReasonREASON_SOURCE_ROUTE)
	Fragment       = Reason(bpf.XdpallowReasonREASON_FRAGMENT)
	SourcePortZero = Reason(bpf.XdpallowReasonREASON_SOURCE_PORT_ZERO)
	NotListed      = Reason(bpf.XdpallowReasonREASON_NOT_LISTED)
	Expired        = Reason(bpf.XdpallowReasonREASON_EXPIRED)
	WrongService   = Reason(bpf.XdpallowReasonREASON_WRONG_SERVICE)
	Suspended      = Reason(bpf.XdpallowReasonREASON_SUSPENDED)
	RateLimited    = Reason(bpf.XdpallowReasonREASON_RATE_LIMITED)
	Stray          = Reason(bpf.XdpallowReasonREASON_STRAY)
	Tunnel         = Reason(bpf.XdpallowReasonREASON_TUNNEL)
	UnknownProto   = Reason(bpf.XdpallowReasonREASON_UNKNOWN_PROTOCOL)
)

var reasonNames = [...]string{
	"not_ip", "other_protocol", "other_port", "not_opening", "listed",
	"malformed", "too_deep", "source_route", "fragment", "source_port_zero",
	"not_listed", "expired", "wrong_service", "suspended", "rate_limited",
	"stray", "tunnel", "unknown_protocol",
}

func (r Reason) String() string { return name(reasonNames[:], int(r), "reason") }

// Passes reports whether packets with this reason pass under every mode.
func (r Reason) Passes() bool { return bpf.XdpallowLimitPASS_REASONS>>r&1 != 0 }

// Reasons returns every reason, in order.
func Reasons() []Reason {
	all := make([]Reason, len(reasonNames))
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Verdict is what happened to a packet.
type Verdict uint8

// The verdicts. Audit passes what enforce would have dropped.
const (
	Pass  = Verdict(bpf.XdpallowVerdictVERDICT_PASS)
	Drop  = Verdict(bpf.XdpallowVerdictVERDICT_DROP)
	Audit = Verdict(bpf.XdpallowVerdictVERDICT_AUDIT)
)

func (v Verdict) String() string { return name([]string{"pass", "drop", "audit"}, int(v), "verdict") }

// Family is the address family that a packet was counted under.
type Family uint8

// The families. Other is what is not IP, or broken before its IP header.
const (
	IPv4  = Family(bpf.XdpallowFamilyFAMILY_IPV4)
	IPv6  = Family(bpf.XdpallowFamilyFAMILY_IPV6)
	Other = Family(bpf.XdpallowFamilyFAMILY_OTHER)
)

func (f Family) String() string { return name([]string{"ipv4", "ipv6", "other"}, int(f), "family") }

func name(names []string, i int, what string) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s_%d", what, i)
}

// Answer is what a shadow program says of one frame.
type Answer struct {
	Verdict Verdict
	Reason  Reason
}

// AnswerOf decodes the return value of a shadow program's BPF_PROG_TEST_RUN.
func AnswerOf(value uint32) Answer {
	return Answer{Verdict: Verdict(value >> 8), Reason: Reason(value >> 16)}
}
