package query

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: an API that asks whose an address is learns what the gate decides about it, and a
// key that is used from another customer's address is told from one that is used by a stranger.
func TestOwnership(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	entry := func(prefix, owner string, services ...string) policy.Entry {
		return policy.EntryOf(policy.Claim{Prefix: netip.MustParsePrefix(prefix), Owner: owner, Services: services})
	}
	expired := policy.EntryOf(policy.Claim{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Owner: "initech", Until: past})
	v := &View{State: desired.State{Policy: policy.State{
		Services: desiredtest.Services("api", "mail"),
		Entries: policy.NewEntries([]policy.Entry{
			entry("203.0.113.0/24", "acme"), entry("203.0.113.7/32", ""), entry("192.0.2.0/24", "globex", "mail"),
			entry("2001:db8::/32", ""), entry("203.0.113.64/26", "stopped"), expired,
		}),
		Suspended: policy.NewSuspended([]netip.Prefix{netip.MustParsePrefix("203.0.113.64/26")}, nil),
	}}}
	v.Clock = compile.NewClock(time.Now(), compile.Boottime())
	for _, c := range []struct{ addr, service, expected, owner, prefix, reason string }{
		{"203.0.113.9", "api", "", "acme", "203.0.113.0/24", "listed"},
		{"::ffff:203.0.113.9", "api", "", "acme", "203.0.113.0/24", "listed"},
		{"203.0.113.7", "api", "acme", "acme", "203.0.113.7/32", "listed"}, // inside his network, without an owner
		{"203.0.113.9", "api", "acme", "acme", "203.0.113.0/24", "listed"},
		{"203.0.113.9", "api", "globex", "acme", "203.0.113.0/24", "wrong_owner"},
		{"2001:db8::1", "api", "", "", "2001:db8::/32", "listed"},
		{"2001:db8::1", "api", "acme", "", "2001:db8::/32", "wrong_owner"}, // nobody's is not his
		{"192.0.2.1", "mail", "globex", "globex", "192.0.2.0/24", "listed"},
		{"192.0.2.1", "api", "acme", "globex", "192.0.2.0/24", "wrong_service"},
		{"203.0.113.65", "api", "", "stopped", "203.0.113.64/26", "suspended"},
		{"198.51.100.1", "api", "", "initech", "198.51.100.0/24", "expired"},
		{"9.9.9.9", "api", "acme", "", "invalid Prefix", "not_listed"},
	} {
		got, found := v.Ownership(netip.MustParseAddr(c.addr), c.service, c.expected)
		if !found || got.Owner != c.owner || got.Prefix.String() != c.prefix || got.Reason != c.reason || got.Audit {
			t.Errorf("%s at %s, expected %q: %+v, %v, want %s of %q by %s", c.addr, c.service, c.expected, got, found, c.reason, c.owner, c.prefix)
		}
	}
	if got, found := v.Ownership(netip.MustParseAddr("203.0.113.9"), "telnet", ""); found {
		t.Errorf("there is no service telnet, and of it %+v", got)
	}
	v.Audits = desired.Audits{"api": {Boottime: uint64(compile.Boottime() + time.Hour)}}
	for service, audit := range map[string]bool{"api": true, "mail": false} {
		if got, _ := v.Ownership(netip.MustParseAddr("9.9.9.9"), service, ""); got != (api.Ownership{Reason: policy.ReasonNotListed, Audit: audit}) {
			t.Errorf("while api is in audit, at %s: %+v", service, got)
		}
	}
}
