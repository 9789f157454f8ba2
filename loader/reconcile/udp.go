package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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
// protected for TCP alone. Nobody asked for more, so the gate is not open; but whoever
// lets strangers talk HTTP/3 mostly does not know. The servers and err are what
// sockets.UDPServers returns for the numbers of [ForTCPAlone].
func UnguardedUDP(services []policy.Service, servers []uint16, err error) (problems []Problem) {
	if err != nil && !errors.Is(err, sockets.ErrNoDiag) {
		return []Problem{{
			Code: "udp_unguarded", Text: fmt.Sprintf("whether there are UDP servers on protected TCP ports is not known: %v", err), Hint: "ss -lun",
		}}
	}
	alone := ForTCPAlone(services)
	for _, number := range servers {
		udp := policy.Port{Protocol: policy.UDP, Number: number}
		problems = append(problems, Problem{
			Code: "udp_unguarded", Subject: udp.String(),
			Text: fmt.Sprintf("a UDP server, perhaps of HTTP/3, is open to everybody: of service %s only tcp/%d is protected", alone[number].Name, number),
			Hint: "restart with --port " + udp.String(),
		})
	}
	return problems
}

func (v *view) probeUDP() []Problem {
	servers, err := sockets.UDPServers(slices.Collect(maps.Keys(ForTCPAlone(v.Policy.Services))))
	return UnguardedUDP(v.Policy.Services, servers, err)
}

// howToGuard says how a port is added to the service that has its number for TCP.
func (e *Engine) howToGuard(subject string) string {
	udp, err := policy.ParsePort(subject)
	service, found := e.view.Policy.ServiceOf(policy.Port{Protocol: policy.TCP, Number: udp.Number})
	if err != nil || !found || len(e.options.Services) != 0 {
		return "restart with --port " + subject
	}
	return fmt.Sprintf("add %s to the ports of service %s in %s, then: xdpallow reload", subject, service.Name, e.options.Config)
}
