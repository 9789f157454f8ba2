package enforce

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: files of an earlier day let nobody in whom the gate drops, and cut off most of its
// customers, only where a flag of this start says so; anything less is told and goes on.
func TestDifferenceIsGuarded(t *testing.T) {
	prefixes := make([]netip.Prefix, 60)
	for i := range prefixes {
		prefixes[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
	}
	for _, c := range []struct {
		name string
		d    Difference
		hint string // of the refusal; "" is none
	}{
		{"nothing", Difference{}, ""},
		{"lets somebody in", Difference{Opens: prefixes[:1]}, "--allow-open"},
		{"rules an owner otherwise", Difference{Owners: []string{"acme"}}, "--allow-open"},
		{"other services", Difference{Services: true}, "--allow-open"},
		{"drops few", Difference{Shuts: prefixes[:1]}, ""},
		{"drops most", Difference{Shuts: prefixes}, "--force-shrink"},
		{"lets in for less time", Difference{Narrows: prefixes}, ""},
	} {
		c.d.entries = 100
		hint := ""
		if refused, found := errors.AsType[*policy.Refused](c.d.Guard("text", policy.Force{})); found {
			hint = refused.Hint
		}
		if hint != c.hint {
			t.Errorf("%s: refused with %q, want %q", c.name, hint, c.hint)
		}
		if err := c.d.Guard("text", policy.Force{AllowOpen: true, ForceShrink: true}); err != nil {
			t.Errorf("%s: refused though both flags are given: %v", c.name, err)
		}
		if told := c.d.String(); (told == "") != (c.name == "nothing") {
			t.Errorf("%s is told as %q", c.name, told)
		}
	}
}
