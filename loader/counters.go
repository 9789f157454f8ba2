package loader

// This file reads the counters of all interfaces.

import "github.com/xdpallow/xdpallow/maps"

// EachCounters calls fn with the counters of every attached interface, sorted by name. They stay
// open during the call, also while others attach and detach.
func (g *Gate) EachCounters(fn func(name string, c maps.Counters) error) error {
	for _, name := range g.Attached() {
		g.mu.Lock()
		var err error
		if a := g.attached[name]; a != nil {
			err = fn(name, a.counters)
		}
		g.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Refused returns how many packets all attached interfaces have dropped, or would have dropped
// in audit mode. The sum goes down when an interface is detached.
func (g *Gate) Refused() (packets uint64, err error) {
	return packets, g.EachCounters(func(_ string, c maps.Counters) error {
		n, err := c.Refused()
		packets += n
		return err
	})
}
