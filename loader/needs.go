package loader

// This file asks whether a gate could be put up here at all.

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
)

// KernelLacks returns what a gate needs and this kernel does not have, in words. It loads
// small programs and maps and nothing of them stays. The error is os.ErrPermission where
// the caller may not ask.
func KernelLacks() (lacking []string, err error) {
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
			return nil, explain(fmt.Errorf("ask for %s: %w", need.words, err))
		}
	}
	return lacking, nil
}

// Lacking returns which of the capabilities that a gate needs this process does not have,
// by name. It is empty also when that cannot be told.
func Lacking() []string { return lacking() }

// CheckRoot reports whether pins under root would outlive the process that makes them.
// Returns *PrivateMountError when not. A BPF file system is mounted by whoever opens a gate.
func CheckRoot(root string) error {
	if on, err := onBPFFS(root); on || err != nil {
		return err
	}
	if !outlives() {
		return &PrivateMountError{root}
	}
	return nil
}
