package policy

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	block  = pfx("203.0.113.0/24")
	past   = now.Add(-time.Hour)
	future = now.Add(time.Hour)
)

// claim is what origin says of block; a word is field=value of the line grammar.
func claim(t *testing.T, origin Origin, where, words string) Claim {
	t.Helper()
	claims, _, err := ParseList("x", origin, strings.NewReader(block.String()+" "+words))
	if err != nil {
		t.Fatal(err)
	}
	claims[0].Where = where
	return claims[0]
}

func until(t time.Time) string { return " until=" + t.Format(time.RFC3339) }

// Guards one prefix, several origins.
func TestMerge(t *testing.T) {
	type said struct {
		origin Origin
		words  string
	}
	for _, c := range []struct {
		name string
		said []said
		want string // as one claim
	}{
		{"one", []said{{file, "owner=acme service=api note=n"}}, "owner=acme service=api note=n"},
		{"services are the union", []said{{OriginCLI, "service=b,c"}, {file, "service=a,b"}}, "service=a,b,c"},
		{"every service wins", []said{{OriginCLI, "service=b"}, {OriginFlag, ""}}, ""},
		{"every service wins, said first", []said{{OriginCLI, ""}, {file, "service=b"}}, ""},
		{"the latest end wins", []said{{OriginCLI, until(future)}, {file, until(now.Add(1e9))}}, until(future)},
		{"no end wins", []said{{OriginCLI, until(future)}, {OriginFlag, ""}}, ""},
		{"no owner agrees", []said{{OriginCLI, ""}, {file, "owner=acme"}, {OriginFlag, ""}}, "owner=acme"},
		{
			"the first note by origin",
			[]said{{OriginFlag, "note=flag"}, {file, "note=file"}, {OriginCLI, ""}},
			"note=file",
		},
		{
			"an ended claim does not count",
			[]said{{OriginCLI, "owner=acme service=a note=old" + until(past)}, {file, "service=b" + until(future)}},
			"service=b" + until(future),
		},
		{
			"at its end a claim has ended",
			[]said{{OriginCLI, "service=a" + until(now)}, {file, "service=b"}},
			"service=b",
		},
		{
			"all ended: the last stays",
			[]said{{OriginCLI, "service=a" + until(past)}, {file, "service=b" + until(past.Add(-1e9))}},
			"service=a" + until(past),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var claims []Claim
			for _, s := range c.said {
				claims = append(claims, claim(t, s.origin, "", s.words))
			}
			got, err := Merge(claims, now)
			if err != nil || len(got) != 1 {
				t.Fatalf("got %v, %v", got, err)
			}
			if len(got[0].Claims()) != len(claims) {
				t.Errorf("%d of %d claims are kept", len(got[0].Claims()), len(claims))
			}
			line := asClaims(got)[0]
			if d := diff(FormatLine(claim(t, "", "", c.want)), FormatLine(line)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Guards that an owner is never changed by what somebody else wrote.
func TestMergeOwners(t *testing.T) {
	a := claim(t, "file:a.list", "a.list:3", "owner=acme")
	b := claim(t, "file:b.list", "b.list:10", "owner=globex")
	flag := claim(t, OriginFlag, "", "owner=initech")
	cli := claim(t, OriginCLI, "", "owner=umbrella")
	for _, order := range [][]Claim{{a, b}, {b, a}} {
		_, err := Merge(order, now)
		wantInput(t, err, "b.list:10: 203.0.113.0/24 belongs to acme (a.list:3), not to globex", "")
	}
	_, err := Merge([]Claim{flag, a}, now)
	wantInput(t, err, "--allow: 203.0.113.0/24 belongs to acme (a.list:3), not to initech", "")
	_, err = Merge([]Claim{cli, a}, now)
	wantRefused(t, err, "203.0.113.0/24 belongs to acme (a.list:3)", "")
	_, err = Merge([]Claim{cli, flag}, now)
	wantRefused(t, err, "203.0.113.0/24 belongs to initech (--allow)", "")

	// A claim that ended still disagrees: else time alone could break a merge.
	ended := a
	ended.Until = past
	_, err = Merge([]Claim{ended, b}, now)
	wantInput(t, err, "b.list:10: 203.0.113.0/24 belongs to acme (a.list:3), not to globex", "")

	// Lines of one file sort as numbers.
	ninth, tenth := b, b
	ninth.Where, tenth.Owner = "b.list:9", "acme"
	_, err = Merge([]Claim{tenth, ninth}, now)
	wantInput(t, err, "b.list:10: 203.0.113.0/24 belongs to globex (b.list:9), not to acme", "")

	// Every conflict is told.
	other := b
	other.Prefix, other.Owner = pfx("10.0.0.0/8"), "acme"
	foe := other
	foe.Where, foe.Owner = "b.list:11", "globex"
	entries, err := Merge([]Claim{a, b, other, foe}, now)
	if len(flatten(err)) != 2 || entries != nil {
		t.Errorf("two conflicts are told as %v, with %v", err, entries)
	}
}

func someClaims() *rapid.Generator[[]Claim] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Claim {
		return Claim{
			Prefix:   nestedPrefix().Draw(t, "prefix"),
			Owner:    rapid.SampledFrom([]string{"", "acme"}).Draw(t, "owner"),
			Services: someServices().Draw(t, "services"),
			Until:    someUntil().Draw(t, "until"),
			Note:     rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "note"),
			Origin:   rapid.SampledFrom([]Origin{OriginCLI, OriginFlag, file, "file:b.list"}).Draw(t, "origin"),
		}
	}), 0, 20)
}

