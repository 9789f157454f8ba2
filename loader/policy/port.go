// This file reads and writes ports, one by one and in ranges. The kernel has a table of all
// 65,536 ports of each protocol, so a service simply holds every port of a range.

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Protocol is the transport of a protected port.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Port is a protected port.
type Port struct {
	Protocol Protocol
	Number   uint16 // 1 to 65535
}

func (p Port) String() string { return string(p.Protocol) + "/" + strconv.Itoa(int(p.Number)) }

// MarshalText makes a port read "tcp/443" in JSON.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what ParsePort reads.
func (p *Port) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePort(string(text))
	return err
}

// ParsePort reads "443", "tcp/443" or "udp/443". A bare number is TCP. Its errors name s.
func ParsePort(s string) (Port, error) {
	protocol, number, found := strings.Cut(s, "/")
	if !found {
		protocol, number = string(TCP), s
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if p := Protocol(protocol); err != nil || n == 0 || p != TCP && p != UDP {
		return Port{}, badPort(s)
	}
	return Port{Protocol(protocol), uint16(n)}, nil
}

func badPort(s string) error {
	return fmt.Errorf("port %q is not N, tcp/N or udp/N with N from 1 to 65535", s)
}

// ParsePorts reads what ParsePort reads, or a range, "30000-32767" or "udp/30000-32767". It
// returns the ports sorted, each once. Its errors name s.
func ParsePorts(s string) ([]Port, error) {
	left, right, found := strings.Cut(s, "-")
	first, err := ParsePort(left)
	if !found || err != nil {
		if found {
			err = badPorts(s)
		}
		return []Port{first}, err
	}
	last, err := ParsePort(string(first.Protocol) + "/" + right)
	if err != nil {
		return nil, badPorts(s)
	}
	if last.Number < first.Number {
		return nil, fmt.Errorf("ports %q end before they begin", s)
	}
	ports := make([]Port, 0, int(last.Number)-int(first.Number)+1)
	for n := int(first.Number); n <= int(last.Number); n++ {
		ports = append(ports, Port{first.Protocol, uint16(n)})
	}
	return ports, nil
}

func badPorts(s string) error {
	return fmt.Errorf("ports %q are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535", s)
}

// ComparePort orders ports, TCP first.
func ComparePort(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
}

// PortRange is ports of one protocol, first to last.
type PortRange struct {
	First Port
	Last  uint16
}

// String returns "tcp/443" or "tcp/30000-32767".
func (r PortRange) String() string {
	if r.First.Number == r.Last {
		return r.First.String()
	}
	return fmt.Sprintf("%s-%d", r.First, r.Last)
}

// PortRanges joins neighbouring ports for people: three or more make a range, and two stay two.
// ports must be sorted.
func PortRanges(ports []Port) (ranges []PortRange) {
	for len(ports) > 0 {
		n := 1
		for n < len(ports) && ports[n].Protocol == ports[0].Protocol && int(ports[n].Number) == int(ports[0].Number)+n {
			n++
		}
		if n == 2 {
			n = 1
		}
		ranges = append(ranges, PortRange{ports[0], ports[n-1].Number})
		ports = ports[n:]
	}
	return ranges
}

// JoinPorts returns "tcp/443,tcp/30000-32767,udp/443". ports must be sorted.
func JoinPorts(ports []Port) string { return strings.Join(portTexts(ports, ""), ",") }

// portTexts returns the ranges of ports, each after sign.
func portTexts(ports []Port, sign string) []string {
	var texts []string
	for _, r := range PortRanges(ports) {
		texts = append(texts, sign+r.String())
	}
	return texts
}

// Protects reports whether s has port. Ports must be sorted.
func (s Service) Protects(port Port) bool {
	_, found := slices.BinarySearchFunc(s.Ports, port, ComparePort)
	return found
}
