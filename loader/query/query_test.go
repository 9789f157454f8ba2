package query

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

func claimOf(prefix, owner string) policy.Claim {
	return policy.Claim{Prefix: netip.MustParsePrefix(prefix), Owner: owner}
}

// suspending are overrides that stop prefixes and owners.
func suspending(subjects ...policy.Subject) desired.Overrides {
	o := desired.Overrides{Suspensions: map[policy.Subject]store.Suspension{}}
	for _, s := range subjects {
		o.Suspensions[s] = store.Suspension{Subject: s}
	}
	return o
}

// Promise: an entry tells what holds at its place: what stops it, for whom it counts, that it has
// ended.
func TestEntriesTellWhatHolds(t *testing.T) {
	ended := claimOf("192.0.2.0/24", "umbrella")
	ended.Until = time.Now().Add(-time.Minute)
	v := viewOf(t, &fakeUsage{}, suspending(policy.Subject{Owner: "acme"}, policy.Subject{Prefix: netip.MustParsePrefix("198.51.100.0/25")}),
		claimOf("203.0.113.0/24", "acme"), claimOf("203.0.113.7/32", ""), claimOf("198.51.100.0/24", "globex"), claimOf("198.51.100.8/32", "globex"), ended)
	listed, err := v.List(api.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range collect(t, listed, always) {
		got = append(got, fmt.Sprintf("%s %v by %q for %q, ended %v, %s", e.Prefix, e.Suspended, e.SuspendedBy, e.CountsFor, e.Ended, e.Origins))
	}
	want := []string{
		`192.0.2.0/24 false by "" for "", ended true, [cli]`,
		`198.51.100.0/24 false by "" for "", ended false, [cli]`,
		`198.51.100.8/32 true by "198.51.100.0/25" for "", ended false, [cli]`,
		`203.0.113.0/24 true by "acme" for "", ended false, [cli]`,
		`203.0.113.7/32 true by "acme" for "acme", ended false, [cli]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Promise: at the Tab key prefixes come whole where they are few, and else as they go on; a way
// that is the only one is gone by itself. What remove cannot take away it is not offered.
func TestComplete(t *testing.T) {
	var claims []policy.Claim
	for i := range 1000 {
		claims = append(claims, claimOf(fmt.Sprintf("10.0.%d.%d/32", i/250, i%250), ""))
	}
	claims = append(claims, claimOf("203.0.113.0/24", "acme"), claimOf("2001:db8::/32", "acme"))
	declared := claimOf("203.0.112.0/24", "acme")
	declared.Origin = policy.OriginConfig
	v := viewOf(t, &fakeUsage{}, desired.Overrides{}, claims...)
	d, err := desired.New(v.Policy.Services, map[policy.Origin][]policy.Claim{policy.OriginConfig: {declared}}, claims, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v.State = d
	for begin, want := range map[string][]string{
		"":          {"10.", "2001:", "203."},
		"1":         {"10.0.0.", "10.0.1.", "10.0.2.", "10.0.3."},
		"10.0.":     {"10.0.0.", "10.0.1.", "10.0.2.", "10.0.3."},
		"10.0.3.24": {"10.0.3.24/32", "10.0.3.240/32", "10.0.3.241/32", "10.0.3.242/32", "10.0.3.243/32", "10.0.3.244/32", "10.0.3.245/32", "10.0.3.246/32", "10.0.3.247/32", "10.0.3.248/32", "10.0.3.249/32"},
		"203.":      {"203.0.112.0/24", "203.0.113.0/24"},
		"20":        {"203.0.112.0/24", "203.0.113.0/24", "2001:db8::/32"},
		"2001:d":    {"2001:db8::/32"},
		"9":         nil,
		"acme":      nil,
		"%":         nil,
	} {
		if got := v.Complete(begin, false); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", begin, got, want)
		}
	}
	if got := v.Complete("203.", true); !slices.Equal(got, []string{"203.0.113.0/24"}) {
		t.Errorf("remove is offered %q", got)
	}
}

// Promise: owners are told by name, those too who have nothing but a limit or a suspension.
func TestOwners(t *testing.T) {
	o := suspending(policy.Subject{Owner: "umbrella"})
	o.Limits = map[string]store.Limit{"initech": {Owner: "initech", PerSecond: 10, Burst: 20}}
	seen := time.Now().Truncate(time.Second)
	usage := &fakeUsage{owners: map[string]store.OwnerUse{"acme": {Passed: 3, Audited: 1, Dropped: map[string]uint64{"expired": 2}, LastSeen: seen}}}
	v := viewOf(t, usage, o, claimOf("203.0.113.0/24", "acme"), claimOf("203.0.113.7/32", ""), claimOf("192.0.2.0/24", ""))
	got, err := v.Owners()
	if err != nil {
		t.Fatal(err)
	}
	want := []api.Owner{
		{Owner: "acme", Prefixes: 2, Passed: 3, Audited: 1, Dropped: map[string]uint64{"expired": 2}, LastSeen: &seen},
		{Owner: "initech", Limit: &api.Limit{PerSecond: 10, Burst: 20}},
		{Owner: "umbrella", Suspended: &api.Suspension{Subject: "umbrella"}},
	}
	if diff := cmp.Diff(want, got.Owners, equal...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Suspended) != 1 {
		t.Errorf("suspensions: %+v", got.Suspended)
	}
}

// Promise: of a source that nobody listed, check tells the entries that are nearest, those that
// let somebody in before those that do not any more, and none that is far.
func TestNearest(t *testing.T) {
	ended := claimOf("203.0.113.128/25", "initech")
	ended.Until = time.Now().Add(-time.Minute)
	v := viewOf(t, &fakeUsage{}, desired.Overrides{},
		claimOf("203.0.113.8/32", "acme"), claimOf("203.0.112.0/24", "globex"), ended, claimOf("203.1.0.0/24", "far"), claimOf("198.51.100.0/24", "far"))
	var got []string
	for _, n := range v.nearest(netip.MustParseAddr("203.0.113.9"), "api", v.Now()) {
		got = append(got, fmt.Sprintf("%s %s in the same /%d, %d bits apart %s", n.Prefix, n.Owner, n.Within.Bits(), n.Distance, n.Reason))
	}
	want := []string{
		"203.0.113.8/32 acme in the same /31, 1 bits apart ",
		"203.0.113.128/25 initech in the same /24, 8 bits apart expired",
		"203.0.112.0/24 globex in the same /23, 9 bits apart ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Promise: history tells the last changes in the order in which they were made.
func TestHistory(t *testing.T) {
	kept, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for i := range 5 {
		if err := kept.Apply(store.Change{Log: &store.Record{Command: fmt.Sprint("change ", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	for last, want := range map[int][]string{
		0: {"change 0", "change 1", "change 2", "change 3", "change 4"}, 2: {"change 3", "change 4"}, 9: {"change 0", "change 1", "change 2", "change 3", "change 4"},
	} {
		h, err := History(kept, last)
		var got []string
		for _, r := range h.Changes {
			got = append(got, r.Command)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the last %d: %q, %v, want %q", last, got, err, want)
		}
	}
}
