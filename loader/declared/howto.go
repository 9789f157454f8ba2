// This file says where an operator changes what is declared, which no command does for good: the
// hint of a refusal must name the file or the flag.

package declared

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// HowTo says how the mode of a service is set for good.
func (s Sources) HowTo(mode policy.Mode) string {
	switch {
	case len(s.Services) == 0:
		return fmt.Sprintf("set mode: %s in %s, then: xdpallow reload", mode, s.Config)
	case mode == policy.Enforce:
		return "restart without --mode audit"
	}
	return "restart with --mode audit"
}

// HowToGuard says how a UDP port is added to the service of state that has its number for TCP.
func (s Sources) HowToGuard(port string, state policy.State) string {
	udp, err := policy.ParsePort(port)
	service, found := state.ServiceOf(policy.Port{Protocol: policy.TCP, Number: udp.Number})
	if err != nil || !found || len(s.Services) != 0 {
		return "restart with --port " + port
	}
	return fmt.Sprintf("add %s to the ports of service %s in %s, then: xdpallow reload", port, service.Name, s.Config)
}
