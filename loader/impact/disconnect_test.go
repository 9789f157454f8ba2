package impact

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// A connection belongs to the prefix that its source lies in, listed or not, and to the
// owner for whom its source counts: also where that is a part of his network without an
// owner. Of a port that is not protected no connection is picked.
func TestSources(t *testing.T) {
	now := time.Now()
	prefix := netip.MustParsePrefix
	s := policy.State{
		Services: []policy.Service{{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Mode: policy.Enforce}},
		Entries: policy.NewEntries([]policy.Entry{
			policy.EntryOf(policy.Claim{Prefix: prefix("10.0.0.0/8"), Owner: "acme"}),
			{Prefix: prefix("10.1.0.0/16")},
			policy.EntryOf(policy.Claim{Prefix: prefix("10.2.0.0/16"), Owner: "globex"}),
			policy.EntryOf(policy.Claim{Prefix: prefix("192.0.2.0/24"), Owner: "acme", Until: now.Add(-time.Hour)}),
		}),
	}
	for _, c := range []struct {
		addr   string
		owner  string
		listed bool
	}{
		{"10.0.0.1", "acme", true},
		{"::ffff:10.1.0.1", "acme", true},
		{"10.2.0.1", "globex", true},
		{"192.0.2.1", "acme", false},
		{"203.0.113.1", "", false},
	} {
		source, protected := SourceOf(s, policy.Peer{Addr: netip.MustParseAddr(c.addr), Port: 443}, now)
		if !protected || source.Owner != c.owner || source.Listed != c.listed {
			t.Errorf("%s is %+v, want %+v", c.addr, source, c)
		}
		if got := Of(policy.Subject{Owner: "acme"})(source); got != (c.owner == "acme") {
			t.Errorf("%s belongs to acme: %v", c.addr, got)
		}
		if got := Of(policy.Subject{Prefix: prefix("10.0.0.0/14")})(source); got != (source.Addr.As4()[0] == 10) {
			t.Errorf("%s lies in 10.0.0.0/14: %v", c.addr, got)
		}
	}
	if source, protected := SourceOf(s, policy.Peer{Addr: netip.MustParseAddr("10.0.0.1"), Port: 22}, now); protected {
		t.Errorf("a connection to port 22 is %+v", source)
	}
}
