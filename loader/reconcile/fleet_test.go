// This file holds what a list of a fleet says over all origins to what commands here say.
package reconcile_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

const (
	prod   = policy.Origin("etcd:prod")
	portal = policy.Origin("etcd:prod/portal")
)

var stolen = time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)

// stops is a reading after which the list says exactly that these owners and prefixes are stopped.
func stops(r source.Reading, subjects ...string) source.Reading {
	r.Overrides = &source.Overrides{}
	for _, text := range subjects {
		s := source.Suspension{Subject: policy.Subject{Owner: text}, Since: stolen, Reason: "stolen key"}
		if p, err := netip.ParsePrefix(text); err == nil {
			s.Subject = policy.Subject{Prefix: p}
		}
		r.Overrides.Suspended = append(r.Overrides.Suspended, s)
	}
	return r
}

// says is a reading that changes no entry.
func says(origin policy.Origin, why string) source.Reading {
	mark, _, _ := strings.Cut(strings.TrimPrefix(why, "serial "), ":")
	return source.Reading{Origin: origin, Mark: mark, Sum: "same", Why: why, Edit: &policy.Edit{}}
}

// do makes a change in the host's namespace.
func (f follower) do(change func(ctx context.Context) error) error {
	return f.lab.Host.Do(func() error { return change(context.Background()) })
}

// resumed is resume with its answer.
func (f follower) resumed(owner string) (result api.SuspendResult, err error) {
	err = f.do(func(ctx context.Context) error {
		result, err = f.engine.Resume(ctx, api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: owner}})
		return err
	})
	return result, err
}

// newFleet is a gate that follows two lists of a fleet, and on which commands list acme's and globex's.
func newFleet(t *testing.T) follower {
	t.Helper()
	f := newFollower(t)
	f.config(prod, partner)
	f.open()
	f.take(reading(prod, "serial 1: fleet add", "203.0.113.0/24"))
	for prefix, owner := range map[string]string{"192.0.2.0/24": "acme", "198.51.100.0/24": "globex"} {
		f.must(nil, f.add(prefix, owner))
	}
	return f
}

// Promise: whom the fleet stops is stopped on this host whoever lists him, by a reading that changes no
// entry; it is told whose word that is; a command here adds to it, and does not take it back; and all
// of it is there after a restart and after a reboot, by each file alone.
func TestFleetStops(t *testing.T) {
	f := newFleet(t)
	all := map[string]string{"203.0.113.7": "pass", "192.0.2.7": "pass", "198.51.100.7": "pass", "8.8.8.8": "drop"}
	acmeOut := map[string]string{"203.0.113.7": "drop", "192.0.2.7": "drop", "198.51.100.7": "pass", "8.8.8.8": "drop"}
	f.expect("at first", all)
	r := stops(says(prod, "serial 2: fleet suspend acme (alice: OPS-1301)"), "acme")
	r.Overrides.Limits = []source.Limit{{Owner: "globex", PerSecond: 5, Burst: 9}}
	f.take(r)
	f.expect("suspended by the fleet", acmeOut)
	f.take(says(prod, "serial 2")) // it was there, and has not changed
	f.expect("the same once more", acmeOut)

	told := func(when string) {
		t.Helper()
		one, status := f.status(prod)
		if one.Mark != "2" || len(status.Suspended) != 1 || status.Suspended[0].Origin != prod || status.Suspended[0].Reason != "stolen key" || !status.Suspended[0].Since.Equal(stolen) || status.Limited != 1 {
			t.Errorf("%s: status has %+v, %d limited, mark %s", when, status.Suspended, status.Limited, one.Mark)
		}
		owners := labtest.Must(f.engine.Owners(context.Background()))(t)
		for _, o := range owners.Owners {
			limited, suspended := o.Owner == "globex", o.Owner == "acme"
			if (o.Limit != nil) != limited || limited && (o.Limit.Origin != prod || o.Limit.PerSecond != 5) ||
				(o.Suspended != nil) != suspended || suspended && o.Suspended.Origin != prod {
				t.Errorf("%s: owners has %+v", when, o)
			}
		}
		listing := labtest.Must(f.list(context.Background(), api.ListRequest{Owner: "acme"}))(t)
		for _, e := range listing.Entries {
			if e.SuspendedIn != prod || e.SuspendedBy != "acme" {
				t.Errorf("%s: list has %+v", when, e)
			}
		}
		if len(listing.Entries) != 2 {
			t.Errorf("%s: list has %d entries of acme", when, len(listing.Entries))
		}
	}
	told("suspended")
	history := labtest.Must(f.engine.History(context.Background(), 1))(t)
	if c := history.Changes[0]; c.Command != "etcd:prod: serial 2: fleet suspend acme (alice: OPS-1301)" || !slices.Equal(c.Overrides, []string{"suspend acme (etcd:prod)", "limit globex 5/s --burst 9 (etcd:prod)"}) {
		t.Errorf("history has %+v", c)
	}

	err := f.resume("acme")
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || refused.What != "acme is suspended by acme (etcd:prod)" || refused.Hint != "xdpallow fleet resume acme" {
		t.Errorf("resume: %+v", refused)
	}
	f.must(nil, f.suspend("acme")) // here, too
	if result, err := f.resumed("acme"); err != nil || !slices.Equal(result.Still, []string{"acme (etcd:prod)"}) {
		t.Errorf("resume of what is also suspended here: %+v, %v", result, err)
	}
	f.must(nil, f.suspend("globex"))
	f.must(nil, f.resume("globex"))
	f.expect("after commands here", acmeOut)

	f.close()
	f.open()
	f.expect("after a restart", acmeOut)
	told("after a restart")
	f.close()
	files := f.files()
	for _, name := range []string{"", "state.db", "effective.list"} {
		left := map[string][]byte{}
		for file, content := range files {
			if file != name {
				left[file] = content
			}
		}
		f.reboot(left)
		f.open()
		f.expect("after a reboot without "+name, acmeOut)
		told("after a reboot without " + name)
		f.close()
	}
	f.open()
	f.must(nil, f.suspend("acme"))
	f.take(stops(says(prod, "serial 3: fleet resume acme")))
	f.expect("resumed by the fleet, and suspended here", acmeOut)
	f.must(nil, f.resume("acme"))
	f.expect("resumed by both", all)
	if _, status := f.status(prod); len(status.Suspended) > 0 || status.Limited > 0 {
		t.Errorf("left are %+v, and %d limited", status.Suspended, status.Limited)
	}
	f.close()
}

