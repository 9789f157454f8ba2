package maps

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

// Retry is retry.
var Retry = retry

// WithBatchUpdate puts do in the place of the kernel's batch update until the test
// ends. do is given the kernel's.
func WithBatchUpdate(tb testing.TB, do func(kernel func(m *ebpf.Map, keys, values any) (int, error), m *ebpf.Map, keys, values any) (int, error)) {
	kernel := batchUpdate
	tb.Cleanup(func() { batchUpdate = kernel })
	batchUpdate = func(m *ebpf.Map, keys, values any) (int, error) { return do(kernel, m, keys, values) }
}

// PrefilterAnswers makes a list of 10,000 addresses in 3,000 /24s and returns how many
// random sources the first level refuses, and how many of those /24s the second.
func PrefilterAnswers(seed uint64) (near, exact float64) {
	r := rand.New(rand.NewPCG(seed, 0))
	var nets []uint32
	for range 3000 {
		nets = append(nets, r.Uint32()&^255)
	}
	var entries []Entry
	for range 10_000 {
		entries = append(entries, Entry{Prefix: netip.PrefixFrom(address4(nets[r.IntN(len(nets))]|r.Uint32()&255), 32)})
	}
	f := newPrefilter(0, entries)
	const tries = 20_000
	has := func(level []block, index uint32) bool {
		return level[index>>blockBits].Words[index>>6&7]>>(index&63)&1 == 1
	}
	for range tries {
		all := true
		f.setCoarse(leading(address4(r.Uint32())), func(index uint32) { all = all && has(f.coarse, index) })
		if !all {
			near++
		}
		source, found := leading(address4(nets[r.IntN(len(nets))]|r.Uint32()&255)), false
		for _, length := range itemLengths[0] {
			all := true
			f.setFine(source, length, 0, func(index uint32) { all = all && has(f.fine, index) })
			found = found || all
		}
		if !found {
			exact++
		}
	}
	return near / tries, exact / tries
}

func address4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
