// This file holds rollback to "exactly what was there before", and suspensions and
// limits to "every field comes back".

package store

import (
	"errors"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Few names and prefixes, so that changes meet.
var (
	genOwner   = rapid.SampledFrom([]string{"acme", "4", "6", "zeta-1.example"})
	genNear    = rapid.SampledFrom([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2001:db8::/48")})
	genSubject = rapid.Custom(func(t *rapid.T) policy.Subject {
		if rapid.Bool().Draw(t, "by owner") {
			return policy.Subject{Owner: genOwner.Draw(t, "owner")}
		}
		return policy.Subject{Prefix: genNear.Draw(t, "prefix")}
	})
	genSuspension = rapid.Custom(func(t *rapid.T) Suspension {
		s := Suspension{
			Subject: genSubject.Draw(t, "subject"), Reason: genNote.Draw(t, "reason"), UID: rapid.Uint32().Draw(t, "uid"),
			Time: time.Unix(rapid.Int64Range(0, math.MaxUint32).Draw(t, "s"), 5).UTC(),
		}
		if s.Owner == "" {
			return s
		}
		if s.Unnoted = rapid.Bool().Draw(t, "unnoted"); s.Unnoted {
			return s
		}
		s.Nested = rapid.Bool().Draw(t, "nested")
		for range rapid.IntRange(0, 3).Draw(t, "held") {
			s.Held = append(s.Held, genNear.Draw(t, "held prefix"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "stays") {
			s.Stays = append(s.Stays, policy.Stay{Prefix: genNear.Draw(t, "prefix that stays"), Owner: genOwner.Draw(t, "whose")})
		}
		return s
	})
	genLimit = rapid.Custom(func(t *rapid.T) Limit {
		return Limit{Owner: genOwner.Draw(t, "owner"), PerSecond: rapid.Float64Range(math.SmallestNonzeroFloat64, math.MaxFloat64).Draw(t, "rate"), Burst: rapid.Uint32().Draw(t, "burst")}
	})
)

func genChange(t *rapid.T) Change {
	change := Change{
		Delete:  rapid.SliceOfN(genNear, 0, 3).Draw(t, "delete"),
		Resume:  rapid.SliceOfN(genSubject, 0, 3).Draw(t, "resume"),
		Suspend: rapid.SliceOfN(genSuspension, 0, 3).Draw(t, "suspend"),
		Unlimit: rapid.SliceOfN(genOwner, 0, 3).Draw(t, "unlimit"),
		Limit:   rapid.SliceOfN(genLimit, 0, 3).Draw(t, "limit"),
	}
	for _, c := range rapid.SliceOfN(genClaim, 0, 3).Draw(t, "put") {
		c.Prefix = genNear.Draw(t, "prefix")
		change.Put = append(change.Put, c)
	}
	return change
}

var rolledBack = [][]byte{bucketClaims, bucketSuspended, bucketLimits}

// Promise: the undo of any change leads to the very bytes of before, when an
// entry was made among them, and its own undo forward again; a change that
// changes nothing is not what a rollback takes back.
func TestInverseLeadsBackAndForward(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open(t.TempDir())
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		generation := uint64(0)
		apply := func(change Change) map[string]string {
			generation++
			change.Generation, change.Log = generation, &Record{Time: time.Unix(int64(generation), 0), Command: "c"}
			if err := s.Apply(change); err != nil {
				rt.Fatal(err)
			}
			return dump(t, s, rolledBack...)
		}
		before := dump(t, s, rolledBack...)
		touched := uint64(0)
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			after := apply(genChange(rt))
			if !maps.Equal(before, after) {
				touched = generation
			}
			undo, found, err := s.LoadUndo()
			if err != nil || found != (touched > 0) || undo.After != touched {
				rt.Fatalf("%+v, %v, %v takes back; want generation %d", undo, found, err, touched)
			}
			if touched == generation && rapid.Bool().Draw(rt, "roll back") {
				for _, want := range []map[string]string{before, after, before} {
					if undo, _, err = s.LoadUndo(); err != nil {
						rt.Fatal(err)
					}
					if diff := cmp.Diff(want, apply(rollback(undo))); diff != "" {
						rt.Fatalf("rolled back (-want +got):\n%s", diff)
					}
				}
				after, touched = before, generation
			}
			before = after
		}
	})
}

// The database against maps.
func TestSuspensionsAndLimitsAgainstMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		suspended, limits := map[policy.Subject]Suspension{}, map[string]Limit{}
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			change := genChange(rt)
			for _, subject := range change.Resume {
				delete(suspended, subject)
			}
			for _, one := range change.Suspend {
				suspended[one.Subject] = one
			}
			for _, owner := range change.Unlimit {
				delete(limits, owner)
			}
			for _, one := range change.Limit {
				limits[one.Owner] = one
			}
			if err := s.Apply(change); err != nil {
				rt.Fatal(err)
			}
		}
		_ = s.Close()
		if s, err = Open(dir); err != nil {
			rt.Fatal(err)
		}
		gotSuspended, err := s.Suspensions()
		gotLimits, limitsErr := s.Limits()
		if err := errors.Join(err, limitsErr); err != nil {
			rt.Fatal(err)
		}
		wantSuspended := slices.SortedFunc(maps.Values(suspended), func(a, b Suspension) int {
			if (a.Owner == "") != (b.Owner == "") {
				return strings.Compare(a.Owner, b.Owner)
			}
			if a.Owner == "" {
				return policy.ComparePrefix(a.Prefix, b.Prefix)
			}
			return strings.Compare(a.Owner, b.Owner)
		})
		wantLimits := slices.SortedFunc(maps.Values(limits), func(a, b Limit) int { return strings.Compare(a.Owner, b.Owner) })
		if diff := cmp.Diff(wantSuspended, gotSuspended, sameClaims) + cmp.Diff(wantLimits, gotLimits, sameClaims); diff != "" {
			rt.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// What is refused leaves nothing, whatever else the change would do.
func TestSuspensionsAndLimitsRefuse(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	for name, change := range map[string]Change{
		"nobody":        {Suspend: []Suspension{{}}},
		"two subjects":  {Suspend: []Suspension{{Subject: policy.Subject{Prefix: prefix, Owner: "acme"}}}},
		"host bits":     {Resume: []policy.Subject{{Prefix: netip.MustParsePrefix("10.0.0.1/8")}}},
		"owner":         {Suspend: []Suspension{{Subject: policy.Subject{Owner: "\x04cme"}}}},
		"reason":        {Suspend: []Suspension{{Subject: policy.Subject{Owner: "acme"}, Reason: "two\nlines"}}},
		"no owner":      {Limit: []Limit{{PerSecond: 1}}},
		"unlimit":       {Unlimit: []string{""}},
		"no rate":       {Limit: []Limit{{Owner: "acme"}}},
		"negative rate": {Limit: []Limit{{Owner: "acme", PerSecond: -1}}},
		"not a number":  {Limit: []Limit{{Owner: "acme", PerSecond: math.NaN()}}},
		"infinite":      {Limit: []Limit{{Owner: "acme", PerSecond: math.Inf(1)}}},
	} {
		change.Put = []policy.Claim{{Prefix: prefix, Origin: policy.OriginCLI}}
		if err := s.Apply(change); err == nil {
			t.Errorf("%s: was applied", name)
		}
	}
	if left := dump(t, s); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// A record that is cut off, or of a newer release, is an error: a suspension that
// is not understood must not end.
func TestSmallRecordsRefuseWhatTheyDoNotKnow(t *testing.T) {
	suspension := encodeSuspension(Suspension{Time: time.Unix(1, 0)})
	hold := encodeSuspension(Suspension{
		Subject: policy.Subject{Owner: "acme"}, Time: time.Unix(1, 0), Nested: true,
		Held:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		Stays: []policy.Stay{{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Owner: "globex"}},
	})
	if old, err := decodeSuspension([]byte("acme"), suspension); err != nil || !old.Unnoted {
		t.Errorf("of a release that noted nothing: %+v, %v", old, err)
	}
	limit := encodeLimit(Limit{PerSecond: 1, Burst: 2})
	use := encodeUse(Use{FirstEnforced: time.Unix(1<<40, 0), LastSeen: time.Unix(1, 0), Hits: 1 << 60, Live: 1 << 31, Life: 300})
	ownerUse, err := encodeOwnerUse(OwnerUse{Passed: 300, Dropped: map[string]uint64{"not_listed": 300, "expired": 1}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		record []byte
		decode func([]byte) error
	}{
		"suspension": {suspension, func(b []byte) error {
			_, err := decodeSuspension(appendKey(nil, netip.MustParsePrefix("10.0.0.0/8")), b)
			return err
		}},
		"hold":      {hold, func(b []byte) error { _, err := decodeSuspension([]byte("acme"), b); return err }},
		"limit":     {limit, func(b []byte) error { _, err := decodeLimit([]byte("acme"), b); return err }},
		"use":       {use, func(b []byte) error { _, err := decodeUse(b); return err }},
		"owner use": {ownerUse, func(b []byte) error { _, err := decodeOwnerUse(b); return err }},
	} {
		if err := test.decode(test.record); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range test.record {
			if err := test.decode(test.record[:n]); !errors.Is(err, errShort) {
				t.Errorf("%s, the first %d bytes: %v, want %v", name, n, err, errShort)
			}
		}
		newer := slices.Clone(test.record)
		newer[0]++
		if err := test.decode(newer); !errors.Is(err, ErrNewer) {
			t.Errorf("%s, a newer one: %v, want %v", name, err, ErrNewer)
		}
	}
	_, limitErr := decodeLimit([]byte("acme"), encodeLimit(Limit{PerSecond: math.NaN()}))
	_, useErr := decodeUse(append(use, 0))
	_, ownerErr := decodeOwnerUse(append(ownerUse, 0))
	if limitErr == nil || useErr == nil || ownerErr == nil {
		t.Errorf("what is none was read: limit %v, use %v, owner use %v", limitErr, useErr, ownerErr)
	}
}

// What a newer release keeps to be taken back is not taken back in part.
func TestNewerInverseIsRefused(t *testing.T) {
	for name, newer := range map[string]write{
		"head": {keyHead, []byte(`{"version":2}`)},
		"kind": {[]byte("z1"), []byte{1}},
	} {
		s := mustOpen(t, t.TempDir())
		mustApply(t, s, numbered(1))
		if err := s.db.Update(func(tx *bolt.Tx) error { return (&txn{Tx: tx}).put(bucketUndo, newer.key, newer.record) }); err != nil {
			t.Fatal(err)
		}
		undo, found, err := s.LoadUndo()
		if !errors.Is(err, ErrNewer) || found || len(undo.Delete) > 0 {
			t.Errorf("%s: %+v, %v, %v", name, undo, found, err)
		}
	}
}

// A reload changes nothing here; what its caller needs to take it back is kept all
// the same, and time's own changes leave it alone.
func TestUndoIsKept(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	mustApply(t, s, Change{Put: []policy.Claim{roundClaim(1, 1)}, Generation: 1})
	at := time.Unix(1000, 0).UTC()
	mustApply(t, s, Change{UndoData: []byte{}, Generation: 2, Log: &Record{Time: at, Command: "reload"}})
	mustApply(t, s, Change{Generation: 3, Meta: map[string][]byte{MetaSince: []byte("x")}})
	undo, found, err := s.LoadUndo()
	want := Undo{Before: 1, After: 2, Time: at, Command: "reload", Data: []byte{}}
	if diff := cmp.Diff(want, undo, sameClaims); !found || err != nil || diff != "" {
		t.Errorf("%v, %v (-want +got):\n%s", found, err, diff)
	}
}

// What is set aside is taken back by no rollback, neither of what waited meanwhile nor of
// what is made after it; what waits is taken back all the same.
func TestAside(t *testing.T) {
	acme, globex := policy.Subject{Owner: "acme"}, policy.Subject{Owner: "globex"}
	claim := policy.Claim{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Origin: policy.OriginCLI}
	s := mustOpen(t, t.TempDir())
	apply := func(change Change) {
		t.Helper()
		if err := s.Apply(change); err != nil {
			t.Fatal(err)
		}
	}
	apply(Change{Suspend: []Suspension{{Subject: acme, Reason: "first"}}})
	apply(Change{
		Put: []policy.Claim{claim}, Suspend: []Suspension{{Subject: acme, Reason: "with what waits"}}, Limit: []Limit{{Owner: "acme", PerSecond: 1, Burst: 1}},
		Confirm: &Confirm{Command: "replace"},
	})
	apply(Change{Suspend: []Suspension{{Subject: acme, Reason: "aside"}, {Subject: globex}}, Aside: true})
	undo, _, err := s.LoadUndo()
	if err != nil || len(undo.Suspend)+len(undo.Resume) > 0 || len(undo.Delete) != 1 || len(undo.Unlimit) != 1 {
		t.Fatalf("what waits is taken back by %+v, %v", undo, err)
	}
	back := rollback(undo)
	back.Settle = true
	apply(back)
	got, err := s.Suspensions()
	if err != nil || len(got) != 2 || got[0].Reason != "aside" || got[1].Subject != globex {
		t.Errorf("suspended are %+v, %v", got, err)
	}
}

// Promise: what a suspension holds by a list from elsewhere is written, and leaves it to a rollback to
// take back what was asked for; what it holds by a command goes back with that.
func TestHoldLeavesTheUndo(t *testing.T) {
	acme := policy.Subject{Owner: "acme"}
	holding := func(prefixes ...string) Suspension {
		s := Suspension{Subject: acme, Held: []netip.Prefix{}}
		for _, p := range prefixes {
			s.Held = append(s.Held, netip.MustParsePrefix(p))
		}
		return s
	}
	for _, c := range []struct {
		asked      Change
		resumes    bool
		holdsAgain int
	}{
		{Change{Suspend: []Suspension{holding("10.0.0.0/8")}}, true, 0},
		{Change{Put: []policy.Claim{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Origin: policy.OriginCLI}}, Suspend: []Suspension{holding("10.0.0.0/8", "192.0.2.0/24")}}, false, 1},
	} {
		s := mustOpen(t, t.TempDir())
		if !c.resumes {
			if err := s.Apply(Change{Suspend: []Suspension{holding("10.0.0.0/8")}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.Apply(c.asked), s.Apply(Change{Hold: []Suspension{holding("10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24")}, Aside: true})); err != nil {
			t.Fatal(err)
		}
		all, err := s.Suspensions()
		if err != nil || len(all) != 1 || len(all[0].Held) != 3 {
			t.Errorf("suspended are %+v, %v", all, err)
		}
		undo, found, err := s.LoadUndo()
		if err != nil || !found || slices.Contains(undo.Resume, acme) != c.resumes || !c.resumes && (len(undo.Suspend) != 1 || len(undo.Suspend[0].Held) != c.holdsAgain) {
			t.Errorf("takes back by %+v, %v", undo, err)
		}
	}
}
