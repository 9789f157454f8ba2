// This file holds the database to "every field comes back".

package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// sameClaims compares claims field by field; none is none, nil or not.
var sameClaims = cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}

// Promise: nothing lost. Every field of a claim survives the record, and
// nothing of bbolt's memory is kept.
func TestRecordKeepsEveryField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genClaim.Draw(t, "claim")
		created := time.Unix(rapid.Int64().Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
		key := appendKey(nil, want.Prefix)
		record, err := encode(nil, want, created)
		if err != nil {
			t.Fatal(err)
		}
		got, gotCreated, err := newDecoder(policy.OriginCLI).decode(key, record)
		if err != nil {
			t.Fatal(err)
		}
		clear(key)
		clear(record)
		if diff := cmp.Diff(want, got, sameClaims); diff != "" || !gotCreated.Equal(created) {
			t.Fatalf("created %v, want %v; claim (-want +got):\n%s", gotCreated, created, diff)
		}
		if got.Until.IsZero() != want.Until.IsZero() || (got.Services == nil) != (want.Services == nil) {
			t.Fatal("for ever or every service came back as something else")
		}
	})
}

// Promise: a damaged record is an error and never a wider grant.
func TestRecordRefusesWhatItDoesNotKnow(t *testing.T) {
	c := policy.Claim{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Owner: "acme", Services: []string{"api", "db"}, Origin: policy.OriginCLI}
	key := appendKey(nil, c.Prefix)
	record, err := encode(nil, c, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	for n := range record { // there is no note: every byte is needed
		if _, _, err := newDecoder(policy.OriginCLI).decode(key, record[:n]); !errors.Is(err, errShort) {
			t.Errorf("the first %d bytes: %v, want %v", n, err, errShort)
		}
	}
	for i, name := range []string{"version", "flags"} {
		newer := bytes.Clone(record)
		newer[i] = 0x80
		if _, _, err := newDecoder(policy.OriginCLI).decode(key, newer); !errors.Is(err, ErrNewer) {
			t.Errorf("unknown %s: %v, want %v", name, err, ErrNewer)
		}
	}
	for _, bad := range [][]byte{nil, {4}, append([]byte{5}, key[1:]...), {4, 10, 0, 0, 1, 24}, {4, 10, 0, 0, 0, 33}} {
		if prefix, err := parseKey(bad); err == nil {
			t.Errorf("key %x reads as %s", bad, prefix)
		}
	}
}

func TestKeysSortAsPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genPrefix.Draw(t, "a"), genPrefix.Draw(t, "b")
		if rapid.Bool().Draw(t, "nested") {
			b = netip.PrefixFrom(a.Addr(), rapid.IntRange(0, a.Bits()).Draw(t, "bits")).Masked()
		}
		got, want := bytes.Compare(appendKey(nil, a), appendKey(nil, b)), policy.ComparePrefix(a, b)
		if got != want {
			t.Fatalf("keys of %s and %s compare as %d, prefixes as %d", a, b, got, want)
		}
	})
}

// Promise: nothing lost, nothing left over. The database against a map, through
// puts, updates, deletes and reopening.
func TestApplyAgainstMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		model := map[netip.Prefix]policy.Claim{}
		for generation := range rapid.Uint64Range(1, 5).Draw(rt, "changes") {
			change := Change{Put: genClaims(rt), Generation: generation + 1}
			for _, prefix := range slices.SortedFunc(maps.Keys(model), policy.ComparePrefix) {
				if rapid.Bool().Draw(rt, "delete") {
					change.Delete = append(change.Delete, prefix)
					delete(model, prefix)
				}
			}
			for _, c := range change.Put {
				model[c.Prefix] = c
			}
			if err := s.Apply(change); err != nil {
				rt.Fatal(err)
			}
			if rapid.Bool().Draw(rt, "reopen") {
				_ = s.Close()
				if s, err = Open(dir); err != nil {
					rt.Fatal(err)
				}
			}
			var want []policy.Claim
			for _, c := range model {
				want = append(want, c)
			}
			got, err := s.Claims(policy.OriginCLI)
			if err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(sortClaims(want), got, sameClaims); diff != "" {
				rt.Fatalf("claims (-want +got):\n%s", diff)
			}
			if n, err := s.Generation(); n != generation+1 || err != nil {
				rt.Fatalf("generation %d, %v; want %d", n, err, generation+1)
			}
		}
	})
}

