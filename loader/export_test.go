package loader

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
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