// Promise: of a limit here and one of the fleet the lower one counts, and each side takes back its own.
func TestFleetLimits(t *testing.T) {
	f := newFleet(t)
	limit := func(here, fleet, want float64) {
		t.Helper()
		r := stops(says(prod, "serial 2: fleet limit"))
		if fleet > 0 {
			r.Overrides.Limits = []source.Limit{{Owner: "acme", PerSecond: fleet, Burst: 7}}
		}
		f.take(r)
		err := f.do(func(ctx context.Context) error {
			_, err := f.engine.Limit(ctx, api.Caller{}, api.LimitRequest{Owner: "acme", Limit: api.Limit{PerSecond: here}})
			return err
		})
		if _, refused := errors.AsType[*policy.Refused](err); err != nil && !(here == 0 && refused) {
			t.Fatal(err)
		}
		owner := f.owner("acme")
		if want == 0 && owner.Limit != nil || want > 0 && (owner.Limit == nil || owner.Limit.PerSecond != want) {
			t.Errorf("%v here and %v by the fleet: %+v, want %v", here, fleet, owner.Limit, want)
		}
	}
	limit(10, 5, 5)
	limit(3, 5, 3)
	limit(0, 5, 5)
	limit(0, 8, 8)
	limit(4, 0, 4)
	limit(0, 0, 0)
	f.close()
}

// Promise: whom the fleet stops he is stopped although its list is refused, before any entry changes; an
// entry of the fleet is neither removed nor given to another owner here, and what to type is told.
func TestFleetStopsBeforeEntries(t *testing.T) {
	f := newFleet(t)
	var many []string
	for i := range 20 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 0, byte(i), 0}), 24).String())
	}
	wide := append([]string{"96.0.0.0/4"}, many...)
	f.take(reading(prod, "serial 2: fleet add --allow-any", wide...))
	f.take(reading(prod, "serial 9: fleet remove", "203.0.113.0/24")) // what people accepted step by step
	f.expect("much of a fleet is gone at once", map[string]string{"203.0.113.7": "pass", "100.0.1.1": "drop"})

	for _, prefix := range []string{"192.0.2.0/24", "198.51.100.0/24"} {
		f.must(nil, f.do(func(ctx context.Context) error {
			_, err := f.engine.Remove(ctx, api.Caller{}, api.RemoveRequest{Prefixes: []string{prefix}})
			return err
		}))
	}
	empty := stops(reading(prod, "serial 10: fleet suspend 203.0.113.128/25"), "203.0.113.128/25")
	f.refuses(empty, "nobody could connect", "xdpallow reload --allow-empty")
	f.expect("an empty list that stops a prefix", map[string]string{"203.0.113.7": "pass", "203.0.113.200": "drop"})
	empty.Force.AllowEmpty = true
	f.take(empty)
	f.expect("an empty list that is meant", map[string]string{"203.0.113.7": "drop"})

	f.take(reading(prod, "serial 11: fleet add", "203.0.113.0/24"))
	for hint, err := range map[string]error{
		"xdpallow fleet remove 203.0.113.0/24": f.do(func(ctx context.Context) error {
			_, err := f.engine.Remove(ctx, api.Caller{}, api.RemoveRequest{Prefixes: []string{"203.0.113.0/24"}})
			return err
		}),
		"xdpallow fleet add 203.0.113.0/24 --owner globex": f.add("203.0.113.0/24", "globex"),
	} {
		if refused, ok := errors.AsType[*policy.Refused](err); !ok || !strings.Contains(refused.What, "etcd:prod") || refused.Hint != hint {
			t.Errorf("%+v, want the hint %q", refused, hint)
		}
	}
	f.close()
}

