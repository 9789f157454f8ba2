package store

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// written returns how many bytes this process has handed to files.
func written(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err == nil {
		_, err = fmt.Sscanf(string(text[strings.Index(string(text), "wchar:"):]), "wchar: %d", &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Promise: a change costs what it changes. Of 100,000 entries it writes and allocates less than
// twice of what it does of 1,000, for each entry that it changes.
func TestChangeCostsWhatItChanges(t *testing.T) {
	claim := func(n int) policy.Claim {
		return policy.Claim{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32),
			Owner:  fmt.Sprintf("owner-%d", n%100), Origin: policy.OriginCLI,
		}
	}
	type cost struct{ bytes, allocs float64 } // of an entry
	const changes = 40
	measure := func(entries, each int) cost {
		s := mustOpen(t, t.TempDir())
		all := Change{Generation: 1, Whole: true}
		for i := range entries {
			all.Put = append(all.Put, claim(2*i))
		}
		list := Effective{Generation: 1, Services: declaredBy(1)().Services, Claims: pointers(all.Put)}
		all.List = func() Effective { return list }
		mustApply(t, s, all)
		var before, after runtime.MemStats
		began := written(t)
		runtime.ReadMemStats(&before)
		for i := range changes {
			change := Change{Generation: uint64(2 + i), Log: &Record{Command: "add"}, List: all.List}
			for j := range each {
				change.Put = append(change.Put, claim(2*(i*entries/changes+j)+1))
			}
			mustApply(t, s, change)
		}
		runtime.ReadMemStats(&after)
		n := float64(changes * each)
		return cost{float64(written(t)-began) / n, float64(after.Mallocs-before.Mallocs) / n}
	}
	for _, each := range []int{1, 25} {
		few, many := measure(1000, each), measure(100_000, each)
		t.Logf("%d entries changed at once: %.0f bytes and %.0f allocations each of 1,000, %.0f and %.0f of 100,000", each, few.bytes, few.allocs, many.bytes, many.allocs)
		if many.bytes >= 2*few.bytes || many.allocs >= 2*few.allocs {
			t.Errorf("%d entries changed at once: %.0f bytes and %.0f allocations each of 1,000, %.0f and %.0f of 100,000", each, few.bytes, few.allocs, many.bytes, many.allocs)
		}
	}
}
