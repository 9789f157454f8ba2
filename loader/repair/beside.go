package repair

// This file finds ways in beside the gate, and what stands beside it: other servers at its
// numbers, source routes, other programs at the socket lookups, other gates.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// ForTCPAlone returns the services that protect a number for TCP and leave the same number
// of UDP open, by that number. Scope strict guards both.
func ForTCPAlone(services []policy.Service) map[uint16]policy.Service {
	all, alone := policy.State{Services: services}, map[uint16]policy.Service{}
	for _, s := range services {
		for _, p := range s.Ports {
			if _, guarded := all.ServiceOf(policy.Port{Protocol: policy.UDP, Number: p.Number}); !guarded && s.Scope != policy.ScopeStrict {
				alone[p.Number] = s
			}
		}
	}
	return alone
}

// UnguardedUDP names UDP servers, HTTP/3 for one, on the numbers of TCP ports that are
// protected for TCP alone. Nobody asked for more, so the gate is not open; but an operator
// whose server answers strangers over HTTP/3 mostly does not know it. The servers and err are what
// sockets.UDPServers returns for the numbers of [ForTCPAlone].
func UnguardedUDP(services []policy.Service, servers []uint16, err error) (problems []api.Problem) {
	if err != nil && !errors.Is(err, sockets.ErrNoDiag) {
		return []api.Problem{{
			Code: "udp_unguarded", Text: fmt.Sprintf("whether there are UDP servers on protected TCP ports is not known: %v", err), Hint: "ss -lun",
		}}
	}
	alone := ForTCPAlone(services)
	for _, number := range servers {
		if alone[number].Name == "" {
			continue // of services that have changed meanwhile
		}
		udp := policy.Port{Protocol: policy.UDP, Number: number}
		problems = append(problems, api.Problem{
			Code: "udp_unguarded", Subject: udp.String(),
			Text: fmt.Sprintf("a UDP server, perhaps of HTTP/3, is open to everybody: of service %s only tcp/%d is protected", alone[number].Name, number),
			Hint: "restart with --port " + udp.String(),
		})
	}
	return problems
}

// SourceRoutes is the problem of a host whose interfaces in taking take source routes, or
// that does not tell, with err. The gate drops such packets to a protected port whatever
// their source, so it is shut; but the backstop cannot see them in what comes in beside the
// gate. The arguments are what netdev.SourceRouted returns.
func SourceRoutes(taking []string, err error) []api.Problem {
	p := api.Problem{Code: "source_routes", Subject: netdev.SourceRouteSetting, Hint: "sysctl -w " + netdev.SourceRouteSetting + "=0"}
	switch {
	case err != nil:
		p.Text = fmt.Sprintf("whether source routes are taken is not known: %v", err)
	case len(taking) == 0:
		return nil
	default:
		p.Text = strings.Join(taking, ", ") + " take source routes: a faked listed source can open connections beside the gate, by an interface that nobody guards or a redirect"
	}
	return []api.Problem{p}
}

// OtherLookups names the programs that can overrule the backstop. What they do cannot be
// seen from outside, so each of them is a problem. The arguments are what
// loader.OtherLookups returns.
func OtherLookups(others []loader.Lookup, err error) (problems []api.Problem) {
	if err != nil {
		return []api.Problem{{Code: "backstop", Subject: "backstop", Text: fmt.Sprintf("cannot be asked: %v", err), Hint: "xdpallow status"}}
	}
	for _, other := range others {
		problems = append(problems, api.Problem{
			Code: "backstop_shared", Subject: "backstop",
			Text: fmt.Sprintf("%s is at the socket lookups too: whom it selects a socket for, the backstop does not stop", other),
			Hint: fmt.Sprintf("bpftool prog show id %d", other.ProgramID),
		})
	}
	return problems
}

func (n Neighbour) problem() api.Problem {
	return api.Problem{
		Code: "port_shared", Subject: n.Root,
		Text: fmt.Sprintf("the gate that is pinned there guards %s in this network namespace, too: its backstop refuses whoever it does not list, customers of this gate as well", policy.JoinPorts(n.Ports)),
		Hint: "restart both with --backstop off",
	}
}
