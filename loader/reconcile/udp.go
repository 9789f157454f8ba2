package reconcile

import (
	"errors"
	"fmt"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// probeUDP names UDP servers, HTTP/3 for one, on the numbers of TCP ports that are
// protected for TCP alone. Nobody asked for more, so the gate is not open; but whoever
// lets strangers talk HTTP/3 mostly does not know. Scope strict guards both.
func (v *view) probeUDP() (problems []Problem) {
	services := map[uint16]policy.Service{}
	for _, s := range v.state.Services {
		for _, p := range s.Ports {
			if _, guarded := v.state.ServiceOf(policy.Port{Protocol: policy.UDP, Number: p.Number}); !guarded && s.Scope != policy.ScopeStrict {
				services[p.Number] = s
			}
		}
	}
	var ports []uint16
	for number := range services {
		ports = append(ports, number)
	}
	servers, err := sockets.UDPServers(ports)
	if err != nil && !errors.Is(err, sockets.ErrNoDiag) {
		return []Problem{{
			Code: "udp_unguarded", Text: fmt.Sprintf("whether there are UDP servers on protected TCP ports is not known: %v", err), Hint: "ss -lun",
		}}
	}
	for _, number := range servers {
		udp := policy.Port{Protocol: policy.UDP, Number: number}
		problems = append(problems, Problem{
			Code: "udp_unguarded", Subject: udp.String(),
			Text: fmt.Sprintf("a UDP server, perhaps of HTTP/3, is open to everybody: of service %s only tcp/%d is protected", services[number].Name, number),
			Hint: "restart with --port " + udp.String(),
		})
	}
	return problems
}

// howToGuard says how a port is added to the service that has its number for TCP.
func (e *Engine) howToGuard(subject string) string {
	udp, err := policy.ParsePort(subject)
	service, found := e.view.state.ServiceOf(policy.Port{Protocol: policy.TCP, Number: udp.Number})
	if err != nil || !found || len(e.options.Services) != 0 {
		return "restart with --port " + subject
	}
	return fmt.Sprintf("add %s to the ports of service %s in %s, then: xdpallow reload", subject, service.Name, e.options.Config)
}
