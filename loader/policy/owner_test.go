package policy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A network of acme's, with hosts of nobody and of globex in it.
func provider() State {
	return State{Entries: NewEntries([]Entry{
		EntryOf(Claim{Prefix: pfx("10.0.0.0/8"), Owner: "acme"}),
		{Prefix: pfx("10.1.0.0/16")},
		EntryOf(Claim{Prefix: pfx("10.2.0.0/16"), Owner: "globex"}),
		{Prefix: pfx("10.2.3.0/24")},
		EntryOf(Claim{Prefix: pfx("10.2.4.0/24"), Owner: "acme"}),
		EntryOf(Claim{Prefix: pfx("10.3.0.0/16"), Owner: "acme", Until: now.Add(-time.Hour)}),
		{Prefix: pfx("192.0.2.0/24")},
	})}
}

// What has no owner is of the network that it lies in, the nearest that has one.
func TestOwnerOf(t *testing.T) {
	s := provider()
	for text, want := range map[string]string{
		"10.0.0.0/8": "acme", "10.1.0.0/16": "acme", "10.2.0.0/16": "globex", "10.2.3.0/24": "globex",
		"10.2.4.0/24": "acme", "10.3.0.0/16": "acme", "192.0.2.0/24": "",
	} {
		e, found := s.Entries.Find(pfx(text))
		if got := s.OwnerOf(e); !found || got != want {
			t.Errorf("%s is %q's, want %q", text, got, want)
		}
	}
}

// A suspension holds what is the owner's now, and lets others stay, by name.
func TestHold(t *testing.T) {
	h := provider().Hold("acme", false, now)
	if diff := diff([]netip.Prefix{pfx("10.0.0.0/8"), pfx("10.2.4.0/24")}, h.Held); diff != "" {
		t.Errorf("held (-want +got)\n%s", diff)
	}
	if diff := diff([]Stay{{pfx("10.2.0.0/16"), "globex"}}, h.Stays); diff != "" {
		t.Errorf("stays (-want +got)\n%s", diff)
	}
	if nested := provider().Hold("acme", true, now); len(nested.Stays) != 0 || len(nested.Held) != 2 {
		t.Errorf("nested: %+v", nested)
	}
	again := h.Tightened(State{Entries: NewEntries([]Entry{EntryOf(Claim{Prefix: pfx("192.0.2.0/24"), Owner: "acme"})})}, false, now)
	if len(again.Held) != 3 || len(again.Stays) != 1 {
		t.Errorf("suspended again: %+v", again)
	}
	if nested := h.Tightened(provider(), true, now); len(nested.Stays) != 0 || !nested.Nested {
		t.Errorf("suspended again, nested: %+v", nested)
	}
}

// A host without an owner in a network of acme's that has ended lets in, and so it is
// held: it would be nobody's when the network leaves the list.
func TestHoldInWhatHasEnded(t *testing.T) {
	ended := EntryOf(Claim{Prefix: pfx("10.3.0.0/16"), Owner: "acme", Until: now.Add(-time.Hour)})
	host := Entry{Prefix: pfx("10.3.3.3/32")}
	s := State{Entries: NewEntries([]Entry{ended, host})}
	hold := s.Hold("acme", false, now)
	if diff := diff([]netip.Prefix{host.Prefix}, hold.Held); diff != "" {
		t.Errorf("held (-want +got)\n%s", diff)
	}
	s = State{Entries: NewEntries([]Entry{host}), Suspended: NewSuspended(nil, []Hold{hold})}
	if _, reason := s.Lookup(host.Prefix.Addr(), "api", now); reason != ReasonSuspended {
		t.Errorf("the network is gone, and the host is %s", reason)
	}
}

