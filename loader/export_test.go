package loader

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps/counters"
)

// WithOnePageFrames makes programs for frames that fit a page until the test ends: a veth
// takes none beside a larger MTU of its peer, as other drivers take none of ours.
func WithOnePageFrames(t *testing.T) {
	const fragments = 1 << 5 // BPF_F_XDP_HAS_FRAGS
	loadObject = func() (*ebpf.CollectionSpec, error) {
		spec, err := bpf.LoadXdpallow()
		if err != nil {
			return nil, err
		}
		for _, program := range spec.Programs {
			program.Flags &^= fragments
		}
		return spec, nil
	}
	t.Cleanup(func() { loadObject = bpf.LoadXdpallow })
}

// Counters are those of one interface, which the gate closes when it is detached.
func (g *Gate) Counters(name string) (counters.Counters, error) {
	a, err := g.attachment(name)
	if err != nil {
		return counters.Counters{}, err
	}
	return a.counters, nil
}

// BackstopCounters are those of the backstop; false when this gate has none.
func (g *Gate) BackstopCounters() (counters.Counters, bool) {
	a, err := g.attachment(backstop)
	if err != nil {
		return counters.Counters{}, false
	}
	return a.counters, true
}
