package loader

import "github.com/xdpallow/xdpallow/maps"

// EachCounters calls fn with the counters of every interface, sorted, which stay open
// as long. It may be called beside whoever attaches and detaches.
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

// Refused is how many packets all interfaces have dropped, or would have in audit. It
// may go back when an interface is detached.
func (g *Gate) Refused() (packets uint64, err error) {
	return packets, g.EachCounters(func(_ string, c maps.Counters) error {
		n, err := c.Refused()
		packets += n
		return err
	})
}
