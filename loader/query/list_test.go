package query

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// fakeUsage knows how prefixes and owners were used.
type fakeUsage struct {
	of     map[netip.Prefix]store.Use
	owners map[string]store.OwnerUse
	asked  int // for prefixes
	err    error
}

func (f *fakeUsage) Of(prefixes []netip.Prefix, _ func(store.Use) bool) ([]store.Use, error) {
	f.asked += len(prefixes)
	used := make([]store.Use, len(prefixes))
	for i, p := range prefixes {
		used[i] = f.of[p]
	}
	return used, f.err
}

func (f *fakeUsage) Owner(name string) (store.OwnerUse, error) { return f.owners[name], f.err }

// viewOf is what claims of the CLI make, under overrides.
func viewOf(t testing.TB, usage *fakeUsage, o desired.Overrides, claims ...policy.Claim) *View {
	t.Helper()
	for i := range claims {
		claims[i].Origin = policy.OriginCLI
	}
	total := len(claims)
	d, err := desired.New(desiredtest.Services("api", "mail"), nil, claims, time.Now())
	if err != nil || d.Policy.Entries.Len() != total {
		t.Fatalf("%d entries of %d claims: %v", d.Policy.Entries.Len(), total, err)
	}
	return &View{State: d.With(o), Generation: 7, Usage: usage, Clock: compile.NewClock(time.Now(), compile.Boottime())}
}

func never() bool { return false }

// collect reads a listing to its end.
func collect(t testing.TB, l api.Listed, use func() bool) (entries []api.Entry) {
	t.Helper()
	for e, err := range l.Entries(use) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, *e)
	}
	return entries
}

var equal = []cmp.Option{cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()}

// Promise: list shows exactly the entries that meet every wish, sorted by address; what it leaves
// out by its counts is nothing that it should show. How entries were used is read only where the
// format or --unused needs it.
func TestListMeetsEveryWish(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Now()
		moment := rapid.SampledFrom([]time.Duration{-time.Hour, -time.Second, time.Second / 2, time.Minute, 59 * time.Minute, 2 * time.Hour, 30 * time.Hour})
		usage := &fakeUsage{of: map[netip.Prefix]store.Use{}}
		claims := rapid.SliceOfNDistinct(desiredtest.Claim(now), 0, 12, func(c policy.Claim) netip.Prefix { return c.Prefix }).Draw(rt, "claims")
		for i := range claims {
			if !claims[i].Until.IsZero() {
				claims[i].Until = now.Add(moment.Draw(rt, "until"))
			}
			if rapid.Bool().Draw(rt, "enforced") {
				use := store.Use{FirstEnforced: now.Add(-moment.Draw(rt, "enforced since")), Hits: 1}
				if rapid.Bool().Draw(rt, "seen") {
					use.LastSeen = now.Add(-moment.Draw(rt, "last seen"))
				}
				usage.of[claims[i].Prefix] = use
			}
		}
		o := desired.Overrides{Suspensions: map[policy.Subject]store.Suspension{}}
		if subject := (policy.Subject{Owner: "acme"}); rapid.Bool().Draw(rt, "suspended") {
			held := rapid.SliceOfNDistinct(desiredtest.Prefix, 0, 3, rapid.ID[netip.Prefix]).Draw(rt, "held")
			slices.SortFunc(held, policy.ComparePrefix)
			o.Suspensions[subject] = store.Suspension{Subject: subject, Held: held}
		}
		v := viewOf(t, usage, o, claims...)
		r := api.ListRequest{
			Owner:    rapid.SampledFrom([]string{"", "", api.NoOwner, "acme", "globex", "nobody"}).Draw(rt, "owner"),
			Unused:   rapid.SampledFrom([]time.Duration{0, 0, time.Minute, 90 * time.Minute}).Draw(rt, "unused"),
			Expiring: rapid.SampledFrom([]time.Duration{0, 0, time.Second, time.Hour, 24 * time.Hour}).Draw(rt, "expiring"),
			Expired:  rapid.SampledFrom([]bool{false, false, true}).Draw(rt, "expired"),
		}
		if rapid.Bool().Draw(rt, "within") {
			r.Prefix = desiredtest.Prefix.Draw(rt, "prefix")
		}
		picker := picker{v, r, v.Now(), nil} // List with --unused asks the kernel who is connected
		var want []netip.Prefix
		for e := range v.Policy.Entries.All() {
			owner := r.Owner == "" || r.Owner == api.NoOwner && e.Owner() == "" || e.Owner() == r.Owner || v.Policy.OwnerOf(e) == r.Owner
			within := !r.Prefix.IsValid() || r.Prefix.Overlaps(e.Prefix)
			expiring := r.Expiring == 0 || e.Until().After(picker.now) && e.Until().Sub(picker.now) <= r.Expiring
			expired := !r.Expired || !e.Until().IsZero() && !e.Until().After(picker.now)
			use := usage.of[e.Prefix]
			last := slices.MaxFunc([]time.Time{use.FirstEnforced, use.LastSeen}, time.Time.Compare)
			unused := r.Unused == 0 || !use.FirstEnforced.IsZero() && picker.now.Sub(last) >= r.Unused
			if owner && within && expiring && expired && unused {
				want = append(want, e.Prefix)
			}
		}
		slices.SortFunc(want, policy.ComparePrefix)
		var claimed, bare, used []netip.Prefix
		for c, err := range picker.claims {
			if err != nil {
				rt.Fatal(err)
			}
			claimed = append(claimed, c.Prefix)
		}
		for e := range picker.report(picker.picked(), never) {
			bare = append(bare, e.Prefix)
		}
		if r.Unused == 0 && usage.asked > 0 {
			rt.Errorf("the use of %d entries was read, which nobody asked for", usage.asked)
		}
		for e := range picker.report(picker.picked(), always) {
			if use := usage.of[e.Prefix]; e.Hits != use.Hits || (e.LastSeen == nil) != use.LastSeen.IsZero() {
				rt.Errorf("%s was used as %+v, and is listed with %+v", e.Prefix, use, e)
			}
			used = append(used, e.Prefix)
		}
		if diff := cmp.Diff(want, claimed, equal...) + cmp.Diff(want, bare, equal...) + cmp.Diff(want, used, equal...); diff != "" {
			rt.Fatalf("%+v (-want +got):\n%s", r, diff)
		}
	})
}