// Guards "stable, sorted output": what Merge makes depends on the set of
// claims only, and merging its own result changes nothing.
func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims := someClaims().Draw(t, "claims")
		before := slices.Clone(claims)
		want, err := Merge(claims, now)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(before, claims); d != "" {
			t.Fatalf("the argument was changed: %s", d)
		}
		if !slices.IsSortedFunc(want, func(a, b Entry) int { return ComparePrefix(a.Prefix, b.Prefix) }) {
			t.Fatalf("not sorted: %v", want)
		}
		shuffled := rapid.Permutation(append(claims, claims...)).Draw(t, "shuffled")
		got, err := Merge(shuffled, now)
		if d := diff(want, got); d != "" || err != nil {
			t.Fatalf("another order, twice: %v %s", err, d)
		}
		again, err := Merge(asClaims(want), now)
		if err != nil || len(again) != len(want) {
			t.Fatalf("its own result makes %v, %v", again, err)
		}
		for i := range want {
			if !KernelEqual(want[i], again[i]) || want[i].Note() != again[i].Note() {
				t.Fatalf("%v became %v", want[i], again[i])
			}
		}
		distinct := make(map[string]bool)
		for _, c := range claims {
			distinct[c.Prefix.String()] = true
		}
		if len(distinct) != len(want) {
			t.Fatalf("%d prefixes make %d entries", len(distinct), len(want))
		}
	})
}

// Guards the daemon's clock: between two ends nothing changes, so that merging
// at NextEnd and not sooner misses nothing.
func TestNextEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims := someClaims().Draw(t, "claims")
		next := NextEnd(claims, now)
		quiet := future.Add(24 * time.Hour)
		if !next.IsZero() {
			quiet = next.Add(-1)
			if !slices.ContainsFunc(claims, func(c Claim) bool { return c.Until.Equal(next) }) || !next.After(now) {
				t.Fatalf("nothing ends at %v", next)
			}
		}
		today, err1 := Merge(claims, now)
		later, err2 := Merge(claims, quiet)
		if d := diff(today, later); d != "" || err1 != nil || err2 != nil {
			t.Fatalf("before %v: %v %v %s", quiet, err1, err2, d)
		}
	})
	if next := NextEnd([]Claim{{Until: past}, {Until: now}, {}}, now); !next.IsZero() {
		t.Errorf("nothing ends, and NextEnd is %v", next)
	}
}

func BenchmarkMerge(b *testing.B) {
	claims, _, err := ParseList("a.list", file, bytes.NewReader(million()))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if entries, err := Merge(claims, now); err != nil || len(entries) != len(claims) {
			b.Fatal(len(entries), err)
		}
	}
}
