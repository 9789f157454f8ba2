package desired_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
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

// Promise: to replace a list of which one in a hundred is another allocates a bounded piece of memory
// for each line that it reads, and beyond that for what it changes, and for nothing that stays.
func TestReplaceOnABudget(t *testing.T) {
	const entries, changed = 20_000, 200
	now := time.Now().UTC().Truncate(time.Second)
	var made, text strings.Builder
	for i := range entries {
		second := 0
		if i%(entries/changed) == 5 {
			second = 1
		}
		fmt.Fprintf(&made, "10.%d.%d.%d owner=owner-%d\n", i>>16, i>>8&0xff, i&0xff, i/100)
		fmt.Fprintf(&text, "1%d.%d.%d.%d owner=owner-%d\n", second, i>>16, i>>8&0xff, i&0xff, i/100)
	}
	read := func(list string) []policy.Claim {
		claims, _, err := policy.ParseSorted("a.list", policy.OriginCLI, strings.NewReader(list))
		if err != nil {
			t.Fatal(err)
		}
		return claims
	}
	stands := read(made.String())
	for i := range stands {
		stands[i].Where = ""
	}
	start, err := desired.New(desiredtest.Services("api"), nil, stands, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                string
		run                 func()
		units               float64
		allocations, octets float64 // at most, of each
	}{
		{"a line that is read", func() { read(text.String()) }, entries, 3, 430},
		{"an entry that is changed", func() { replaced(t, start, read(text.String()), now) }, 2 * changed, 12, 5000},
	} {
		allocations, octets := cost(c.run)
		if c.units == 2*changed {
			reading, bytes := cost(func() { read(text.String()) })
			allocations, octets = allocations-reading, octets-bytes
		}
		allocations, octets = allocations/c.units, octets/c.units
		t.Logf("%s: %.1f allocations, %.0f bytes", c.name, allocations, octets)
		if allocations > c.allocations || octets > c.octets {
			t.Errorf("%s allocates %.1f times and %.0f bytes, want at most %.0f and %.0f", c.name, allocations, octets, c.allocations, c.octets)
		}
	}
}

func replaced(t *testing.T, start desired.State, claims []policy.Claim, now time.Time) {
	t.Helper()
	edit, err := start.Replace(api.ReplaceRequest{}, claims)
	if err != nil {
		t.Fatal(err)
	}
	next, plan, err := start.Apply(desired.Edit{Claims: edit}, now, 0)
	if err != nil || len(plan.Added) != len(plan.Removed) || len(plan.Added) == 0 || next.Policy.Entries.Len() != start.Policy.Entries.Len() {
		t.Fatalf("%d added, %d removed, %d entries: %v", len(plan.Added), len(plan.Removed), next.Policy.Entries.Len(), err)
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