func TestFactsAndMeta(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	if last, found, err := s.LastRecord(); err != nil || found {
		t.Fatalf("before any change: %+v, %v", last, err)
	}
	if value, err := s.Meta(MetaSince); value != nil || err != nil {
		t.Fatalf("before any change: %q, %v", value, err)
	}
	at := time.Date(2026, 11, 21, 3, 0, 0, 5, time.UTC)
	mustApply(t, s, Change{Generation: 7})
	mustApply(t, s, Change{
		Generation: 8, Log: &Record{Time: at, UID: 7, Command: "add 10.0.0.0/8", Reason: "OPS-1"},
		Meta: map[string][]byte{MetaSince: []byte("x"), metaTest: {0, 1, 255}},
	})
	mustApply(t, s, Change{Meta: map[string][]byte{MetaSince: nil}}) // touches nothing else
	last, found, err := s.LastRecord()
	want := Record{Sequence: 1, Time: at, UID: 7, Command: "add 10.0.0.0/8", Reason: "OPS-1", Before: 7, After: 8}
	if diff := cmp.Diff(want, last); err != nil || !found || diff != "" {
		t.Errorf("last change %+v, %v; want %+v", last, err, want)
	}
	if n, err := s.Generation(); n != 8 || err != nil {
		t.Errorf("generation %d, %v; want 8", n, err)
	}
	mustApply(t, s, Change{Meta: map[string][]byte{"for/a": {1}, "for/b": {2}, "forth": {3}}})
	var keys []string
	if err := s.EachMeta("for/", func(key string, value []byte) { keys = append(keys, fmt.Sprint(key, value)) }); err != nil || !slices.Equal(keys, []string{"for/a[1]", "for/b[2]"}) {
		t.Errorf("keys that begin with for/: %v, %v", keys, err)
	}
	if value, err := s.Meta(metaTest); !bytes.Equal(value, []byte{0, 1, 255}) || err != nil {
		t.Errorf("settings %x, %v", value, err)
	}
	if value, err := s.Meta(MetaSince); value != nil || err != nil {
		t.Errorf("deleted: %q, %v", value, err)
	}
}

// An update by add keeps when the prefix was first added.
func TestUpdateKeepsCreated(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	c := policy.Claim{Prefix: netip.MustParsePrefix("2001:db8::/32"), Origin: policy.OriginCLI}
	first := time.Unix(1000, 7).UTC()
	mustApply(t, s, Change{Put: []policy.Claim{c}, Log: &Record{Time: first}})
	c.Note = "moved"
	mustApply(t, s, Change{Put: []policy.Claim{c}, Log: &Record{Time: first.Add(time.Hour)}})
	check := func(note string, want time.Time) {
		t.Helper()
		err := s.db.View(func(tx *bolt.Tx) error {
			key := appendKey(nil, c.Prefix)
			record, err := reader{tx}.get(bucketClaims, key)
			if err != nil {
				return err
			}
			got, created, err := newDecoder(policy.OriginCLI).decode(key, record)
			if got.Note != note || !created.Equal(want) {
				t.Errorf("note %q created %v, want %s, %v", got.Note, created, note, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check("moved", first)
	mustApply(t, s, Change{Delete: []netip.Prefix{c.Prefix}})
	c.Note = "another's now" // what comes back in other words is new
	mustApply(t, s, Change{Put: []policy.Claim{c}, Log: &Record{Time: first.Add(2 * time.Hour)}})
	check("another's now", first.Add(2*time.Hour))
}

// A change that is refused changes nothing at all.
func TestApplyIsAllOrNothing(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	good := policy.Claim{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Origin: policy.OriginCLI}
	mustApply(t, s, Change{Put: []policy.Claim{good}, Generation: 1})
	for name, bad := range map[string]Change{
		"host bits":  {Put: []policy.Claim{{Prefix: netip.MustParsePrefix("10.0.0.1/8"), Origin: policy.OriginCLI}}},
		"mapped":     {Delete: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}},
		"zero":       {Delete: []netip.Prefix{{}}},
		"declared":   {Put: []policy.Claim{{Prefix: good.Prefix, Origin: policy.OriginFlag}}},
		"long owner": {Put: []policy.Claim{{Prefix: good.Prefix, Origin: policy.OriginCLI, Owner: strings.Repeat("a", 256)}}},
		"empty key":  {Meta: map[string][]byte{"": {1}}}, // only bbolt refuses this, inside the transaction
	} {
		bad.Generation, bad.Delete = 2, append(bad.Delete, good.Prefix)
		if err := s.Apply(bad); err == nil {
			t.Errorf("%s: was applied", name)
		}
		claims, err := s.Claims(policy.OriginCLI)
		generation, _ := s.Generation()
		if err != nil || len(claims) != 1 || generation != 1 {
			t.Errorf("%s: left %v at generation %d, %v", name, claims, generation, err)
		}
	}
}

// A record of a newer release names the file and is not read in part.
func TestNewerRecordNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustApply(t, s, Change{Put: []policy.Claim{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Origin: policy.OriginCLI}}})
	err := s.db.Update(func(tx *bolt.Tx) error {
		return (&txn{Tx: tx}).put(bucketClaims, appendKey(nil, netip.MustParsePrefix("10.1.0.0/16")), []byte{2})
	})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := s.Claims(policy.OriginCLI)
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), filepath.Join(dir, dbName)) || claims != nil {
		t.Errorf("claims %v, error %v", claims, err)
	}
}
