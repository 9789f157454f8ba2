package needs

// This file asks the kernel for the features that a gate needs.

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
)

// Kernel returns what a gate needs and this kernel does not have, in words. To find out it loads
// small programs and maps, and removes them. The error is os.ErrPermission when the caller may
// not ask.
func Kernel() (lacking []string, err error) {
	for _, need := range []struct {
		words string
		have  func() error
	}{
		{"XDP programs", func() error { return features.HaveProgramType(ebpf.XDP) }},
		{"programs at the socket lookups", func() error { return features.HaveProgramType(ebpf.SkLookup) }},
		{"LPM tries", func() error { return features.HaveMapType(ebpf.LPMTrie) }},
		{"ring buffers", func() error { return features.HaveMapType(ebpf.RingBuf) }},
	} {
		switch err := need.have(); {
		case errors.Is(err, ebpf.ErrNotSupported):
			lacking = append(lacking, need.words)
		case err != nil:
			return nil, Explain(fmt.Errorf("ask for %s: %w", need.words, err))
		}
	}
	return lacking, nil
}
