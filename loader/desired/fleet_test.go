package desired_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: who is suspended here or by a list of a fleet is stopped, and nobody else; of a limit here
// and one of a list the lower one counts; and what a list says comes and goes without the other.
func TestListsStopForThemselves(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		is, list := desiredtest.Start(), desiredtest.Followed[0]
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			edit := desiredtest.Edit(t, is, now)
			next, _, err := is.Apply(edit, now, 0)
			if err != nil {
				continue
			}
			is = next
			here := is.WithFleets(nil)
			there := is.With(desired.Overrides{})
			for entry := range is.Policy.Entries.All() {
				want := here.Policy.IsSuspended(entry) || there.Policy.IsSuspended(entry)
				if got := is.Policy.IsSuspended(entry); got != want {
					t.Fatalf("%s is stopped: %v, want %v", entry.Prefix, got, want)
				}
			}
			for _, owner := range []string{"acme", "globex", "nobody"} {
				low, found := is.Limits[owner]
				if other, limited := is.Fleets[list].Limits[owner]; limited && (!found || other.PerSecond < low.PerSecond) {
					low, found = other, true
				}
				if got, _, limited := is.LimitOf(owner); limited != found || got.PerSecond != low.PerSecond {
					t.Fatalf("%s has limit %v %v, want %v %v", owner, got, limited, low, found)
				}
			}
		}
		gone, _, err := is.Apply(is.Unsay(desiredtest.Followed), now, 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(is.Suspensions, gone.Suspensions, asBefore...); len(gone.Fleets) > 0 || diff != "" {
			t.Fatalf("without the list %v is left of it, and here (-before +after):\n%s", gone.Fleets, diff)
		}
	})
}

// Promise: a list says all of its suspensions and limits each time; what it says again goes on as it
// was, with the prefixes that it holds, and only what it says otherwise is changed.
func TestListSaysAgain(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	list := policy.EtcdOrigin("prod", "main")
	acme := store.Suspension{Subject: policy.Subject{Owner: "acme"}, Time: now, Reason: "stolen key"}
	limit := store.Limit{Owner: "globex", PerSecond: 3, Burst: 3}
	claim := func(prefix, owner string) policy.Claim {
		return policy.Claim{Prefix: netip.MustParsePrefix(prefix), Owner: owner, Origin: policy.OriginCLI}
	}
	made := []policy.Claim{claim("10.0.0.0/24", "acme"), claim("10.0.0.7/32", "globex"), claim("10.0.1.0/24", "initech")}
	d, err := desired.New(desiredtest.Services("api"), nil, made, now)
	if err != nil {
		t.Fatal(err)
	}
	say := func(suspensions []store.Suspension, limits []store.Limit) desired.OverridesEdit {
		t.Helper()
		by := d.Say(list, suspensions, limits)
		if by.Empty() {
			return by
		}
		if d, _, err = d.Apply(desired.Edit{Fleets: map[policy.Origin]desired.OverridesEdit{list: by}}, now, 0); err != nil {
			t.Fatal(err)
		}
		return by
	}
	stopped := func(want ...string) {
		t.Helper()
		var got []string
		for e := range d.Policy.Entries.All() {
			if d.Policy.IsSuspended(e) {
				got = append(got, e.Prefix.String())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("stopped are %v, want %v", got, want)
		}
	}
	say([]store.Suspension{acme}, []store.Limit{limit})
	stopped("10.0.0.0/24")
	if by := say([]store.Suspension{acme}, []store.Limit{limit}); !by.Empty() {
		t.Errorf("the same once more is %+v", by)
	}
	move := desired.Edit{Claims: policy.Edit{Put: []policy.Claim{claim("10.0.0.0/24", "umbrella"), claim("10.0.0.9/32", "umbrella")}}}
	if d, _, err = d.Apply(move, now, 0); err != nil {
		t.Fatal(err)
	}
	stopped("10.0.0.0/24", "10.0.0.9/32") // they were acme's as he was suspended
	again := acme
	again.Reason = "OPS-1301"
	if by := say([]store.Suspension{again}, nil); len(by.Suspend) != 1 || !slices.Equal(by.Unlimit, []string{"globex"}) {
		t.Errorf("another reason, and no limit: %+v", by)
	}
	stopped("10.0.0.0/24", "10.0.0.9/32")
	again.Nested = true
	say([]store.Suspension{again}, nil)
	stopped("10.0.0.0/24", "10.0.0.7/32", "10.0.0.9/32")
	again.Time = now.Add(time.Minute) // resumed meanwhile: he has no prefix now
	say([]store.Suspension{again}, nil)
	stopped()
	prefix := store.Suspension{Subject: policy.Subject{Prefix: netip.MustParsePrefix("10.0.1.0/24")}, Time: now}
	say([]store.Suspension{prefix}, nil)
	stopped("10.0.1.0/24")

	for what, want := range map[string]policy.Refused{
		"10.0.1.0/24": {What: "10.0.1.0/24 is suspended by 10.0.1.0/24 (etcd:prod)", Hint: "xdpallow fleet resume 10.0.1.0/24"},
		"10.0.1.7/32": {What: "10.0.1.7/32 is suspended by 10.0.1.0/24 (etcd:prod)", Hint: "xdpallow fleet resume 10.0.1.0/24"},
		"10.0.0.0/24": {What: "10.0.0.0/24 is not suspended", Hint: "xdpallow status"},
	} {
		_, err := d.Resume(api.SuspendRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix(what)}})
		if refused, ok := errors.AsType[*policy.Refused](err); !ok || *refused != want {
			t.Errorf("resume %s: %+v, want %+v", what, refused, want)
		}
	}
	say(nil, []store.Limit{limit})
	_, err = d.Limit(api.LimitRequest{Owner: "globex"})
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || refused.Hint != "xdpallow fleet limit globex none" {
		t.Errorf("a limit of the fleet taken back here: %+v", refused)
	}
}
