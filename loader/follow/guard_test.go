package follow

import (
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: a page or a name cannot lose half of a long list, or all of it, unseen: a page that
// was cut short is refused. A name says by itself when an address is gone, as long as it was held.
func TestGuard(t *testing.T) {
	url, dns, etcd := policy.URLOrigin("a"), policy.DNSOrigin("a"), policy.EtcdOrigin("a", "main")
	for _, c := range []struct {
		origin          policy.Origin
		had, gone, left int
		force           policy.Force
		hint            string // "" is not refused
	}{
		{url, 10, 5, 5, policy.Force{}, ""},
		{url, 10, 6, 4, policy.Force{}, "xdpallow reload --force-shrink"},
		{url, 10, 6, 4, policy.Force{ForceShrink: true}, ""},
		{url, 9, 6, 3, policy.Force{}, ""},
		{url, 2, 2, 0, policy.Force{}, "xdpallow reload --allow-empty"},
		{url, 2, 2, 0, policy.Force{ForceShrink: true}, ""},
		{url, 0, 0, 0, policy.Force{}, ""},
		{dns, 20, 15, 5, policy.Force{}, ""},
		{dns, 20, 20, 0, policy.Force{}, ""},
		{etcd, 20, 20, 0, policy.Force{}, ""},
	} {
		err := Guard(c.origin, c.had, c.gone, c.left, c.force)
		hint := ""
		if refused, ok := err.(*policy.Refused); ok {
			hint = refused.Hint
		}
		if hint != c.hint || (err == nil) != (c.hint == "") {
			t.Errorf("%s, %d of %d gone, %d left, %+v: %v, hint %q, want %q", c.origin, c.gone, c.had, c.left, c.force, err, hint, c.hint)
		}
	}
}
