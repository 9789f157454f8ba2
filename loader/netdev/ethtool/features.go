package ethtool

// This file reads the offloads of an interface.

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Feature is an offload as `ethtool -k` shows it.
type Feature struct{ Active, Fixed bool }

const (
	stringLength = 32 // ETH_GSTRING_LEN
	setFeatures  = 4  // ETH_SS_FEATURES
	mostFeatures = 256
)

// GetFeatures returns the offloads of an interface by the kernel's names for them, as
// rx-gro-hw.
func GetFeatures(name string) (map[string]Feature, error) {
	names := struct { // struct ethtool_gstrings
		command, set, length uint32
		data                 [mostFeatures][stringLength]byte
	}{command: unix.ETHTOOL_GSTRINGS, set: setFeatures}
	length := struct { // struct ethtool_sset_info
		command, _ uint32
		mask       uint64
		data       [1]uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << setFeatures}
	if err := ask(name, "count the features", unsafe.Pointer(&length)); err != nil {
		return nil, err
	}
	n := length.data[0]
	if n > mostFeatures {
		return nil, fmt.Errorf("read the features of %s: there are %d", name, n)
	}
	names.length = n
	if err := ask(name, "name the features", unsafe.Pointer(&names)); err != nil {
		return nil, err
	}
	values := struct { // struct ethtool_gfeatures
		command, size uint32
		blocks        [mostFeatures / 32]struct{ available, requested, active, neverChanged uint32 }
	}{command: unix.ETHTOOL_GFEATURES, size: (n + 31) / 32}
	if err := ask(name, "read the features", unsafe.Pointer(&values)); err != nil {
		return nil, err
	}
	features := map[string]Feature{}
	for i := range n {
		block, bit := values.blocks[i/32], uint32(1)<<(i%32)
		features[unix.ByteSliceToString(names.data[i][:])] = Feature{
			Active: block.active&bit != 0,
			Fixed:  block.available&bit == 0 || block.neverChanged&bit != 0,
		}
	}
	return features, nil
}
