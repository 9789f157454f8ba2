package desired_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: a change costs what it changes. What it allocates, in pieces and in bytes, is
// less than twice as much among 100,000 entries as among 1,000: of owners who have 100 each,
// most entries with an end of their own, and some both in a file and made by the CLI.
func TestChangeOnABudget(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	small, large := crowd(t, 1_000, now), crowd(t, 100_000, now)
	host := netip.MustParsePrefix("10.0.1.251/32")
	owner := policy.Subject{Owner: "owner-5"}
	for _, c := range []struct {
		name string
		edit desired.Edit
	}{
		{"add", desired.Edit{Claims: policy.Edit{Put: []policy.Claim{{Prefix: netip.MustParsePrefix("203.0.113.7/32"), Owner: "owner-5", Origin: policy.OriginCLI, Until: now.Add(time.Hour)}}}}},
		{"change", desired.Edit{Claims: policy.Edit{Put: []policy.Claim{{Prefix: host, Owner: "owner-5", Origin: policy.OriginCLI}}}}},
		{"remove", desired.Edit{Claims: policy.Edit{Remove: []policy.ClaimKey{{Origin: policy.OriginCLI, Prefix: host}}}}},
		{"suspend", desired.Edit{Overrides: desired.OverridesEdit{Suspend: []store.Suspension{{Subject: owner, Time: now, Unnoted: true}}}}},
		{"limit", desired.Edit{Overrides: desired.OverridesEdit{Limit: []store.Limit{{Owner: "owner-5", PerSecond: 5, Burst: 5}}}}},
		{"mode audit", desired.Edit{Audits: desired.Audits{"api": {Boottime: 1}}}},
		{"time goes by", desired.Edit{}},
	} {
		var allocations, octets [2]float64
		for i, d := range []desired.State{small, large} {
			allocations[i], octets[i] = cost(func() {
				if _, _, err := d.Apply(c.edit, now, 0); err != nil {
					t.Fatal(err)
				}
			})
		}
		t.Logf("%s: %.0f and %.0f allocations, %.0f and %.0f bytes", c.name, allocations[0], allocations[1], octets[0], octets[1])
		if allocations[1] >= 2*allocations[0]+1 || octets[1] >= 2*octets[0]+1 {
			t.Errorf("%s allocates %.0f times and %.0f bytes among 1,000, %.0f times and %.0f bytes among 100,000",
				c.name, allocations[0], octets[0], allocations[1], octets[1])
		}
	}
}

// crowd is a state of n entries.
func crowd(t *testing.T, n int, now time.Time) desired.State {
	t.Helper()
	declared := map[policy.Origin][]policy.Claim{}
	var made []policy.Claim
	for i := range n {
		claim := policy.Claim{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32),
			Owner:  fmt.Sprintf("owner-%d", i/100), Origin: policy.OriginCLI, Until: now.Add(time.Hour + time.Duration(i)*time.Second),
		}
		if i%100 == 7 {
			claim.Until = time.Time{}
		}
		made = append(made, claim)
		if i%10 == 3 && i < 1000 {
			claim.Origin, claim.Where = policy.FileOrigin("a.list"), fmt.Sprintf("a.list:%d", i+1)
			declared[claim.Origin] = append(declared[claim.Origin], claim)
		}
	}
	d, err := desired.New(desiredtest.Services("api", "mail"), declared, made, now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// cost is how often f allocates, and how many bytes.
func cost(f func()) (allocations, octets float64) {
	const runs = 20
	allocations = testing.AllocsPerRun(runs, f)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return allocations, float64(after.TotalAlloc-before.TotalAlloc) / runs
}
