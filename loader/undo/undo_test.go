package undo

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

var one, two = policy.FileOrigin("/one.list"), policy.FileOrigin("/two.list")

func claims(prefix string) []policy.Claim {
	return []policy.Claim{{Prefix: netip.MustParsePrefix(prefix)}}
}

// Promise: a reload that is taken back holds each file whose words it took over, those that
// were held before, and no flag.
func TestReloadHolds(t *testing.T) {
	same, other := claims("10.0.0.0/24"), claims("10.1.0.0/24")
	type said = map[policy.Origin][]policy.Claim
	for _, c := range []struct {
		name   string
		reload Reload
		want   []policy.Origin
	}{
		{"nothing", Reload{Was: said{one: same}, Now: said{one: same}}, nil},
		{"changed", Reload{Was: said{one: same, two: same}, Now: said{one: other, two: same}}, []policy.Origin{one}},
		{"new", Reload{Was: said{}, Now: said{two: same}}, []policy.Origin{two}},
		{"gone", Reload{Was: said{two: same}, Now: said{}}, []policy.Origin{two}},
		{"a flag", Reload{Was: said{policy.OriginFlag: same}, Now: said{policy.OriginFlag: other}}, nil},
		{"services", Reload{Services: true}, []policy.Origin{policy.OriginConfig}},
		{"followed origins", Reload{Followed: true}, []policy.Origin{policy.OriginConfig}},
		{"held before", Reload{Held: Held{Origins: []policy.Origin{two}}, Was: said{one: same}, Now: said{one: other}}, []policy.Origin{one, two}},
	} {
		c.reload.Generation = 5
		if got := c.reload.Holds(); !slices.Equal(got.Origins, c.want) || got.Generation != 5 {
			t.Errorf("%s: holds %v, want %q of generation 5", c.name, got, c.want)
		}
	}
}

// Promise: a restart takes over no file that was rolled back; while a change waits for its
// confirmation it takes over no file at all, and always its flags.
func TestHolds(t *testing.T) {
	h := Held{Generation: 3, Origins: []policy.Origin{one}}
	for _, c := range []struct {
		origin policy.Origin
		waits  bool
		want   bool
	}{{one, false, true}, {two, false, false}, {two, true, true}, {policy.OriginConfig, true, true}, {policy.OriginFlag, true, false}, {policy.OriginCLI, true, false}} {
		if got := h.Holds(c.origin, c.waits); got != c.want {
			t.Errorf("%s, a change waits: %v: held %v, want %v", c.origin, c.waits, got, c.want)
		}
	}
	if p := h.Problems(); len(p) != 1 || p[0].Subject != string(one) || !strings.Contains(p[0].Text, "generation 3") {
		t.Errorf("problems %+v", p)
	}
	if (Held{}).String() != "" || (Held{}).Marshal() != nil || !strings.HasSuffix(h.String(), "xdpallow reload") {
		t.Errorf("said: %q", h)
	}
}

// Promise: what takes a change back removes what it added and brings back what it replaced.
func TestEdit(t *testing.T) {
	gone := netip.MustParsePrefix("10.2.0.0/24")
	edit := Edit(store.Undo{Put: claims("10.0.0.0/24"), Delete: []netip.Prefix{gone}, Unlimit: []string{"acme"}})
	if len(edit.Claims.Put) != 1 || !slices.Equal(edit.Claims.Remove, []policy.ClaimKey{{Origin: policy.OriginCLI, Prefix: gone}}) || !slices.Equal(edit.Overrides.Unlimit, []string{"acme"}) {
		t.Errorf("takes it back by %+v", edit)
	}
}
