package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxServices is how many services fit beside service 0, which stands for
// packets that have no port (DESIGN 4.2, rule 0), in a 32-bit mask.
const MaxServices = 31

// DefaultService is the one service that flags alone make.
const DefaultService = "api"

// Mode says what happens to an unlisted source's packet.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // drop it
	Audit   Mode = "audit"   // count it and let it pass
)

// Scope says which packets of unlisted sources are dropped.
type Scope string

// The drop scopes.
const (
	ScopeSYN    Scope = "syn"    // openings
	ScopeStray  Scope = "stray"  // also segments that belong to no socket
	ScopeStrict Scope = "strict" // everything to the port, and whatever could hide such traffic
)

// Modes and Scopes are all there are, the default first.
var (
	Modes  = []Mode{Enforce, Audit}
	Scopes = []Scope{ScopeSYN, ScopeStray, ScopeStrict}
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

// UnmarshalText is ParsePort.
func (p *Port) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePort(string(text))
	return err
}

// ParsePort reads "443", "tcp/443" or "udp/443"; a bare number is TCP.
func ParsePort(s string) (Port, error) {
	protocol, number, found := strings.Cut(s, "/")
	if !found {
		protocol, number = string(TCP), s
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if p := Protocol(protocol); err != nil || n == 0 || p != TCP && p != UDP {
		return Port{}, fmt.Errorf("port %q is not N, tcp/N or udp/N with N from 1 to 65535", s)
	}
	return Port{Protocol(protocol), uint16(n)}, nil
}

// ComparePort orders ports, TCP first.
func ComparePort(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
}

// Service is a named set of protected ports with one mode and one drop scope.
type Service struct {
	Name  string `json:"name"`
	Ports []Port `json:"ports"` // sorted by ComparePort; a port is in one service only
	Mode  Mode   `json:"mode"`
	Scope Scope  `json:"drop"`
}

// NoService says that there is no service of this name, and which there are.
func NoService(name string, services []Service) string {
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	there := "there are " + strings.Join(names, ", ")
	switch len(names) {
	case 0:
		there = "there is none"
	case 1:
		there = "there is " + names[0]
	}
	return "no service " + name + "; " + there
}

// Equal reports whether a and b are the same service.
func (a Service) Equal(b Service) bool {
	return a.Name == b.Name && a.Mode == b.Mode && a.Scope == b.Scope && slices.Equal(a.Ports, b.Ports)
}
