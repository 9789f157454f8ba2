package enrol

// Promises guarded here: nobody enrols who has no limits, from where he may not, or over another
// owner; the quota holds at any time; a renewal changes nothing while half of the time is left.

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/policy"
)

var (
	now      = time.Date(2026, 11, 28, 11, 0, 0, 0, time.UTC)
	settings = Settings{
		"acme": {For: time.Hour, Addresses: 2, Within: []netip.Prefix{
			netip.MustParsePrefix("198.51.0.0/16"), netip.MustParsePrefix("2001:db8::/32"),
		}, Services: []string{"api"}},
		"globex": {For: 10 * time.Minute, Addresses: 1},
	}
	card   = Certificate(big.NewInt(0x4711), [32]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	served = policy.State{Services: []policy.Service{{Name: "api"}}}
	other  = Certificate(big.NewInt(0x4712), [32]byte{8})
)

func TestCertificate(t *testing.T) {
	if card != "4711 sha256:0102030405060708" {
		t.Errorf("a certificate is named %q", card)
	}
}

// claim is one that is enrolled already, and ends so long after now.
func claim(owner, prefix string, left time.Duration) policy.Claim {
	return policy.Claim{
		Prefix: netip.MustParsePrefix(prefix), Owner: owner, Services: settings[owner].Services, Note: card,
		Origin: policy.OriginEnrol, Until: now.Add(left),
	}
}

func from(owner, address string) Request {
	r := Request{Owner: owner, Certificate: card}
	if address != "" {
		r.Address = netip.MustParseAddr(address)
	}
	return r
}

func TestRefused(t *testing.T) {
	list := func(claims ...policy.Claim) policy.State {
		entries, err := policy.Merge(claims, now)
		if err != nil {
			t.Fatal(err)
		}
		return policy.State{Services: served.Services, Entries: policy.NewEntries(entries)}
	}
	under := func(s policy.State, prefixes string, holds ...policy.Hold) policy.State {
		var stopped []netip.Prefix
		if prefixes != "" {
			stopped = append(stopped, netip.MustParsePrefix(prefixes))
		}
		s.Suspended = policy.NewSuspended(stopped, holds)
		return s
	}
	by := func(owner string, origin policy.Origin, left time.Duration) policy.Claim {
		c := claim(owner, "198.51.100.7/32", left)
		c.Origin = origin
		return c
	}
	bad := from("acme", "198.51.100.7")
	bad.Certificate = "# owner=globex"
	for _, c := range []struct {
		r      Request
		state  policy.State
		result string // "" is not refused
	}{
		{from("acme", "198.51.100.7"), list(), ""},
		{from("acme", "::ffff:198.51.100.7"), list(), ""},
		{from("acme", "2001:db8::7"), list(), ""},
		{from("globex", "192.0.2.7"), list(), ""},
		{from("initech", "198.51.100.7"), list(), UnknownOwner},
		{from("", "198.51.100.7"), list(), UnknownOwner},
		{from("acme", ""), list(), Failed},
		{bad, list(), Failed},
		{from("acme", "192.0.2.7"), list(), Outside},
		{from("acme", "2001:db9::7"), list(), Outside},
		{from("globex", "10.0.0.7"), list(), Private},
		{from("globex", "100.64.0.7"), list(), Private},
		{from("globex", "127.0.0.1"), list(), Private},
		{from("globex", "::1"), list(), Private},
		{from("globex", "fe80::7%eth0"), list(), Private},
		{from("globex", "fd00::7"), list(), Private},
		{from("globex", "64:ff9b::1"), list(), Private},
		// Whoever else has exactly this address keeps it.
		{from("acme", "198.51.100.7"), list(by("globex", policy.OriginCLI, 0)), Taken},
		{from("acme", "198.51.100.7"), list(by("globex", policy.OriginCLI, -time.Hour)), Taken},
		{from("acme", "198.51.100.7"), list(by("globex", policy.URLOrigin("x"), time.Hour)), Taken},
		{from("acme", "198.51.100.7"), list(by("globex", policy.OriginEnrol, time.Minute)), Taken},
		{from("acme", "198.51.100.7"), list(by("globex", policy.OriginEnrol, -time.Minute)), ""},
		{from("acme", "198.51.100.7"), list(by("acme", policy.OriginCLI, time.Hour)), ""},
		{from("acme", "198.51.100.7"), list(by("", policy.OriginCLI, time.Hour)), ""},
		// Who is stopped stays so.
		{from("acme", "198.51.100.7"), under(list(), "", policy.Hold{Owner: "acme"}), Suspended},
		{from("acme", "198.51.100.7"), under(list(), "", policy.Hold{Owner: "globex"}), ""},
		{from("acme", "198.51.100.7"), under(list(), "", policy.Hold{Owner: "globex", Held: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}), Suspended},
		{from("acme", "198.51.100.7"), under(list(), "198.51.100.0/24"), Suspended},
		{from("acme", "198.51.100.7"), under(list(), "198.51.101.0/24"), ""},
		{from("acme", "198.51.100.7"), policy.State{Services: []policy.Service{{Name: "mail"}}}, Failed},
	} {
		_, err := settings.Decide(c.r, nil, c.state, now)
		refused, _ := errors.AsType[*Refused](err)
		if (err != nil) != (c.result != "") || refused != nil && (refused.Result != c.result || refused.What == "") {
			t.Errorf("%+v: %v, want %q", c.r, err, c.result)
		}
	}
}

func TestDecide(t *testing.T) {
	new := from("acme", "198.51.100.7")
	until := now.Add(time.Hour)
	put := claim("acme", "198.51.100.7/32", time.Hour)
	answer := func(left int, until time.Time, replaced ...string) Answer {
		a := Answer{Owner: "acme", Prefix: put.Prefix, Until: until, Left: left}
		for _, p := range replaced {
			a.Replaced = append(a.Replaced, netip.MustParsePrefix(p))
		}
		return a
	}
	key := func(p string) policy.ClaimKey {
		return policy.ClaimKey{Origin: policy.OriginEnrol, Prefix: netip.MustParsePrefix(p)}
	}
	renewed := from("acme", "198.51.100.7")
	renewed.Certificate = other
	withOther := put
	withOther.Note = other
	for name, c := range map[string]struct {
		r      Request
		own    []policy.Claim
		result string
		edit   policy.Edit
		answer Answer
	}{
		"the first":            {new, nil, Enrolled, policy.Edit{Put: []policy.Claim{put}}, answer(1, until)},
		"the last there is":    {new, []policy.Claim{claim("acme", "198.51.100.9/32", time.Minute)}, Enrolled, policy.Edit{Put: []policy.Claim{put}}, answer(0, until)},
		"ended ones are no":    {new, []policy.Claim{claim("acme", "198.51.100.9/32", 0), claim("acme", "198.51.100.8/32", -1)}, Enrolled, policy.Edit{Put: []policy.Claim{put}}, answer(1, until)},
		"that itself is ended": {new, []policy.Claim{claim("acme", "198.51.100.7/32", 0)}, Enrolled, policy.Edit{Put: []policy.Claim{put}}, answer(1, until)},
		"one over": {
			new,
			[]policy.Claim{claim("acme", "198.51.100.9/32", 2*time.Minute), claim("acme", "198.51.100.8/32", time.Minute)},
			Enrolled,
			policy.Edit{Remove: []policy.ClaimKey{key("198.51.100.8/32")}, Put: []policy.Claim{put}},
			answer(0, until, "198.51.100.8/32"),
		},
		"two over, as the quota was lowered": {
			new,
			[]policy.Claim{claim("acme", "198.51.100.9/32", 2*time.Minute), claim("acme", "198.51.100.8/32", time.Minute), claim("acme", "198.51.100.6/32", 3*time.Minute)},
			Enrolled,
			policy.Edit{Remove: []policy.ClaimKey{key("198.51.100.8/32"), key("198.51.100.9/32")}, Put: []policy.Claim{put}},
			answer(0, until, "198.51.100.8/32", "198.51.100.9/32"),
		},
		"half is left":       {new, []policy.Claim{claim("acme", "198.51.100.7/32", 30*time.Minute)}, Standing, policy.Edit{}, answer(1, now.Add(30*time.Minute))},
		"less than half":     {new, []policy.Claim{claim("acme", "198.51.100.7/32", 30*time.Minute-1)}, Renewed, policy.Edit{Put: []policy.Claim{put}}, answer(1, until)},
		"for was shortened":  {new, []policy.Claim{claim("acme", "198.51.100.7/32", 5*time.Hour)}, Renewed, policy.Edit{Put: []policy.Claim{put}}, answer(1, until)},
		"another key of his": {renewed, []policy.Claim{claim("acme", "198.51.100.7/32", 50*time.Minute)}, Enrolled, policy.Edit{Put: []policy.Claim{withOther}}, answer(1, until)},
		"a renewal replaces nobody": {
			new,
			[]policy.Claim{claim("acme", "198.51.100.7/32", time.Minute), claim("acme", "198.51.100.9/32", time.Second)},
			Renewed,
			policy.Edit{Put: []policy.Claim{put}},
			answer(0, until),
		},
	} {
		d, err := settings.Decide(c.r, c.own, served, now)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compare := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
		if diff := cmp.Diff(c.edit, d.Edit, compare); diff != "" || d.Result != c.result {
			t.Errorf("%s: %s, want %s (-want +got):\n%s", name, d.Result, c.result, diff)
		}
		if diff := cmp.Diff(c.answer, d.Answer, compare); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	d, err := settings.Decide(from("acme", "2001:db8:0:7:a:b:c:d"), nil, served, now)
	if err != nil || d.Claim.Prefix.String() != "2001:db8:0:7::/64" {
		t.Errorf("of an IPv6 address %v is enrolled, %v", d.Claim.Prefix, err)
	}
}

// However a customer moves and asks, he never has more than his quota, and never loses the address that he
// asked for last.
func TestQuotaHolds(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var own []policy.Claim
	at := now
	for i := range 2000 {
		at = at.Add(time.Duration(random.IntN(20)) * time.Minute)
		r := from("acme", fmt.Sprintf("198.51.100.%d", random.IntN(6)))
		d, err := settings.Decide(r, own, served, at)
		if err != nil {
			t.Fatalf("seed %d, request %d: %v", seed, i, err)
		}
		own = slices.DeleteFunc(own, func(c policy.Claim) bool {
			return slices.Contains(d.Edit.Remove, c.Key()) || c.Prefix == d.Claim.Prefix && len(d.Edit.Put) > 0
		})
		own = append(own, d.Edit.Put...)
		live, there := 0, false
		for _, c := range own {
			if !policy.HasEnded(c.Until, at) {
				live++
				there = there || c.Prefix == d.Answer.Prefix
			}
		}
		if live > settings["acme"].Addresses || !there || d.Answer.Left != settings["acme"].Addresses-live {
			t.Fatalf("seed %d, request %d: %d addresses, %+v", seed, i, live, d)
		}
	}
}

func TestPace(t *testing.T) {
	var p Pace
	for i := range 3 * PerMinute {
		if got := p.Asked("acme", now.Add(time.Duration(i))); got != i+1 {
			t.Errorf("request %d of a minute is counted %d", i+1, got)
		}
	}
	if p.Asked("globex", now) != 1 || p.Asked("acme", now.Add(time.Minute)) != 1 || len(p.asked) != 1 {
		t.Error("another owner, or an earlier minute, counts")
	}
}

// A book is asked for all that is enrolled once, and never names what is gone or another owner's by now.
func TestBook(t *testing.T) {
	var b Book
	list := map[netip.Prefix]policy.Claim{}
	walks := 0
	all := func(yield func(policy.Claim) bool) {
		walks++
		for _, c := range list {
			if !yield(c) {
				return
			}
		}
	}
	of := func(owner string) int {
		return len(b.Of(owner, all, func(p netip.Prefix) (policy.Claim, bool) { c, found := list[p]; return c, found }))
	}
	put := func(c policy.Claim) { list[c.Prefix] = c; b.Add(c) }
	put(claim("acme", "198.51.100.7/32", time.Hour))
	put(claim("globex", "198.51.100.8/32", time.Hour))
	if of("acme") != 1 || of("globex") != 1 || of("initech") != 0 {
		t.Error("what was there is not found")
	}
	put(claim("acme", "198.51.100.9/32", time.Hour))
	put(claim("acme", "198.51.100.9/32", 2*time.Hour))
	put(claim("globex", "198.51.100.7/32", time.Hour))
	if of("acme") != 1 || of("globex") != 2 {
		t.Errorf("acme has %d, globex %d, want 1 and 2", of("acme"), of("globex"))
	}
	delete(list, netip.MustParsePrefix("198.51.100.8/32"))
	if of("globex") != 1 || walks != 1 {
		t.Errorf("globex has %d, after %d walks", of("globex"), walks)
	}
}
