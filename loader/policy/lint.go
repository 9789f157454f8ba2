// This file checks services, and that entries name services that exist.

package policy

import (
	"cmp"
	"slices"
	"strings"
)

// NewServices returns services as State needs them: sorted by name, with sorted ports, each
// once. Errors are those of ValidateServices. The argument is not changed.
func NewServices(services []Service) ([]Service, error) {
	services = slices.Clone(services)
	for i := range services {
		ports := slices.Clone(services[i].Ports)
		slices.SortFunc(ports, ComparePort)
		services[i].Ports = slices.Compact(ports)
	}
	slices.SortFunc(services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	return services, ValidateServices(services)
}

// ValidateServices checks names, modes and scopes, and that no name and no port is there twice.
// Errors are *InputError without a Where.
func ValidateServices(services []Service) error {
	if len(services) > MaxServices {
		return inputErrorf("", "", "%d services are more than %d", len(services), MaxServices)
	}
	names := make(map[string]bool)
	holders := make(map[Port]string)
	for _, s := range services {
		if err := s.validate(); err != nil {
			return err
		}
		if names[s.Name] {
			return inputErrorf("", "", "service %s is there twice", s.Name)
		}
		names[s.Name] = true
		for _, port := range s.Ports {
			if holder, taken := holders[port]; taken {
				return inputErrorf("", "", "port %s is in service %s and in service %s", port, holder, s.Name)
			}
			holders[port] = s.Name
		}
	}
	return nil
}

// validate checks s alone, without other services.
func (s Service) validate() error {
	if err := ParseName("service", s.Name); err != nil {
		return err
	}
	switch {
	case s.Mode != Enforce && s.Mode != Audit:
		return inputErrorf("", "", "service %s: mode %q is not enforce or audit", s.Name, s.Mode)
	case !slices.Contains(Scopes, s.Scope):
		return inputErrorf("", "", "service %s: drop scope %q is not syn, stray or strict", s.Name, s.Scope)
	case len(s.Ports) == 0:
		return inputErrorf("", "", "service %s has no port", s.Name)
	}
	for _, port := range s.Ports {
		if port.Number == 0 || port.Protocol != TCP && port.Protocol != UDP {
			return inputErrorf("", "", "service %s: %v", s.Name, badPort(port.String()))
		}
	}
	return nil
}

// ServiceOf returns the service that protects port.
func (s State) ServiceOf(port Port) (Service, bool) {
	if service := protecting(s.Services, port); service != nil {
		return *service, true
	}
	return Service{}, false
}

// CheckServices refuses claims for services that do not exist: such an entry lets nobody in, and
// the typing error would be found too late. Errors are *InputError with the claim's place,
// joined as by ParseList. For a claim that was typed the hint is "service=" and the services
// that exist.
func CheckServices(claims []Claim, services []Service) error {
	known := make(map[string]bool)
	var names []string
	for _, s := range services {
		known[s.Name] = true
		names = append(names, s.Name)
	}
	there := strings.Join(names, ",")
	var bad mistakes
	for i := range claims {
		c := &claims[i]
		for _, name := range c.Services {
			if !known[name] {
				hint := ""
				if c.Origin == OriginCLI {
					hint = "service=" + there
				}
				bad.add(inputErrorf(c.place(), hint, "%s: %s", c.Prefix, NoService(name, services)))
			}
		}
	}
	return bad.err("")
}
