package loader

// This file reads the counters of all interfaces.

import "github.com/xdpallow/xdpallow/maps/counters"

// Layer is which program of ours has counted, as metrics and JSON call it.
type Layer string

// The layers: the programs of interfaces, and that of the socket lookups, which sees some
// packets again.
const (
	LayerXDP      Layer = "xdp"
	LayerBackstop Layer = "backstop"
)

// EachCounters calls fn with the counters of every interface, sorted, and then with those
// of the backstop, whose name is "". They stay open as long as fn runs; it may be called
// beside whoever attaches and detaches. Returns the first error of fn.
func (g *Gate) EachCounters(fn func(layer Layer, name string, c counters.Counters) error) error {
	for _, name := range append(g.Attached(), backstop) {
		a, give, err := g.borrow(name)
		if err != nil {
			continue // detached meanwhile
		}
		if name == backstop {
			err = fn(LayerBackstop, "", a.counters)
		} else {
			err = fn(LayerXDP, name, a.counters)
		}
		give()
		if err != nil {
			return err
		}
	}
	return nil
}

// Refused returns how many packets all attached interfaces have dropped, or would have dropped
// in audit mode. The sum goes down when an interface is detached.
func (g *Gate) Refused() (packets uint64, err error) {
	err = g.EachCounters(func(layer Layer, _ string, c counters.Counters) error {
		if layer != LayerXDP {
			return nil
		}
		n, err := c.Refused()
		packets += n
		return err
	})
	return packets, err
}
