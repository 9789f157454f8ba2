package policy

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Promise: the longest entry that would grant decides, else the longest that covers.
func TestLookup(t *testing.T) {
	entry := func(prefix string, services ...string) Entry {
		return EntryOf(Claim{Prefix: pfx(prefix), Services: services})
	}
	expired, suspended := EntryOf(Claim{Prefix: pfx("10.1.1.0/24"), Until: past}), entry("10.1.2.0/24")
	suspended.Suspended = true
	both := EntryOf(Claim{Prefix: pfx("10.3.0.0/16"), Services: []string{"mail"}, Until: now})
	s := State{Entries: NewEntries([]Entry{
		entry("10.0.0.0/8", "api"), entry("10.1.0.0/16", "api", "mail"), expired, suspended, both, entry("2001:db8::/32"),
	})}
	for _, c := range []struct{ addr, service, prefix, reason string }{
		{"10.9.0.1", "api", "10.0.0.0/8", "listed"},
		{"10.9.0.1", "mail", "10.0.0.0/8", "wrong_service"},
		{"10.9.0.1", "", "10.0.0.0/8", "listed"},
		{"10.1.0.1", "mail", "10.1.0.0/16", "listed"},
		{"10.1.1.1", "mail", "10.1.0.0/16", "listed"},   // the expired one is passed over
		{"10.1.1.1", "other", "10.1.1.0/24", "expired"}, // none grants: the longest says why
		{"10.1.2.1", "api", "10.1.2.0/24", "suspended"}, // final, although the /16 would grant
		{"10.3.0.1", "other", "10.3.0.0/16", "expired"}, // before wrong_service
		{"10.3.0.1", "api", "10.0.0.0/8", "listed"},     // two levels up
		{"2001:db8::1", "api", "2001:db8::/32", "listed"},
		{"2001:db8::1%eth0", "api", "2001:db8::/32", "listed"},
		{"::ffff:10.9.0.1", "api", "", "not_listed"}, // as it is, rule 6
		{"9.0.0.1", "api", "", "not_listed"},
		{"11.0.0.1", "api", "", "not_listed"},
	} {
		e, reason := s.Lookup(netip.MustParseAddr(c.addr), c.service, now)
		prefix := ""
		if e != nil {
			prefix = e.Prefix.String()
		}
		if prefix != c.prefix || reason != c.reason {
			t.Errorf("%s for %q is %s by %q, want %s by %q", c.addr, c.service, reason, prefix, c.reason, c.prefix)
		}
	}
}

// slowCovering is Covering so plain that it can be checked by eye.
func slowCovering(s State, p netip.Prefix) (covering []netip.Prefix) {
	for e := range s.Entries.All() {
		if e.Prefix.Bits() <= p.Bits() && e.Prefix.Contains(p.Addr()) {
			covering = append(covering, e.Prefix)
		}
	}
	slices.SortFunc(covering, func(a, b netip.Prefix) int { return b.Bits() - a.Bits() })
	return covering
}

// slowLookup is the rule of Lookup, written again over slowCovering.
func slowLookup(s State, addr netip.Addr, service string) (prefix netip.Prefix, reason string) {
	reason = ReasonNotListed
	for i, p := range slowCovering(s, netip.PrefixFrom(addr, addr.BitLen())) {
		e, _ := s.Entries.Find(p)
		why := ReasonListed
		if !e.Until().IsZero() && !now.Before(e.Until()) {
			why = ReasonExpired
		} else if service != "" && e.Services() != nil && !slices.Contains(e.Services(), service) {
			why = ReasonWrongService
		} else if e.Suspended {
			why = ReasonSuspended
		}
		if why == ReasonListed || why == ReasonSuspended {
			return p, why
		}
		if i == 0 {
			prefix, reason = p, why
		}
	}
	return prefix, reason
}

func TestLookupAgainstScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, err := Merge(someClaims().Draw(t, "claims"), now)
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			entries[i].Suspended = rapid.IntRange(0, 3).Draw(t, "suspended") == 0
		}
		s := State{Entries: NewEntries(entries)}
		for range 8 {
			addr := nestedAddr().Draw(t, "addr")
			service := rapid.SampledFrom([]string{"", "api", "mail"}).Draw(t, "service")
			wantPrefix, wantReason := slowLookup(s, addr, service)
			e, reason := s.Lookup(addr, service, now)
			var prefix netip.Prefix
			if e != nil {
				prefix = e.Prefix
			}
			if prefix != wantPrefix || reason != wantReason {
				t.Fatalf("%s for %q is %s by %s, want %s by %s", addr, service, reason, prefix, wantReason, wantPrefix)
			}
			p := netip.PrefixFrom(addr, rapid.IntRange(0, addr.BitLen()).Draw(t, "bits")) // host bits, too
			var covering []netip.Prefix
			walk := s.Entries.Covering(p)
			for range walk {
				break // a walk may be left early, and walked again
			}
			for e := range walk {
				covering = append(covering, e.Prefix)
			}
			if !slices.Equal(covering, slowCovering(s, p)) {
				t.Fatalf("%s is covered by %v, want %v", p, covering, slowCovering(s, p))
			}
		}
	})
}

