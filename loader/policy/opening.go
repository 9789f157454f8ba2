// This file compares services, and finds what a change of them opens. A mistyped prefix shuts
// one customer out, and he calls; a port that was left out lets everybody in, and nobody calls.

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ServiceChange is one service before and after a change.
type ServiceChange struct {
	Before *Service `json:"before"` // nil: it is new
	After  *Service `json:"after"`  // nil: it is gone
}

// Name returns the name of the service.
func (c ServiceChange) Name() string {
	if c.After != nil {
		return c.After.Name
	}
	return c.Before.Name
}

// Sign returns "+" for a new service, "-" for one that is gone, and "~" for a changed one.
func (c ServiceChange) Sign() string {
	switch {
	case c.Before == nil:
		return "+"
	case c.After == nil:
		return "-"
	}
	return "~"
}

// String returns what has changed, as "service admin: ports +tcp/22, drop strict → syn", or the
// whole service where it is new or gone.
func (c ServiceChange) String() string {
	if c.Before == nil || c.After == nil {
		return "service " + cmp.Or(c.Before, c.After).String()
	}
	var parts []string
	if gone, come := without(*c.Before, *c.After), without(*c.After, *c.Before); len(gone)+len(come) > 0 {
		parts = append(parts, "ports "+strings.Join(append(portTexts(come, "+"), portTexts(gone, "-")...), " "))
	}
	if c.Before.Mode != c.After.Mode {
		parts = append(parts, fmt.Sprintf("mode %s → %s", c.Before.Mode, c.After.Mode))
	}
	if c.Before.Scope != c.After.Scope {
		parts = append(parts, fmt.Sprintf("drop %s → %s", c.Before.Scope, c.After.Scope))
	}
	return fmt.Sprintf("service %s: %s", c.Name(), strings.Join(parts, ", "))
}

// String returns "admin: tcp/22, enforce, drop strict".
func (s Service) String() string {
	return fmt.Sprintf("%s: %s, %s, drop %s", s.Name, JoinPorts(s.Ports), s.Mode, s.Scope)
}

// without returns the ports of a that b does not have.
func without(a, b Service) []Port {
	return slices.DeleteFunc(slices.Clone(a.Ports), b.Protects)
}

// DiffServices compares services by name. Both lists and the answer are sorted by name. The
// answer points into both lists.
func DiffServices(old, new []Service) []ServiceChange {
	var changes []ServiceChange
	for i := range new {
		switch was := named(old, new[i].Name); {
		case was == nil:
			changes = append(changes, ServiceChange{After: &new[i]})
		case !was.Equal(new[i]):
			changes = append(changes, ServiceChange{was, &new[i]})
		}
	}
	for i := range old {
		if named(new, old[i].Name) == nil {
			changes = append(changes, ServiceChange{Before: &old[i]})
		}
	}
	slices.SortFunc(changes, func(a, b ServiceChange) int { return cmp.Compare(a.Name(), b.Name()) })
	return changes
}

// named returns the service of that name, or nil.
func named(services []Service, name string) *Service {
	for i := range services {
		if services[i].Name == name {
			return &services[i]
		}
	}
	return nil
}

// Opening is an enforced port at which less is dropped after a change than before.
type Opening struct {
	Port Port   `json:"port"`
	Why  string `json:"why"`  // WhyUnprotected, WhyAudit, WhyScope
	Text string `json:"text"` // for people, the port among it
}

// Why a port opens.
const (
	WhyUnprotected = "unprotected" // no service protects it any more
	WhyAudit       = "audit"       // its service counts and passes
	WhyScope       = "scope"       // its service drops openings only, or less than before
)

func (o Opening) String() string { return o.Text }

