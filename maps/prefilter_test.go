// The prefilter in front of the tries may only ever say "surely not": for any address
// the verdict with it is that of the model, through publishes, patches and adoption.
package maps_test

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// Promise: 0 false drops. Prefixes of every length are found, those that are published
// and those that are patched in afterwards, at their first and last address.
func TestPrefilterNeverHidesAnEntry(t *testing.T) {
	for base, lengths := range map[string][]int{
		"203.0.113.77":                           {0, 1, 7, 8, 9, 12, 16, 20, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32},
		"2001:db8:42:7:ffff:ffff:ffff:ffff":      {0, 3, 12, 19, 24, 31, 32, 33, 39, 40, 41, 47, 48, 49},
		"2001:db8:4242:7777:ffff:ffff:ffff:ffff": {55, 56, 57, 62, 63, 64, 65, 96, 127, 128},
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			for _, length := range lengths {
				neverHides(t, netip.PrefixFrom(netip.MustParseAddr(base), length).Masked())
			}
		})
	}
}

func neverHides(t *testing.T, p netip.Prefix) {
	t.Helper()
	entry := maps.Entry{Prefix: p, Services: maps.EveryService}
	for name, tables := range map[string]*maps.Tables{
		"published": mapstest.Tables(t, onePort(entry)),
		"patched":   patched(t, entry),
	} {
		shadow := mapstest.Load(t, tables, true)
		for _, source := range []netip.Addr{p.Addr(), lastOf(p)} {
			if got := maps.AnswerOf(shadow.Run(t, mapstest.Opening(source, 443).Bytes())); got.Reason != maps.Listed {
				t.Errorf("%s %v: %v from %v", name, p, got.Reason, source)
			}
		}
	}
}

func onePort(entries ...maps.Entry) maps.Policy {
	return maps.Policy{Generation: 1, Services: []maps.Service{{TCP: []uint16{443}, Enforce: true}}, Entries: entries}
}

// patched has entry from a patch of an empty list, or from a publish where it is too
// wide for a patch.
func patched(t *testing.T, entry maps.Entry) *maps.Tables {
	t.Helper()
	tables := mapstest.Tables(t, onePort())
	if _, err := tables.Patch([]maps.Entry{entry}, nil, 2); err != nil {
		mapstest.Publish(t, tables, onePort(entry))
	}
	return tables
}

func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

func randomSeed(t *testing.T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("TEST_SEED=%d", seed)
	return seed
}