// check asks a million entries at once; see TestLookupAgainstScan for the rest.
func BenchmarkLookup(b *testing.B) {
	claims, _, err := ParseList("a.list", file, bytes.NewReader(million()))
	if err != nil {
		b.Fatal(err)
	}
	entries, err := Merge(claims, now)
	if err != nil {
		b.Fatal(err)
	}
	s := State{Entries: NewEntries(entries)}
	i := uint32(0)
	for b.Loop() {
		i += 2654435761
		s.Lookup(netip.AddrFrom4([4]byte{10, byte(i >> 24), byte(i >> 16), byte(i >> 8)}), "api", now)
	}
}

// Guards "whom it would cut": something in a prefix is lost when an address in it was
// listed and is not any more, and for no less. What listed all of it loses what the next
// does not list.
func TestLosesAnyAddress(t *testing.T) {
	small := rapid.Custom(func(t *rapid.T) netip.Prefix {
		bits := rapid.IntRange(24, 32).Draw(t, "bits")
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, rapid.ByteMax(63).Draw(t, "last")}), bits).Masked()
	})
	states := rapid.Custom(func(t *rapid.T) State {
		var entries []Entry
		for _, p := range rapid.SliceOfNDistinct(small, 0, 12, rapid.ID[netip.Prefix]).Draw(t, "entries") {
			suspended := rapid.IntRange(0, 5).Draw(t, "suspended") == 0
			entry := EntryOf(Claim{
				Prefix:   p,
				Until:    rapid.SampledFrom([]time.Time{{}, {}, {}, past, future}).Draw(t, "until"),
				Services: rapid.SampledFrom([][]string{nil, nil, {"api"}, {"mail"}}).Draw(t, "services"),
			})
			entry.Suspended = suspended
			entries = append(entries, entry)
		}
		stopped := rapid.SliceOfN(small, 0, 2).Draw(t, "stopped")
		return State{Entries: NewEntries(entries), Suspended: NewSuspended(stopped, nil)}
	})
	everything := State{Entries: NewEntries([]Entry{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}})}
	rapid.Check(t, func(t *rapid.T) {
		next, p := states.Draw(t, "next"), small.Draw(t, "prefix")
		for name, old := range map[string]State{"everything": everything, "another": states.Draw(t, "old")} {
			lost := false
			for addr := p.Addr(); p.Contains(addr); addr = addr.Next() {
				_, before := old.Lookup(addr, "api", now)
				_, after := next.Lookup(addr, "api", now)
				lost = lost || before == ReasonListed && after != ReasonListed
			}
			if got := old.Loses(next, p, "api", now); got != lost {
				t.Fatalf("of %s Loses(%s) is %v, each address alone %v", name, p, got, lost)
			}
		}
	})
}

// A prefix of any length splits in the middle.
func TestHalves(t *testing.T) {
	for text, want := range map[string][2]string{
		"0.0.0.0/0":         {"0.0.0.0/1", "128.0.0.0/1"},
		"10.0.0.0/8":        {"10.0.0.0/9", "10.128.0.0/9"},
		"192.0.2.6/31":      {"192.0.2.6/32", "192.0.2.7/32"},
		"::/0":              {"::/1", "8000::/1"},
		"2001:db8:1::/48":   {"2001:db8:1::/49", "2001:db8:1:8000::/49"},
		"2001:db8::12/127":  {"2001:db8::12/128", "2001:db8::13/128"},
		"2001:db8::f0/124":  {"2001:db8::f0/125", "2001:db8::f8/125"},
		"198.51.100.128/25": {"198.51.100.128/26", "198.51.100.192/26"},
	} {
		if low, high := halves(netip.MustParsePrefix(text)); low.String() != want[0] || high.String() != want[1] {
			t.Errorf("halves of %s are %s and %s, want %s", text, low, high, want)
		}
	}
}