// many are claims of neighbours, without an owner.
func many(n int) (claims []policy.Claim) {
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		claims = append(claims, policy.Claim{Prefix: netip.PrefixFrom(addr, 32), Note: fmt.Sprint("number ", i)})
	}
	return claims
}

// Promise: a listing that has no entry costs the same however long the list is: an index answers.
func TestListOfNothingIsNoWalk(t *testing.T) {
	cost := func(v *View, r api.ListRequest) time.Duration {
		best := time.Hour
		for range 20 {
			begin := time.Now()
			listed, err := v.List(r)
			if err != nil || len(collect(t, listed, always)) > 0 {
				t.Fatalf("%+v: %v", r, err)
			}
			best = min(best, time.Since(begin))
		}
		return best
	}
	short, long := viewOf(t, &fakeUsage{}, desired.Overrides{}, many(100)...), viewOf(t, &fakeUsage{}, desired.Overrides{}, many(100_000)...)
	for _, r := range []api.ListRequest{{Owner: "nobody"}, {Expired: true}, {Expiring: 14 * 24 * time.Hour}} {
		if few, lots := cost(short, r), cost(long, r); lots > 20*few+20*time.Microsecond {
			t.Errorf("%+v: %v among 100,000 entries, %v among 100", r, lots, few)
		}
	}
}

// Promise: a listing is never in memory as a whole, whichever way it is read and wherever its
// reader stands still.
func TestListingIsNotKept(t *testing.T) {
	v := viewOf(t, &fakeUsage{}, desired.Overrides{}, many(100_000)...)
	listed, err := v.List(api.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	const slack = 4 << 20 // a chunk of entries and their use; all of them are over 30 MB
	before := heap()
	n := 0
	half := func() {
		if n++; n == listed.Total/2 {
			if grown := int64(heap()) - int64(before); grown > slack {
				t.Errorf("after half of the entries the heap has grown by %d bytes", grown)
			}
		}
	}
	for range listed.Entries(always) {
		half()
	}
	n = 0
	for range listed.Claims {
		half()
	}
	if n != listed.Total {
		t.Errorf("%d of %d entries came", n, listed.Total)
	}
	runtime.KeepAlive(v)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Promise: use that cannot be read is an error, and never a shorter list; a change that is made is
// reported all the same.
func TestUseThatCannotBeRead(t *testing.T) {
	usage := &fakeUsage{err: errors.New("no database")}
	v := viewOf(t, usage, desired.Overrides{}, many(3)...)
	listed, err := v.List(api.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	failed := error(nil)
	for _, err := range listed.Entries(always) {
		failed = err
	}
	if !errors.Is(failed, usage.err) {
		t.Errorf("the listing ended with %v", failed)
	}
	if got := collect(t, listed, never); len(got) != 3 {
		t.Errorf("without use %d of 3 entries came", len(got))
	}
	entries := []policy.Entry{}
	for e := range v.Policy.Entries.All() {
		entries = append(entries, *e)
	}
	if got := v.Entries(entries); len(got) != 3 {
		t.Errorf("of 3 changed entries %d were reported", len(got))
	}
}
