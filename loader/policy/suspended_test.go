package policy

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Promise: a suspension overrides every origin. Whatever is listed in, at and
// around a stopped prefix, no source in it is listed, and nobody else notices. What the
// kernel is given says the same as what Lookup explains, though one is flat and the
// other is not.
func TestSuspended(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, err := Merge(someClaims().Draw(t, "claims"), now)
		if err != nil {
			t.Fatal(err)
		}
		stopped := rapid.SliceOfN(nestedPrefix(), 0, 4).Draw(t, "stopped")
		free := State{Entries: NewEntries(entries)}
		var owners []Hold
		if rapid.Bool().Draw(t, "acme is stopped") {
			owners = []Hold{someHold(free).Draw(t, "hold")}
		}
		s := State{Entries: free.Entries, Suspended: NewSuspended(stopped, owners)}

		kernel := slices.Collect(s.AllEnforced())
		for i := range kernel {
			if alone, found := s.Enforced(kernel[i].Prefix); !found || !KernelEqual(alone, kernel[i]) {
				t.Fatalf("%s is enforced as %+v, among all as %+v", kernel[i].Prefix, alone, kernel[i])
			}
			kernel[i].Suspended = kernel[i].Suspended || s.Suspended.Owner(kernel[i].Owner())
		}
		flat := State{Entries: NewEntries(kernel)}
		if flat.Entries.Len() != len(kernel) {
			t.Fatalf("%d prefixes are enforced in %d entries", flat.Entries.Len(), len(kernel))
		}
		for range 8 {
			addr := nestedAddr().Draw(t, "addr")
			service := rapid.SampledFrom([]string{"", "api", "mail"}).Draw(t, "service")
			e, reason := s.Lookup(addr, service, now)
			before, was := free.Lookup(addr, service, now)
			at, flatly := slowLookup(flat, addr, service)
			if reason != flatly || e != nil && e.Prefix != at {
				t.Fatalf("%s for %q is %s by %v, the kernel says %s by %s", addr, service, reason, e, flatly, at)
			}
			within := slices.ContainsFunc(stopped, func(p netip.Prefix) bool { return p.Contains(addr) })
			if !within && len(owners) == 0 && (reason != was || e != before) {
				t.Fatalf("%s, which nobody stopped, is %s, and was %s", addr, reason, was)
			}
			if reason == ReasonListed && (within || s.Suspended.Owner(s.OwnerOf(e))) {
				t.Fatalf("%s for %q is listed by %v", addr, service, e)
			}
			if was == ReasonListed && within && reason != ReasonSuspended {
				t.Fatalf("%s for %q was listed and is stopped as %s", addr, service, reason)
			}
		}
	})
}

// someHold is acme suspended as the list is, or as it was before another list took its
// place.
func someHold(listed State) *rapid.Generator[Hold] {
	return rapid.Custom(func(t *rapid.T) Hold {
		then := listed
		if rapid.Bool().Draw(t, "another list") {
			entries, err := Merge(someClaims().Draw(t, "claims before"), now)
			if err != nil {
				t.Fatal(err)
			}
			then = State{Entries: NewEntries(entries)}
		}
		return then.Hold("acme", rapid.Bool().Draw(t, "nested"), now)
	})
}

// One compromised host in a customer's /24: it is stopped, its neighbours are not, and
// an entry that names it later lets nobody in.
func TestSuspendedHost(t *testing.T) {
	host := pfx("192.0.2.7/32")
	list := []Entry{EntryOf(Claim{Prefix: pfx("192.0.2.0/24"), Owner: "acme"})}
	s := State{Entries: NewEntries(list), Suspended: NewSuspended([]netip.Prefix{host}, nil)}
	check := func(addr, want string) {
		t.Helper()
		if _, reason := s.Lookup(netip.MustParseAddr(addr), "api", now); reason != want {
			t.Errorf("%s is %s, want %s", addr, reason, want)
		}
	}
	check("192.0.2.7", ReasonSuspended)
	check("192.0.2.8", ReasonListed)
	if stop, found := s.Enforced(host); !found || !stop.Suspended || stop.Owner() != "acme" {
		t.Errorf("the kernel has %+v at %s", stop, host)
	}
	mail := EntryOf(Claim{Prefix: host, Services: []string{"mail"}})
	s.Entries = s.Entries.with(change{Key: mail.Key(), Item: &mail})
	check("192.0.2.7", ReasonSuspended)
	s.Entries = s.Entries.with(change{Key: Place(pfx("192.0.2.0/24"))})
	check("192.0.2.7", ReasonWrongService) // nothing around it to come in by
	s.Entries = s.Entries.with(change{Key: mail.Key()})
	check("192.0.2.7", ReasonNotListed)
	if stop, found := s.Enforced(host); found {
		t.Errorf("the kernel has %+v where nothing is listed", stop)
	}
}