// Whatever becomes of the list, what was held is stopped, and what stayed goes on as
// long as it is the same owner's.
func TestHoldOverEdits(t *testing.T) {
	first := provider()
	hold := first.Hold("acme", false, now)
	for _, c := range []struct {
		name    string
		addr    string
		want    string
		entries []Entry
	}{
		{name: "the label is gone", addr: "10.9.0.1", want: ReasonSuspended, entries: []Entry{{Prefix: pfx("10.0.0.0/8")}}},
		{name: "another label", addr: "10.9.0.1", want: ReasonSuspended, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.0.0.0/8"), Owner: "globex"})}},
		{name: "narrower", addr: "10.9.0.1", want: ReasonSuspended, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.9.0.0/16"), Owner: "globex"})}},
		{name: "wider", addr: "10.9.0.1", want: ReasonSuspended, entries: []Entry{EntryOf(Claim{Prefix: pfx("8.0.0.0/6"), Owner: "globex"})}},
		{name: "beside it", addr: "11.0.0.1", want: ReasonListed, entries: []Entry{EntryOf(Claim{Prefix: pfx("8.0.0.0/6"), Owner: "globex"})}},
		{name: "nobody lists it", addr: "10.9.0.1", want: ReasonNotListed},
		{name: "it stays", addr: "10.2.0.1", want: ReasonListed, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.2.0.0/16"), Owner: "globex"})}},
		{name: "in what stays", addr: "10.2.9.1", want: ReasonListed, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.2.0.0/16"), Owner: "globex"}), EntryOf(Claim{Prefix: pfx("10.2.9.0/24"), Owner: "initech"})}},
		{name: "it is another's now", addr: "10.2.0.1", want: ReasonSuspended, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.2.0.0/16"), Owner: "initech"})}},
		{name: "it is nobody's now", addr: "10.2.0.1", want: ReasonSuspended, entries: []Entry{{Prefix: pfx("10.2.0.0/16")}}},
		{name: "what stayed is gone", addr: "10.2.9.1", want: ReasonSuspended, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.2.9.0/24"), Owner: "initech"})}},
		{name: "held within what stays", addr: "10.2.4.1", want: ReasonSuspended, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.2.0.0/16"), Owner: "globex"})}},
		{name: "what had ended is not held", addr: "10.3.0.1", want: ReasonSuspended, entries: []Entry{EntryOf(Claim{Prefix: pfx("10.3.0.0/16"), Owner: "globex"})}}, // the /8 around it is
	} {
		s := State{Entries: NewEntries(c.entries), Suspended: NewSuspended(nil, []Hold{hold})}
		if _, got := s.Lookup(netip.MustParseAddr(c.addr), "api", now); got != c.want {
			t.Errorf("%s: %s is %s, want %s", c.name, c.addr, got, c.want)
		}
	}
}

// What the owner gets while he is suspended is held from then on, and who was there
// before stays.
func TestHoldFollows(t *testing.T) {
	old := State{Entries: NewEntries([]Entry{EntryOf(Claim{Prefix: pfx("10.0.0.0/24"), Owner: "acme"}), EntryOf(Claim{Prefix: pfx("10.1.0.7/32"), Owner: "globex"}), EntryOf(Claim{Prefix: pfx("10.1.0.9/32"), Owner: "globex", Origin: OriginCLI})})}
	hold := old.Hold("acme", false, now)
	old.Suspended = NewSuspended(nil, []Hold{hold})
	next, plan, err := old.Edit(Edit{
		Remove: []ClaimKey{{OriginCLI, pfx("10.1.0.9/32")}},
		Put: []Claim{
			{Prefix: pfx("10.1.0.0/24"), Owner: "acme", Origin: OriginCLI},
			{Prefix: pfx("10.1.0.8/32"), Owner: "globex", Origin: OriginCLI},
		},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	hold, changed := hold.Follow(old, next, plan, now)
	if !changed || !slices.Contains(hold.Held, pfx("10.1.0.0/24")) {
		t.Errorf("held: %+v", hold)
	}
	next.Suspended = NewSuspended(nil, []Hold{hold})
	for addr, want := range map[string]string{"10.1.0.1": ReasonSuspended, "10.1.0.7": ReasonListed, "10.1.0.8": ReasonSuspended, "10.1.0.9": ReasonSuspended} {
		if _, got := next.Lookup(netip.MustParseAddr(addr), "", now); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
	if _, changed := hold.Follow(next, next, plan, now); changed {
		t.Error("the same change is followed twice")
	}
}

// The walk over all entries says of each what one says who asks of it alone.
func TestOwned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		merged, err := Merge(someClaims().Draw(t, "claims"), now)
		if err != nil {
			t.Fatal(err)
		}
		entries, walked := NewEntries(merged), 0
		for entry, owner := range entries.Owned() {
			if want := entries.OwnerOf(entry); owner != want {
				t.Errorf("%s is %q's, want %q", entry.Prefix, owner, want)
			}
			walked++
		}
		if walked != entries.Len() {
			t.Errorf("walked over %d of %d", walked, entries.Len())
		}
	})
}
