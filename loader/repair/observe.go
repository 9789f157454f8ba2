package repair

// This file asks the kernel, once for everything that a diagnosis needs.

import (
	gomaps "maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
	"github.com/xdpallow/xdpallow/maps"
)

// Host is what the host has beside the gate. It can take long to ask for on a host with many
// interfaces, and no lock need be held meanwhile.
type Host struct {
	Time time.Time
	Boot time.Duration // CLOCK_BOOTTIME, at Time

	Links    netdev.Interfaces // all interfaces, and their addresses
	LinksErr error

	UDPServers []uint16 // at numbers that services protect for TCP alone
	UDPErr     error

	SourceRouted    []string // interfaces that take source routes
	SourceRoutedErr error
}

// ReadHost asks for what the host has. services are those whose ports are looked at for other
// servers.
func ReadHost(services []policy.Service) (h Host) {
	h.Time, h.Boot = time.Now(), compile.Boottime()
	h.Links, h.LinksErr = netdev.Read()
	h.UDPServers, h.UDPErr = sockets.UDPServers(slices.Collect(gomaps.Keys(ForTCPAlone(services))))
	h.SourceRouted, h.SourceRoutedErr = netdev.SourceRouted()
	return h
}

// Guarded is how interfaces and socket lookups are guarded.
type Guarded struct {
	Interfaces  []Interface     // by name
	Backstop    loader.Backstop // the zero value when there is none
	BackstopErr error
}

// Observation is what there was in the kernel when it was asked.
type Observation struct {
	Host
	Guarded

	Services    bool // in the kernel are the desired ones
	ServicesErr error

	Refusal    *Flight         // the first canary that the backstop did not refuse
	Lookups    []loader.Lookup // other programs at the socket lookups
	LookupsErr error

	Neighbours []Neighbour
}

// Interface is one that has our program, or should.
type Interface struct {
	loader.Attachment
	Err        error          // Attachment could not be read, but for the name
	Canary     *Flight        // the first that our program did not drop; nil where each was
	Traffic    loader.Traffic // what came in by it
	TrafficErr error
}

// Flight is an opening that nobody may send, and which would get in.
type Flight struct {
	Source  netip.Addr
	Service string
	Port    policy.Port
	Reason  maps.Reason // why it would, of an interface
	Err     error       // it is not known whether it would
}

// Neighbour is another gate whose backstop judges what comes to ports of this one.
type Neighbour struct {
	Root  string
	Ports []policy.Port
}

// never are sources that cannot be listed: a broadcast and a multicast address.
var never = []netip.Addr{netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("ff02::1")}

// Observe asks the kernel how the gate is guarded now. Each interface is inspected once, with
// what h has of it.
func (c *Checker) Observe(h Host, d Desired) Observation { return Observe(c.gate, h, d) }

// Observe asks the kernel how gate is guarded now. It changes nothing.
func Observe(gate *loader.Gate, h Host, d Desired) Observation {
	o := Observation{Host: h, Guarded: Inspect(gate, h.Links)}
	for n := range o.Interfaces {
		i := &o.Interfaces[n]
		name := i.Interface
		if i.Err == nil && i.Mode != "" && i.Ours {
			i.Canary = fly(d, h, func(source netip.Addr, port policy.Port) (bool, maps.Reason, error) {
				answer, err := gate.AskOpening(name, source, port.Protocol == policy.TCP, port.Number)
				return answer.Verdict == maps.Drop, answer.Reason, err
			})
		}
		i.Traffic, i.TrafficErr = gate.TrafficIn(h.Links, name)
	}
	o.Services, o.ServicesErr = gate.Tables.SameServices(policyOf(d))
	if o.BackstopErr == nil && o.Backstop.Attached && o.Backstop.Ours {
		o.Refusal = fly(d, h, func(source netip.Addr, port policy.Port) (bool, maps.Reason, error) {
			refused, err := gate.AskBackstop(source, port.Protocol == policy.TCP, port.Number)
			return refused, 0, err
		})
		o.Lookups, o.LookupsErr = gate.OtherLookups()
	}
	o.Neighbours = neighbours(gate, d)
	return o
}

// Inspect asks how the gate is guarded, and no more. The dump is of a moment ago, so an
// interface that seems not to be guarded is asked for again.
func Inspect(gate *loader.Gate, dump netdev.Interfaces) (g Guarded) {
	for _, name := range gate.Attached() {
		at, err := gate.InspectIn(dump, name)
		if err != nil || at.Mode == "" {
			at, err = gate.Inspect(name)
		}
		at.Interface = name
		g.Interfaces = append(g.Interfaces, Interface{Attachment: at, Err: err})
	}
	g.Backstop, g.BackstopErr = gate.Backstop()
	return g
}

// Attached reports whether an interface runs a program by our link.
func (g Guarded) Attached(name string) bool {
	return slices.ContainsFunc(g.Interfaces, func(i Interface) bool { return i.Interface == name && i.Err == nil && i.Mode != "" })
}

// Report is what is told of the interfaces.
func (g Guarded) Report() []api.Interface {
	all := []api.Interface{}
	for _, i := range g.Interfaces { // what could not be read is not attached
		all = append(all, api.Interface{
			Name: i.Interface, Attach: string(i.Mode), Reason: i.Reason,
			LinkID: i.LinkID, ProgramID: i.ProgramID, Attached: i.Mode != "", BackstopRefused: i.Refused,
		})
	}
	return all
}

// ReportBackstop is what is told of the backstop, nil when there is none.
func (g Guarded) ReportBackstop() *api.Backstop {
	if g.BackstopErr != nil || g.Backstop == (loader.Backstop{}) {
		return nil
	}
	return &api.Backstop{LinkID: g.Backstop.LinkID, ProgramID: g.Backstop.ProgramID, Attached: g.Backstop.Attached}
}

// fly sends the canary to each service that enforces, and returns the first flight that does
// not end as it should.
func fly(d Desired, h Host, ask func(netip.Addr, policy.Port) (refused bool, reason maps.Reason, err error)) *Flight {
	for _, s := range d.Policy.Services {
		if d.Auditing(s, h.Boot) {
			continue
		}
		for _, source := range never {
			refused, reason, err := ask(source, s.Ports[0])
			if err != nil || !refused {
				return &Flight{Source: source, Service: s.Name, Port: s.Ports[0], Reason: reason, Err: err}
			}
		}
	}
	return nil
}

// neighbours finds gates of this network namespace that guard a port of this one: a backstop
// judges whatever comes to its ports, so theirs refuses the customers of this gate.
func neighbours(gate *loader.Gate, d Desired) (found []Neighbour) {
	for _, root := range gate.Neighbours() {
		reader, err := loader.OpenReader(root)
		if err != nil {
			continue // of another release, or on its way up or down
		}
		n := Neighbour{Root: root}
		for _, s := range d.Policy.Services {
			for _, port := range s.Ports {
				if refused, err := reader.AskBackstop(never[0], port.Protocol == policy.TCP, port.Number); err == nil && refused {
					n.Ports = append(n.Ports, port)
				}
			}
		}
		reader.Close()
		if len(n.Ports) > 0 {
			found = append(found, n)
		}
	}
	return found
}

// policyOf has the services that the kernel should have.
func policyOf(d Desired) maps.Policy {
	return maps.Policy{Services: compile.Services(d.Policy.Services, d.Audits)}
}
