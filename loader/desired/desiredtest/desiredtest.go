// Package desiredtest draws edits of a desired state for property tests. Prefixes, owners
// and services are few, so that they meet.
package desiredtest

import (
	"fmt"
	"net/netip"
	"time"

	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// File is the origin of what drawn edits declare.
var File = policy.FileOrigin("a.list")

// Services are enforced services of these names, each with one port.
func Services(names ...string) (services []policy.Service) {
	for i, name := range names {
		services = append(services, policy.Service{Name: name, Ports: []policy.Port{{Protocol: policy.TCP, Number: uint16(i + 1)}}, Mode: policy.Enforce})
	}
	return services
}

// Followed are the origins beside the CLI whose claims drawn edits change.
var Followed = []policy.Origin{policy.EtcdOrigin("a", "main"), policy.URLOrigin("a"), policy.DNSOrigin("a")}

// Start is the state without a claim, of the services that Edit keeps or takes one of.
func Start() desired.State {
	return desired.State{Policy: policy.State{Services: Services("api", "mail")}}
}

// Prefix draws one that overlaps with others.
var Prefix = rapid.Custom(func(t *rapid.T) netip.Prefix {
	bits := rapid.SampledFrom([]int{32, 32, 32, 31, 30, 28}).Draw(t, "bits")
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.ByteRange(0, 9).Draw(t, "last")}), bits).Masked()
})

var owners = []string{"acme", "globex"}

// Claim draws a claim of no origin, which ends never or after now.
func Claim(now time.Time) *rapid.Generator[policy.Claim] {
	return rapid.Custom(func(t *rapid.T) policy.Claim {
		c := policy.Claim{Prefix: Prefix.Draw(t, "prefix"), Owner: rapid.SampledFrom(append(owners, "")).Draw(t, "owner")}
		if name := rapid.SampledFrom([]string{"", "", "api", "mail"}).Draw(t, "service"); name != "" {
			c.Services = []string{name}
		}
		if rapid.Bool().Draw(t, "ends") {
			c.Until = now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "hours")) * time.Hour)
		}
		return c
	})
}

// suspensions draws all that a list says of who is stopped, at one of two times.
func suspensions(now time.Time) *rapid.Generator[[]store.Suspension] {
	return rapid.Custom(func(t *rapid.T) (all []store.Suspension) {
		at := now.Add(-time.Duration(rapid.IntRange(0, 1).Draw(t, "hours ago")) * time.Hour)
		for _, owner := range rapid.SliceOfNDistinct(rapid.SampledFrom(owners), 0, 2, rapid.ID).Draw(t, "owners") {
			all = append(all, store.Suspension{Subject: policy.Subject{Owner: owner}, Time: at, Nested: rapid.Bool().Draw(t, "nested")})
		}
		for _, p := range rapid.SliceOfN(Prefix, 0, 1).Draw(t, "prefix") {
			all = append(all, store.Suspension{Subject: policy.Subject{Prefix: p}, Time: at})
		}
		return all
	})
}

// limits draws all limits that a list has.
var limits = rapid.Custom(func(t *rapid.T) (all []store.Limit) {
	for _, owner := range rapid.SliceOfNDistinct(rapid.SampledFrom(owners), 0, 2, rapid.ID).Draw(t, "limited") {
		all = append(all, store.Limit{Owner: owner, PerSecond: float64(rapid.IntRange(1, 3).Draw(t, "rate")) / 3, Burst: 2})
	}
	return all
})

// Edit draws an edit of d: of services, of what is declared, of what is followed or of the
// CLI's claims, and with that of suspensions, of commands and of a list.
func Edit(t *rapid.T, d desired.State, now time.Time) (edit desired.Edit) {
	switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); kind {
	case 0:
		edit.Services = Services("api")
		if rapid.Bool().Draw(t, "mail") {
			edit.Services = Services("api", "mail")
		}
	case 1:
		edit.Declared = map[policy.Origin][]policy.Claim{File: nil}
		for i, one := range rapid.SliceOfNDistinct(Claim(now), 0, 4, func(c policy.Claim) netip.Prefix { return c.Prefix }).Draw(t, "declared") {
			one.Origin, one.Where = File, fmt.Sprint("a.list:", i)
			edit.Declared[File] = append(edit.Declared[File], one)
		}
	default:
		origin := policy.OriginCLI
		if kind > 4 {
			origin = rapid.SampledFrom(Followed).Draw(t, "origin")
		}
		for _, gone := range rapid.SliceOfN(Prefix, 0, 3).Draw(t, "remove") {
			edit.Claims.Remove = append(edit.Claims.Remove, policy.ClaimKey{Origin: origin, Prefix: gone})
		}
		for _, one := range rapid.SliceOfN(Claim(now), 0, 3).Draw(t, "put") {
			one.Origin = origin
			edit.Claims.Put = append(edit.Claims.Put, one)
		}
	}
	for _, owner := range rapid.SliceOfN(rapid.SampledFrom(owners), 0, 1).Draw(t, "stopped") {
		if subject := (policy.Subject{Owner: owner}); rapid.Bool().Draw(t, "resumed") {
			edit.Overrides.Resume = []policy.Subject{subject}
		} else if _, again := d.Suspensions[subject]; !again {
			edit.Overrides.Suspend = []store.Suspension{{Subject: subject, Unnoted: true, Nested: rapid.Bool().Draw(t, "nested")}}
		}
	}
	if origin := Followed[0]; rapid.Bool().Draw(t, "the fleet says") {
		if by := d.Say(origin, suspensions(now).Draw(t, "by the fleet"), limits.Draw(t, "limited by the fleet")); !by.Empty() {
			edit.Fleets = map[policy.Origin]desired.OverridesEdit{origin: by}
		}
	}
	for _, p := range rapid.SliceOfN(Prefix, 0, 1).Draw(t, "stopped prefix") {
		edit.Overrides.Suspend = append(edit.Overrides.Suspend, store.Suspension{Subject: policy.Subject{Prefix: p}})
	}
	for _, owner := range rapid.SliceOfN(rapid.SampledFrom(owners), 0, 1).Draw(t, "limited") {
		if n := rapid.IntRange(0, 3).Draw(t, "rate"); n == 0 {
			edit.Overrides.Unlimit = []string{owner}
		} else {
			edit.Overrides.Limit = []store.Limit{{Owner: owner, PerSecond: float64(n) / 3, Burst: uint32(n)}}
		}
	}
	return edit
}
