package pins

// This file keeps a text among the pins: why an interface is not native.

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// reasonSize is the size in bytes of what is kept of a reason.
const reasonSize = 512

// KeepReason pins why name is not native for the next daemon, which cannot find out: it adopts
// the link and does not ask the driver. It is pinned as a map, because a BPF file system has
// no files.
func (r Root) KeepReason(name, reason string) error {
	if reason == "" {
		return Remove(r.At("reasons", name))
	}
	kept, err := ebpf.NewMap(&ebpf.MapSpec{Name: "reason", Type: ebpf.Array, KeySize: 4, ValueSize: reasonSize, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("keep why %s is not native: %w", name, err)
	}
	defer kept.Close()
	text := make([]byte, reasonSize)
	copy(text, reason)
	if err := kept.Put(uint32(0), text); err != nil {
		return fmt.Errorf("keep why %s is not native: %w", name, err)
	}
	return Put(r.At("reasons", name), kept)
}

// KeptReason returns what KeepReason pinned, "" for nothing.
func (r Root) KeptReason(name string) string {
	kept, err := ebpf.LoadPinnedMap(r.At("reasons", name), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return ""
	}
	defer kept.Close()
	var text []byte
	if err := kept.Lookup(uint32(0), &text); err != nil {
		return ""
	}
	return unix.ByteSliceToString(text)
}
