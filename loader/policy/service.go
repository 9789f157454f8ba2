// This file is what is protected: services, which are named sets of ports.

package policy

import (
	"slices"
	"strings"
)

// MaxServices is how many services fit into a mask of 32 bits beside service 0, which stands
// for packets without a port, fragments for one.
const MaxServices = 31

// DefaultService is the name of the service that flags alone make.
const DefaultService = "api"

// Mode is what happens to a packet of an unlisted source.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // drop it
	Audit   Mode = "audit"   // count it and let it pass
)

// Scope is which packets of unlisted sources are dropped.
type Scope string

// The drop scopes.
const (
	ScopeSYN    Scope = "syn"    // openings
	ScopeStray  Scope = "stray"  // also segments that belong to no socket
	ScopeStrict Scope = "strict" // everything to the port, and whatever could hide such traffic
)

// Modes and Scopes have all modes and scopes, the default first. Scopes drop more from left to
// right.
var (
	Modes  = []Mode{Enforce, Audit}
	Scopes = []Scope{ScopeSYN, ScopeStray, ScopeStrict}
)

// Service is a named set of protected ports with one mode and one drop scope.
type Service struct {
	Name  string `json:"name"`
	Ports []Port `json:"ports"` // sorted by ComparePort; a port is in one service only
	Mode  Mode   `json:"mode"`
	Scope Scope  `json:"drop"`
}

// Numbers returns the numbers of the ports of one protocol, sorted.
func (s Service) Numbers(protocol Protocol) (numbers []uint16) {
	for _, port := range s.Ports {
		if port.Protocol == protocol {
			numbers = append(numbers, port.Number)
		}
	}
	return numbers
}

// NoService returns a sentence that there is no service of this name, and which there are.
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
