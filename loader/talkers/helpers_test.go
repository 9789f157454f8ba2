// What the tests of this package share: seeds, a clock, and a flood that is
// sampled as the kernel does it.
package talkers

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"
)

// rapid logs the seed of a failure; TEST_SEED runs that one again.
func TestMain(m *testing.M) {
	flag.Parse()
	if seed := os.Getenv("TEST_SEED"); seed != "" {
		if err := flag.Set("rapid.seed", seed); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// newRand logs its seed; TEST_SEED gives the same numbers again.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

var start = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func anyIPv4(random *rand.Rand) netip.Addr {
	n := random.Uint32()
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// planted are 20 neighbourhoods that send 2 % of a flood each.
func planted() []netip.Prefix {
	all := make([]netip.Prefix, 20)
	for i := range all {
		all[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i), 0}), 24)
	}
	return all
}

// floodSource is where one SYN of the flood comes from.
func floodSource(random *rand.Rand) netip.Addr {
	if i := random.IntN(50); i < 20 {
		return netip.AddrFrom4([4]byte{198, 18, byte(i), byte(random.Uint32())})
	}
	return anyIPv4(random)
}

// flood feeds s with 1,000,000 SYNs a second, of which one in every arrives.
func flood(s *Sketch, random *rand.Rand, from, to float64, every uint64) {
	step := float64(every) / 1e6
	for now := from; now < to; now += step {
		s.Add(Sample{
			Time: at(now), Source: floodSource(random), Reason: "not_listed", Weight: every, Bytes: 60,
		})
	}
}

func findPrefix(answer Snapshot, prefix netip.Prefix) (Prefix, bool) {
	for _, p := range answer.Prefixes {
		if p.Prefix == prefix {
			return p, true
		}
	}
	return Prefix{}, false
}
