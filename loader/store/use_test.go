// This file holds the use of entries to "nothing lost but what was to be
// forgotten".

package store

import (
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	genSeconds = rapid.OneOf(rapid.Just(time.Time{}), rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(1, 253402300799).Draw(t, "s"), 0).UTC()
	}))
	genUse = rapid.Custom(func(t *rapid.T) Use {
		return Use{genSeconds.Draw(t, "first"), genSeconds.Draw(t, "last"), rapid.Uint64().Draw(t, "hits"), rapid.Uint32().Draw(t, "live"), rapid.Uint32().Draw(t, "life")}
	})
	genOwnerUse = rapid.Custom(func(t *rapid.T) OwnerUse {
		return OwnerUse{
			Passed: rapid.Uint64().Draw(t, "passed"), Audited: rapid.Uint64().Draw(t, "audited"), LastSeen: genSeconds.Draw(t, "last"),
			Dropped: rapid.MapOfN(genName, rapid.Uint64(), 0, 4).Draw(t, "dropped"),
		}
	})
)

// uses is what EachUse streams, in a map; it checks the order.
func uses(tb testing.TB, s *Store) map[netip.Prefix]Use {
	tb.Helper()
	all := map[netip.Prefix]Use{}
	var last netip.Prefix
	err := s.EachUse(func(prefix netip.Prefix, use Use) {
		if last.IsValid() && policy.ComparePrefix(last, prefix) >= 0 {
			tb.Errorf("%s after %s", prefix, last)
		}
		all[prefix], last = use, prefix
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

func TestUseAgainstMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		prefixes, owners := map[netip.Prefix]Use{}, map[string]OwnerUse{}
		for range rapid.IntRange(1, 4).Draw(rt, "checkpoints") {
			c := Checkpoint{
				Use: rapid.MapOfN(genNear, genUse, 0, 4).Draw(rt, "use"), Forget: rapid.SliceOfN(genNear, 0, 3).Draw(rt, "forget"),
				Owners: rapid.MapOfN(genOwner, genOwnerUse, 0, 4).Draw(rt, "owners"), ForgetOwners: rapid.SliceOfN(genOwner, 0, 3).Draw(rt, "forget owners"),
			}
			for _, prefix := range c.Forget {
				delete(prefixes, prefix)
			}
			for _, owner := range c.ForgetOwners {
				delete(owners, owner)
			}
			maps.Copy(prefixes, c.Use)
			maps.Copy(owners, c.Owners)
			if err := s.SaveUse(c); err != nil {
				rt.Fatal(err)
			}
		}
		_ = s.Close()
		if s, err = Open(dir); err != nil {
			rt.Fatal(err)
		}
		got, err := s.OwnerUse()
		if err != nil {
			rt.Fatal(err)
		}
		some := rapid.SliceOfN(genNear, 0, 5).Draw(rt, "asked")
		known, err := s.UseOf(some)
		if err != nil {
			rt.Fatal(err)
		}
		for _, prefix := range some {
			want, there := prefixes[prefix]
			if got, found := known[prefix]; found != there || got != want {
				rt.Fatalf("use of %s: %v, %v, want %v, %v", prefix, got, found, want, there)
			}
		}
		if diff := cmp.Diff(prefixes, uses(t, s), sameClaims) + cmp.Diff(owners, got, sameClaims); diff != "" {
			rt.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// A checkpoint of more than one transaction is whole, and the next one writes what
// it was given and no more: a million entries cost what those in use cost.
func TestUseInSeveralTransactions(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	first := Checkpoint{Use: map[netip.Prefix]Use{}}
	for i := range uint64(2*useBatch + 1) {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		first.Use[prefix] = Use{FirstEnforced: time.Unix(1, 0).UTC(), Hits: i}
	}
	pages := func(c Checkpoint) int64 {
		before := s.db.Stats().TxStats
		if err := s.SaveUse(c); err != nil {
			t.Fatal(err)
		}
		after := s.db.Stats().TxStats
		return after.GetPageCount() - before.GetPageCount()
	}
	all := pages(first)
	if diff := cmp.Diff(first.Use, uses(t, s), sameClaims); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	one, other := netip.MustParsePrefix("10.0.1.1/32"), netip.MustParsePrefix("10.1.0.1/32")
	use := Use{FirstEnforced: time.Unix(1, 0).UTC(), LastSeen: time.Unix(2, 0).UTC(), Hits: 7}
	few := pages(Checkpoint{Use: map[netip.Prefix]Use{one: use}, Forget: []netip.Prefix{other, one}})
	if few*20 > all {
		t.Errorf("one record took %d pages, all took %d", few, all)
	}
	first.Use[one] = use
	delete(first.Use, other)
	if diff := cmp.Diff(first.Use, uses(t, s), sameClaims); diff != "" {
		t.Fatalf("after the second (-want +got):\n%s", diff)
	}
}

func TestUseRefuses(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for name, c := range map[string]Checkpoint{
		"host bits":    {Use: map[netip.Prefix]Use{netip.MustParsePrefix("10.0.0.1/8"): {}}},
		"no prefix":    {Forget: []netip.Prefix{{}}},
		"no owner":     {Owners: map[string]OwnerUse{"": {}}},
		"forget owner": {ForgetOwners: []string{"A B"}},
		"long reason":  {Owners: map[string]OwnerUse{"acme": {Dropped: map[string]uint64{strings.Repeat("x", 256): 1}}}},
	} {
		if err := s.SaveUse(c); err == nil {
			t.Errorf("%s: was saved", name)
		}
	}
	if left := dump(t, s); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	mustApply(t, s, numbered(1))
	_ = s.Close()
	reader, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	owners, err := reader.OwnerUse()
	if err := reader.SaveUse(Checkpoint{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
	if len(owners)+len(uses(t, reader)) > 0 || err != nil {
		t.Errorf("before any checkpoint: %v, %v", owners, err)
	}
}