// Openings returns the ports that old enforces and at which new drops less, sorted by
// ComparePort. A port that moves to another service that enforces is no opening.
func Openings(old, new []Service) []Opening {
	var openings []Opening
	for _, was := range old {
		if was.Mode != Enforce {
			continue
		}
		for _, port := range was.Ports {
			o := Opening{Port: port, Text: port.String() + " opens to everybody"}
			switch is := protecting(new, port); {
			case is == nil:
				o.Why = WhyUnprotected
			case is.Mode != Enforce:
				o.Why, o.Text = WhyAudit, o.Text+" (audit)"
			case width(is.Scope) < width(was.Scope):
				o.Why, o.Text = WhyScope, fmt.Sprintf("%s drops less: %s → %s", port, was.Scope, is.Scope)
			default:
				continue
			}
			openings = append(openings, o)
		}
	}
	slices.SortFunc(openings, func(a, b Opening) int { return ComparePort(a.Port, b.Port) })
	return openings
}

// JoinOpenings returns one line for all openings, of which there must be one at least.
func JoinOpenings(openings []Opening) string {
	const most = 10
	texts := OpeningTexts(openings)
	if more := len(texts) - most; more > 0 {
		texts = append(texts[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}

// OpeningTexts returns the texts of openings, which must be sorted by ComparePort, for people:
// neighbouring ports with the same words share one.
func OpeningTexts(openings []Opening) (texts []string) {
	words := func(o Opening) string { return strings.TrimPrefix(o.Text, o.Port.String()) }
	for len(openings) > 0 {
		ports := []Port{openings[0].Port}
		for len(ports) < len(openings) && words(openings[len(ports)]) == words(openings[0]) {
			ports = append(ports, openings[len(ports)].Port)
		}
		for _, text := range portTexts(ports, "") {
			texts = append(texts, text+words(openings[0]))
		}
		openings = openings[len(ports):]
	}
	return texts
}

// protecting returns the service that has port, or nil.
func protecting(services []Service, port Port) *Service {
	for i := range services {
		if services[i].Protects(port) {
			return &services[i]
		}
	}
	return nil
}

// width orders scopes by how much they drop.
func width(s Scope) int { return slices.Index(Scopes, s) }

// KeptShut returns new without what it would open, for a start, where nobody can say that the
// opening is meant. A port that would leave the gate stays with its service. A service with a
// port that was enforced enforces, and drops at least what was dropped at that port. What new
// shuts beyond old is shut.
func KeptShut(old, new []Service) []Service {
	if len(Openings(old, new)) == 0 {
		return new
	}
	kept := make([]Service, 0, len(new))
	for _, s := range new {
		s.Ports = slices.Clone(s.Ports)
		kept = append(kept, s)
	}
	for _, was := range old {
		if was.Mode != Enforce {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(was.Ports), func(p Port) bool { return protecting(new, p) != nil })
		if len(left) == 0 {
			continue
		}
		if stays := named(kept, was.Name); stays != nil {
			stays.Ports = append(stays.Ports, left...)
		} else {
			was.Ports = left
			kept = append(kept, was)
		}
	}
	for i := range kept {
		kept[i].shutAsIn(old)
	}
	if len(kept) > MaxServices {
		return old
	}
	slices.SortFunc(kept, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	return kept
}

// LeftOut are the ports of asked that no service of kept has, sorted by ComparePort.
func LeftOut(asked, kept []Service) (ports []Port) {
	for _, s := range asked {
		for _, p := range s.Ports {
			if protecting(kept, p) == nil {
				ports = append(ports, p)
			}
		}
	}
	slices.SortFunc(ports, ComparePort)
	return ports
}

// shutAsIn makes s enforce, and drop, what old enforced and dropped at its ports. A port of a
// service in audit that nothing guarded before is open, and stays so: it leaves s, which
// enforces now.
func (s *Service) shutAsIn(old []Service) {
	guarded := func(p Port) *Service {
		if was := protecting(old, p); was != nil && was.Mode == Enforce {
			return was
		}
		return nil
	}
	if s.Mode != Enforce && slices.ContainsFunc(s.Ports, func(p Port) bool { return guarded(p) != nil }) {
		s.Mode = Enforce
		s.Ports = slices.DeleteFunc(s.Ports, func(p Port) bool { return guarded(p) == nil })
	}
	for _, p := range s.Ports {
		if was := guarded(p); was != nil && width(was.Scope) > width(s.Scope) {
			s.Scope = was.Scope
		}
	}
	slices.SortFunc(s.Ports, ComparePort)
}
