package policy

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a state that is only ever edited, beside the claims that it stands for.
type world struct {
	state  State
	claims map[ClaimKey]Claim
	now    time.Time
}

func (w *world) all() []Claim { return slices.Collect(maps.Values(w.claims)) }

func someEdit(existing []ClaimKey) *rapid.Generator[Edit] {
	origins := []Origin{OriginCLI, OriginFlag, file, "file:b.list"}
	fresh := rapid.Custom(func(t *rapid.T) ClaimKey {
		return ClaimKey{rapid.SampledFrom(origins).Draw(t, "origin"), nestedPrefix().Draw(t, "prefix")}
	})
	said := fresh
	if len(existing) > 0 {
		said = rapid.OneOf(fresh, rapid.SampledFrom(existing))
	}
	return rapid.Custom(func(t *rapid.T) Edit {
		edit := Edit{Remove: rapid.SliceOfN(said, 0, 4).Draw(t, "remove")}
		for _, at := range rapid.SliceOfN(said, 0, 4).Draw(t, "put") {
			edit.Put = append(edit.Put, Claim{
				Prefix: at.Prefix, Origin: at.Origin, Services: someServices().Draw(t, "services"), Until: someUntil().Draw(t, "until"),
				Owner: rapid.SampledFrom([]string{"", "", "acme", "acme", "globex"}).Draw(t, "owner"),
				Note:  rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "note"),
				Where: rapid.SampledFrom([]string{"", "a:9", "a:10"}).Draw(t, "where"),
			})
		}
		return edit
	})
}

// Guards "nothing but speed": through any sequence of edits and of time, a state that
// is edited is the one that Merge makes of all claims, each plan is that of Diff, what
// is refused is refused in the same words, and the state before is what it was.
func TestEditAgainstMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{claims: map[ClaimKey]Claim{}, now: now.Add(-3 * time.Hour)}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			old, was := w.state, dump(w.state)
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				w.wait(t)
			} else {
				w.edit(t)
			}
			if d := diff(was, dump(old)); d != "" {
				t.Fatalf("the state before has changed: %s", d)
			}
		}
	})
}

func (w *world) edit(t *rapid.T) {
	edit := someEdit(slices.SortedFunc(maps.Keys(w.claims), compareClaimKey)).Draw(t, "edit")
	said := maps.Clone(w.claims)
	for _, gone := range edit.Remove {
		delete(said, gone)
	}
	for _, c := range edit.Put {
		said[ClaimKey{c.Origin, c.Prefix}] = c
	}
	entries, wantErr := Merge(slices.Collect(maps.Values(said)), w.now)
	got, plan, err := w.state.Edit(edit, w.now)
	if d := diff(flatten(wantErr), flatten(err)); d != "" {
		t.Fatalf("another error: %s", d)
	}
	if wantErr != nil {
		entries, _ = Merge(w.all(), w.now)
	} else {
		w.claims = said
	}
	w.hold(t, entries, got, plan)
}

func (w *world) wait(t *rapid.T) {
	// A clock may be set back.
	w.now = w.now.Add(time.Duration(rapid.IntRange(-2, 4).Draw(t, "half hours")) * 30 * time.Minute)
	got, plan, next := w.state.Expire(w.now)
	entries, err := Merge(w.all(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.hold(t, entries, got, plan)
	// Until then nothing changes, so that looking then and not sooner misses nothing.
	quiet := next.Add(-1)
	if next.IsZero() {
		quiet = w.now.Add(24 * time.Hour)
	}
	if later, err := Merge(w.all(), quiet); err != nil || diff(entries, later) != "" {
		t.Fatalf("before %v: %v %s", quiet, err, diff(entries, later))
	}
}

// hold compares got and plan with the entries that it should have, and keeps it.
func (w *world) hold(t *rapid.T, entries []Entry, got State, plan Plan) {
	want := State{Entries: NewEntries(slices.Clone(entries))}
	if d := diff(dump(want), dump(got)); d != "" {
		t.Fatalf("entries: %s", d)
	}
	if d := diff(Diff(w.state, want), plan); d != "" {
		t.Fatalf("plan: %s", d)
	}
	if got.Entries.Len() != len(entries) {
		t.Fatalf("%d entries are counted as %d", len(entries), got.Entries.Len())
	}
	w.state = got
}

func dump(s State) []Entry {
	entries := []Entry{}
	for e := range s.Entries.All() {
		entries = append(entries, *e)
	}
	return entries
}

func compareClaimKey(a, b ClaimKey) int {
	return cmp.Or(ComparePrefix(a.Prefix, b.Prefix), cmp.Compare(a.Origin, b.Origin))
}

// Guards list and check: the table finds what a walk over a plain list finds.
func TestEntriesAgainstScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, err := Merge(someClaims().Draw(t, "claims"), now)
		if err != nil {
			t.Fatal(err)
		}
		var entries Entries
		if len(list) > 0 || rapid.Bool().Draw(t, "made") {
			entries = NewEntries(list)
		}
		p := nestedPrefix().Draw(t, "prefix")
		var under []netip.Prefix
		ipv4 := 0
		for _, e := range list {
			if p.Bits() <= e.Prefix.Bits() && p.Contains(e.Prefix.Addr()) {
				under = append(under, e.Prefix)
			}
			if e.Prefix.Addr().Is4() {
				ipv4++
			}
		}
		var got []netip.Prefix
		for e := range entries.Under(p) {
			got = append(got, e.Prefix)
		}
		if !slices.Equal(under, got) {
			t.Fatalf("under %s are %v, want %v", p, got, under)
		}
		want := slices.ContainsFunc(list, func(e Entry) bool { return e.Prefix == p })
		if e, found := entries.Find(p); found != want || found && e.Prefix != p {
			t.Fatalf("%s is found: %v", p, found)
		}
		if four, six := entries.Families(); four != ipv4 || six != len(list)-ipv4 {
			t.Fatalf("%d and %d entries, want %d and %d", four, six, ipv4, len(list)-ipv4)
		}
	})
}

// Promise: one change costs what one costs. See also BenchmarkMerge.
func BenchmarkEdit(b *testing.B) {
	entries, err := Merge(millionClaims(b), now)
	if err != nil {
		b.Fatal(err)
	}
	state := State{Entries: NewEntries(entries)}
	i := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		i += 2654435761
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 24), byte(i >> 16), byte(i >> 8)}), 32)
		next, plan, err := state.Edit(Edit{Put: []Claim{{Prefix: prefix, Origin: OriginCLI}}}, now)
		if err != nil || len(plan.Added) != 1 || next.Entries.Len() != len(entries)+1 {
			b.Fatal(plan, err)
		}
	}
}

func BenchmarkNewEntries(b *testing.B) {
	entries, err := Merge(millionClaims(b), now)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		NewEntries(entries)
	}
}

func BenchmarkAll(b *testing.B) {
	entries, err := Merge(millionClaims(b), now)
	if err != nil {
		b.Fatal(err)
	}
	table := NewEntries(entries)
	for b.Loop() {
		n := 0
		for range table.All() {
			n++
		}
		if n != len(entries) {
			b.Fatal(n)
		}
	}
}

// millionClaims are sorted, as the store has them.
func millionClaims(tb testing.TB) []Claim {
	claims, _, err := ParseList("a.list", file, bytes.NewReader(million()))
	if err != nil {
		tb.Fatal(err)
	}
	slices.SortFunc(claims, func(a, b Claim) int { return ComparePrefix(a.Prefix, b.Prefix) })
	return claims
}
