package desired_test

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/counts"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

var asBefore = []cmp.Option{
	cmp.Transformer("all", everything), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// Guards "nothing but speed": after any sequence of changes by the CLI, of what is followed,
// of what is declared and of services, what is desired, what is counted and when to look again are
// what they would be if everything were read anew, the claims that are kept for a
// service that is gone among them.
func TestDesiredAgainstAnew(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		made := map[policy.ClaimKey]policy.Claim{}
		is := desiredtest.Start()
		for step := range rapid.IntRange(1, 12).Draw(t, "steps") {
			edit, said := desiredtest.Edit(t, is, now), maps.Clone(made)
			for _, gone := range edit.Claims.Remove {
				delete(said, gone)
			}
			for _, one := range edit.Claims.Put {
				said[one.Key()] = one
			}
			next, plan, err := is.Apply(edit, now, 0)
			if err != nil { // nothing is made of it: TestEditAgainstMerge has the words
				continue
			}
			old := is
			made, is = said, next
			anew, err := desired.New(next.Policy.Services, next.Declared(), slices.Collect(maps.Values(made)), now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(dump(anew), dump(is), asBefore...); diff != "" {
				t.Fatalf("step %d (-anew +is):\n%s", step, diff)
			}
			if diff := cmp.Diff(anew.Counts, is.Counts, asBefore...); diff != "" {
				t.Fatalf("step %d is counted (-anew +is):\n%s", step, diff)
			}
			if want := policy.Diff(old.Policy, anew.Policy); len(want.Added) != len(plan.Added) || len(want.Removed) != len(plan.Removed) || len(want.Changed) != len(plan.Changed) {
				t.Fatalf("step %d: plan %+v, want %+v", step, plan, want)
			}
			// Too soon costs a look; too late would keep a grant.
			if end := anew.NextEnd; !end.IsZero() && (is.NextEnd.IsZero() || is.NextEnd.After(end)) {
				t.Fatalf("step %d: looks again at %v, want %v", step, is.NextEnd, end)
			}
		}
	})
}

// An edit changes nothing of the state that it is applied to: readers look at it without a
// lock, and it is put back when the change cannot be made.
func TestStatesDoNotChange(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		is := desiredtest.Start()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			before, counted, suspensions := dump(is), clone(is.Counts), maps.Clone(is.Suspensions)
			next, _, err := is.Apply(desiredtest.Edit(t, is, now), now, 0)
			if diff := cmp.Diff([]any{before, counted, suspensions}, []any{dump(is), clone(is.Counts), is.Suspensions}, asBefore...); diff != "" {
				t.Fatalf("an edit has changed the state before it (-before +after):\n%s", diff)
			}
			if err == nil {
				is = next
			}
		}
	})
}

// counted is what Counts tells from the outside.
type counted struct {
	Owners map[string]int
	Made   int
	Ended  []int
}

// everything is all that c counts.
func everything(c counts.Counts) any {
	return []any{c.Made, c.Followed, c.Aside, c.Owners(), maps.Collect(c.Ends(math.MinInt64))}
}

// clone is what c tells now, for comparison with what it tells later.
func clone(c counts.Counts) counted {
	all := counted{Owners: c.Owners(), Made: c.Made}
	for hours := range 7 {
		all.Ended = append(all.Ended, c.Ended(time.Now().Add(time.Duration(hours)*time.Hour)))
	}
	return all
}

// Undoing an edit gives the state before it: claims, suspensions and what they hold, counts.
func TestUndoGivesTheStateBefore(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		is := desiredtest.Start()
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			edit := desiredtest.Edit(t, is, now)
			next, _, err := is.Apply(edit, now, 0)
			if err != nil {
				continue
			}
			back, _, err := next.Apply(inverse(is, next, edit), now, 0)
			if err != nil {
				t.Fatalf("step %d cannot be taken back: %v", step, err)
			}
			if diff := cmp.Diff(whole(is), whole(back), asBefore...); diff != "" {
				t.Fatalf("step %d (-before +taken back):\n%s", step, diff)
			}
			is = next
		}
	})
}

func claimed(d desired.State, key policy.ClaimKey) (policy.Claim, bool) {
	for claim := range d.Of(key.Origin) {
		if claim.Prefix == key.Prefix {
			return claim, true
		}
	}
	return policy.Claim{}, false
}

// inverse is the edit that leads from next, which edit has made of before, back to it.
func inverse(before, next desired.State, edit desired.Edit) (back desired.Edit) {
	for key := range edit.Claims.Keys() {
		if was, made := claimed(before, key); made {
			back.Claims.Put = append(back.Claims.Put, was)
			back.Whole = back.Whole || desired.IsOrphan(was, before.Policy.Services)
		} else {
			back.Claims.Remove = append(back.Claims.Remove, key)
		}
	}
	if edit.Services != nil {
		back.Services = before.Policy.Services
	}
	if edit.Declared != nil {
		if back.Declared = before.Declared(); back.Declared == nil {
			back.Declared = map[policy.Origin][]policy.Claim{}
		}
	}
	for _, s := range slices.Concat(next.SuspendedSince(before, edit.Overrides)) {
		if was, stood := before.Suspensions[s.Subject]; stood {
			back.Overrides.Suspend = append(back.Overrides.Suspend, was)
		} else {
			back.Overrides.Resume = append(back.Overrides.Resume, s.Subject)
		}
	}
	for owner := range edit.Overrides.Owners {
		if was, limited := before.Limits[owner]; limited {
			back.Overrides.Limit = append(back.Overrides.Limit, was)
		} else {
			back.Overrides.Unlimit = append(back.Overrides.Unlimit, owner)
		}
	}
	for subject, s := range before.Suspensions {
		if _, stays := next.Suspensions[subject]; !stays {
			back.Overrides.Suspend = append(back.Overrides.Suspend, s)
		}
	}
	back.Fleets = map[policy.Origin]desired.OverridesEdit{}
	for origin := range next.SaidSince(before) {
		was, is, by := before.Fleets[origin], next.Fleets[origin], desired.OverridesEdit{}
		by.Resume, by.Unlimit = slices.Collect(maps.Keys(is.Suspensions)), slices.Collect(maps.Keys(is.Limits))
		by.Suspend, by.Limit = slices.Collect(maps.Values(was.Suspensions)), slices.Collect(maps.Values(was.Limits))
		back.Fleets[origin] = by
	}
	return back
}

// whole is all that an undo is to bring back.
func whole(d desired.State) []any {
	return []any{dump(d), d.Counts, d.Suspensions, d.Limits, d.Fleets, d.Policy.Services, d.Declared()}
}

// dump is all of d that can be compared.
func dump(d desired.State) []any {
	all := []any{}
	for entry := range d.Policy.Entries.All() {
		all = append(all, *entry)
	}
	for _, origin := range append(desiredtest.Followed, policy.OriginCLI) {
		var claims []policy.Claim
		for claim := range d.Of(origin) { // the orphans among them
			claims = append(claims, claim)
		}
		slices.SortFunc(claims, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
		all = append(all, origin, claims)
	}
	return all
}
