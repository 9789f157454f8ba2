package bloom

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
)

// Promise: a filter answers nearly all random sources of a list of ordinary size, and most
// that are near listed ones; one that always said "maybe" would pass every other test. It
// never refuses a listed source.
func TestAnswersMost(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("TEST_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var nets []uint32
	for range 3000 {
		nets = append(nets, r.Uint32()&^255)
	}
	var listed []netip.Prefix
	for range 10_000 {
		listed = append(listed, netip.PrefixFrom(address(nets[r.IntN(len(nets))]|r.Uint32()&255), 32))
	}
	f := New(0, slices.Values(listed))
	coarse := func(source netip.Addr) bool {
		all := true
		f.setCoarse(leading(source), func(index uint32) { all = all && has(f.Coarse, index) })
		return all
	}
	fine := func(source netip.Addr) bool {
		return slices.ContainsFunc(itemLengths[0], func(length int) bool {
			all := true
			f.setFine(leading(source), length, 0, func(index uint32) { all = all && has(f.Fine, index) })
			return all
		})
	}
	for _, p := range listed {
		if !coarse(p.Addr()) || !fine(p.Addr()) {
			t.Fatalf("%v is listed and refused", p)
		}
	}
	const tries = 20_000
	var far, near float64
	for range tries {
		if !coarse(address(r.Uint32())) {
			far++
		}
		if !fine(address(nets[r.IntN(len(nets))] | r.Uint32()&255)) {
			near++
		}
	}
	t.Logf("of random sources %.1f %%, of sources in listed /24s %.1f %% are answered without a trie", 100*far/tries, 100*near/tries)
	if far/tries < 0.9 || near/tries < 0.6 {
		t.Errorf("random %.2f, want 0.9; near %.2f, want 0.6", far/tries, near/tries)
	}
}

func has(level []Block, index uint32) bool {
	return level[index>>BlockBits].Words[index>>6&7]>>(index&63)&1 == 1
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