// Promise: what the fleet does to a suspended owner's network is what a command here would do: what
// was another's before stays open, what comes into it later is stopped, also after a restart.
func TestFleetHoldsNetworks(t *testing.T) {
	f := newFleet(t)
	f.must(nil, f.add("192.0.2.7/32", "globex"))
	f.take(stops(says(prod, "serial 2: fleet suspend acme"), "acme"))
	f.must(nil, f.add("192.0.2.8/32", "globex"))
	f.must(nil, f.add("192.0.2.64/26", ""))
	want := map[string]string{"192.0.2.1": "drop", "192.0.2.7": "pass", "192.0.2.8": "drop", "192.0.2.65": "drop", "198.51.100.7": "pass"}
	f.expect("suspended", want)
	f.close()
	f.open()
	f.expect("after a restart", want)
	f.take(stops(says(prod, "serial 3: fleet resume acme")))
	f.expect("resumed", map[string]string{"192.0.2.1": "pass", "192.0.2.7": "pass", "192.0.2.8": "pass", "192.0.2.65": "pass"})
	f.close()
}

// Promise: an etcd list that cannot be reached, is of another fleet or is older changes nothing, and each
// has a code of its own; a service that this host has not is no problem; a host that has never seen
// its list is up and shut.
func TestFleetTroubles(t *testing.T) {
	f := newFollower(t)
	f.config(prod, portal)
	f.open()
	f.expect("nothing yet", map[string]string{"203.0.113.7": "drop"})
	f.told("origin_pending", prod, "everybody is dropped")
	r := reading(prod, "serial 7: fleet add", "203.0.113.0/24", "198.51.100.0/24")
	r.Claims[1].Services = []string{"elsewhere"}
	r.Fleet, r.Manifest = "9c2f", []byte(`{"serial":7}`)
	f.take(r)
	if have := f.engine.Have(prod); have.Fleet != "9c2f" || string(have.Manifest) != `{"serial":7}` || len(have.Claims) != 2 {
		t.Errorf("kept is %+v", have)
	}
	f.expect("the first list", map[string]string{"203.0.113.7": "pass", "198.51.100.7": "drop"})
	if one, status := f.status(prod); one.Aside != 1 || slices.ContainsFunc(status.Problems, func(p api.Problem) bool { return p.Subject == string(prod) }) {
		t.Errorf("an entry for a service of other hosts: %+v, %+v", one, status.Problems)
	}
	for _, code := range []string{"fleet_changed", "fleet_older"} {
		bad := source.Reading{Origin: prod, Err: &source.Trouble{Code: code, What: "/xdpallow/v1/prod/list/main", Hint: "xdpallow fleet status"}}
		if err := f.engine.Take(bad); err != nil {
			t.Error(err)
		}
		f.told(code, prod, "what it said last is enforced")
		f.expect(code, map[string]string{"203.0.113.7": "pass", "192.0.2.7": "drop"})
	}
	f.take(source.Reading{Origin: prod, Mark: "7", Sum: r.Sum, Edit: &policy.Edit{}})
	f.quiet("it is well again")
	f.close()
}

// Promise: to leave a fleet ends what it stopped only where that is said.
func TestLeavingAFleet(t *testing.T) {
	f := newFleet(t)
	f.take(stops(says(prod, "serial 2: fleet suspend acme"), "acme"))
	f.config(partner)
	err := f.do(func(ctx context.Context) error {
		_, err := f.engine.Reload(ctx, api.Caller{}, api.ReloadRequest{})
		return err
	})
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || refused.Hint != "--allow-open" || !strings.Contains(refused.What, "resume acme") {
		t.Errorf("reload: %v", err)
	}
	f.close()
	f.open()
	f.expect("a start", map[string]string{"192.0.2.7": "drop", "203.0.113.7": "drop"})
	f.told("origin_failing", prod, "names it no longer")
	f.reload(api.ReloadRequest{Force: policy.Force{AllowOpen: true}})
	f.expect("a reload that says so", map[string]string{"192.0.2.7": "pass", "203.0.113.7": "drop"})
	f.close()
	f.open()
	f.expect("for good", map[string]string{"192.0.2.7": "pass", "203.0.113.7": "drop"})
	f.close()
}
