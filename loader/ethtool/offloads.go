package ethtool

// This file reads which offloads are on, and which of them nobody can change.

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload is one of the features that `ethtool -k` lists.
type Offload struct {
	On    bool
	Fixed bool // nobody can change it
}

const (
	featureNames = 4  // ETH_SS_FEATURES
	nameLength   = 32 // ETH_GSTRING_LEN
)

// Offloads returns the offloads of an interface by their names in the kernel, as
// "rx-gro-hw".
func Offloads(name string) (map[string]Offload, error) {
	const what = "read the offloads"
	count := struct { // struct ethtool_sset_info
		command, _ uint32
		mask       uint64
		n          uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << featureNames}
	if err := ask(name, what, unsafe.Pointer(&count)); err != nil || count.mask == 0 {
		return nil, err
	}
	// struct ethtool_gstrings: three words, then the names.
	names := make([]byte, 12+count.n*nameLength)
	for i, word := range []uint32{unix.ETHTOOL_GSTRINGS, featureNames, count.n} {
		binary.NativeEndian.PutUint32(names[4*i:], word)
	}
	if err := ask(name, what, unsafe.Pointer(&names[0])); err != nil {
		return nil, err
	}
	// struct ethtool_gfeatures: two words, then four words for each 32 offloads: those
	// that can be changed, are wished, are on, and never can be changed.
	blocks := (count.n + 31) / 32
	bits := make([]byte, 8+16*blocks)
	binary.NativeEndian.PutUint32(bits, unix.ETHTOOL_GFEATURES)
	binary.NativeEndian.PutUint32(bits[4:], blocks)
	if err := ask(name, what, unsafe.Pointer(&bits[0])); err != nil {
		return nil, err
	}
	offloads := map[string]Offload{}
	for i := range count.n {
		block := bits[8+16*(i/32):]
		has := func(word int) bool { return binary.NativeEndian.Uint32(block[4*word:])>>(i%32)&1 == 1 }
		start := 12 + i*nameLength
		offloads[unix.ByteSliceToString(names[start:start+nameLength])] = Offload{On: has(2), Fixed: !has(0) || has(3)}
	}
	return offloads, nil
}
