package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var api = Service{Name: "api", Ports: []Port{{TCP, 443}, {UDP, 443}}, Mode: Enforce, Scope: ScopeSYN}

// listing is a state of api in this mode and the claims of these prefixes.
func listing(t *testing.T, mode Mode, prefixes ...string) State {
	t.Helper()
	var claims []Claim
	for i, p := range prefixes {
		claims = append(claims, Claim{Prefix: pfx(p), Origin: file, Where: fmt.Sprintf("a.list:%d", i+1)})
	}
	entries, err := Merge(claims, now)
	if err != nil {
		t.Fatal(err)
	}
	service := api
	service.Mode = mode
	return State{Services: []Service{service}, Entries: NewEntries(entries)}
}

// endedListing is a listing of a prefix for each end.
func endedListing(t *testing.T, mode Mode, ends ...time.Time) State {
	t.Helper()
	state := listing(t, mode, tens(len(ends))...)
	i := 0
	return said(state, func(c *Claim) { c.Until, i = ends[i], i+1 })
}

// said is s as it is when change was made to each of its claims.
func said(s State, change func(*Claim)) State {
	var entries []Entry
	for e := range s.Entries.All() {
		c := e.Claims()[0]
		change(&c)
		entries = append(entries, EntryOf(c))
	}
	s.Entries = NewEntries(entries)
	return s
}

// tens are n prefixes of one kind.
func tens(n int) (prefixes []string) {
	for i := range n {
		prefixes = append(prefixes, fmt.Sprintf("10.%d.0.0/16", i))
	}
	return prefixes
}

// Promise: each guard rail holds, each has its own key,
// and no key opens another.
func TestGuard(t *testing.T) {
	ended := "every prefix has ended and service api enforces: nobody could connect"
	empty := "no prefix is left and service api enforces: nobody could connect"
	for _, c := range []struct {
		name       string
		old, new   State
		verb       Verb
		force      Force
		what, hint string
	}{
		{"empty", listing(t, Enforce, "10.0.0.0/8"), listing(t, Enforce), VerbReload, Force{}, empty, "--allow-empty"},
		{"empty from the start", State{}, listing(t, Enforce), VerbRun, Force{}, empty, "--allow-empty"},
		{"empty by remove", listing(t, Enforce, "10.0.0.0/8"), listing(t, Enforce), VerbRemove, Force{AllowAny: true, ForceShrink: true}, empty, "--allow-empty"},
		{"empty and meant", listing(t, Enforce, "10.0.0.0/8"), listing(t, Enforce), VerbRemove, Force{AllowEmpty: true}, "", ""},
		{"ended", listing(t, Enforce, "10.0.0.0/8"), endedListing(t, Enforce, past, now), VerbReload, Force{}, ended, "--allow-empty"},
		{"ended by replace", listing(t, Enforce, "10.0.0.0/8"), endedListing(t, Enforce, past), VerbReplace, Force{ForceShrink: true}, ended, "--allow-empty"},
		{"ended at a start", State{}, endedListing(t, Enforce, past), VerbRun, Force{AllowAny: true, ForceShrink: true}, ended, "--allow-empty"},
		{"ended and meant", State{}, endedListing(t, Enforce, past), VerbRun, Force{AllowEmpty: true}, "", ""},
		{"ended in audit", State{}, endedListing(t, Audit, past), VerbReload, Force{}, "", ""},
		{"ended but one", State{}, endedListing(t, Enforce, past, future), VerbReload, Force{}, "", ""},
		{"ended but one for ever", State{}, endedListing(t, Enforce, past, time.Time{}), VerbReload, Force{}, "", ""},
		{"empty in audit", listing(t, Audit, "10.0.0.0/8"), listing(t, Audit), VerbReload, Force{}, "", ""},

		{"wide", State{}, listing(t, Enforce, "10.0.0.0/7"), VerbAdd, Force{AllowEmpty: true, ForceShrink: true}, "10.0.0.0/7 (a.list:1) is wider than /8", "--allow-any"},
		{"wide in audit", State{}, listing(t, Audit, "0.0.0.0/0"), VerbReload, Force{}, "0.0.0.0/0 (a.list:1) is wider than /8", "--allow-any"},
		{"wide IPv6", State{}, listing(t, Enforce, "2001::/18"), VerbAdd, Force{}, "2001::/18 (a.list:1) is wider than /19", "--allow-any"},
		{"wide and meant", State{}, listing(t, Enforce, "0.0.0.0/0", "::/0"), VerbAdd, Force{AllowAny: true}, "", ""},
		{"not wide", State{}, listing(t, Enforce, "10.0.0.0/8", "2001::/19"), VerbAdd, Force{}, "", ""},
		{"wide before", listing(t, Enforce, "0.0.0.0/0"), listing(t, Enforce, "0.0.0.0/0", "10.0.0.0/8"), VerbAdd, Force{}, "", ""},
		{"no longer wide", listing(t, Enforce, "0.0.0.0/0", "10.0.0.0/8"), listing(t, Enforce, "10.0.0.0/8"), VerbRemove, Force{}, "", ""},

		{"shrinks", listing(t, Enforce, tens(10)...), listing(t, Enforce, tens(4)...), VerbReload, Force{AllowEmpty: true, AllowAny: true}, "6 of 10 prefixes would be removed", "--force-shrink"},
		{"shrinks at a start", listing(t, Enforce, tens(10)...), listing(t, Enforce, tens(4)...), VerbRun, Force{}, "6 of 10 prefixes would be removed", "--force-shrink"},
		{"shrinks and is meant", listing(t, Enforce, tens(10)...), listing(t, Enforce, tens(4)...), VerbReload, Force{ForceShrink: true}, "", ""},
		{"by half", listing(t, Enforce, tens(10)...), listing(t, Enforce, tens(5)...), VerbReload, Force{}, "", ""},
		{"of nine", listing(t, Enforce, tens(9)...), listing(t, Enforce, tens(1)...), VerbReload, Force{}, "", ""},
		{"by remove", listing(t, Enforce, tens(10)...), listing(t, Enforce, tens(1)...), VerbRemove, Force{}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Guard(c.old, c.new, Diff(c.old, c.new), c.verb, c.force, now)
			if c.what != "" {
				wantRefused(t, err, c.what, c.hint)
			} else if err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
	// A file that was cut short among many.
	beside := func(n int) State {
		claims := []Claim{}
		for i, p := range tens(100) {
			claims = append(claims, Claim{Prefix: pfx(p), Origin: OriginCLI})
			if i < 5 { // the file says what somebody else says, too
				claims = append(claims, Claim{Prefix: pfx(p), Origin: file, Where: "a.list:1"})
			}
		}
		for i := range n {
			claims = append(claims, Claim{Prefix: pfx(fmt.Sprintf("192.0.2.%d/32", i)), Origin: file, Where: "a.list:1"})
		}
		entries, err := Merge(claims, now)
		if err != nil {
			t.Fatal(err)
		}
		return State{Services: []Service{api}, Entries: NewEntries(entries)}
	}
	for _, c := range []struct {
		was, is int
		verb    Verb
		force   Force
		what    string
	}{
		{15, 4, VerbReload, Force{AllowEmpty: true, AllowAny: true}, "11 of 20 prefixes of file:a.list would be removed"},
		{15, 4, VerbReplace, Force{}, "11 of 20 prefixes of file:a.list would be removed"},
		{15, 4, VerbRun, Force{}, "11 of 20 prefixes of file:a.list would be removed"},
		{15, 4, VerbReload, Force{ForceShrink: true}, ""},
		{15, 4, VerbRemove, Force{}, ""},
		{15, 5, VerbReload, Force{}, ""},
		{5, 0, VerbReload, Force{}, ""},
		{4, 0, VerbReload, Force{}, ""},
	} {
		old, new := beside(c.was), beside(c.is)
		if err := Guard(old, new, Diff(old, new), c.verb, c.force, now); c.what != "" {
			wantRefused(t, err, c.what, "--force-shrink")
		} else if err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// A wide entry that changes is meant anew.
	old := listing(t, Enforce, "0.0.0.0/0")
	new := listing(t, Enforce, "0.0.0.0/0")
	new = said(new, func(c *Claim) { c.Services = []string{"api"} })
	err := Guard(old, new, Diff(old, new), VerbReload, Force{}, now)
	wantRefused(t, err, "0.0.0.0/0 (a.list:1) is wider than /8", "--allow-any")
}

// Promise: nobody saws off the branch that his session sits on.
func TestGuardPeer(t *testing.T) {
	enforced := listing(t, Enforce, "10.0.0.0/8")
	elsewhere := listing(t, Enforce, "10.0.0.0/8")
	elsewhere = said(elsewhere, func(c *Claim) { c.Services = []string{"mail"} })
	expired := listing(t, Enforce, "10.0.0.0/8")
	expired = said(expired, func(c *Claim) { c.Until = past })
	for _, c := range []struct {
		name   string
		state  State
		addr   string
		port   uint16
		reason string // "" is not refused
	}{
		{"not listed", enforced, "192.0.2.9", 443, "not_listed"},
		{"listed", enforced, "10.0.0.9", 443, ""},
		{"listed, and shown mapped", enforced, "::ffff:10.0.0.9", 443, ""},
		{"not listed, and shown mapped", enforced, "::ffff:192.0.2.9", 443, "not_listed"},
		{"link-local", enforced, "fe80::1%eth0", 443, "not_listed"},
		{"port not protected", enforced, "192.0.2.9", 22, ""},
		{"audit", listing(t, Audit, "10.0.0.0/8"), "192.0.2.9", 443, ""},
		{"local", enforced, "127.0.0.1", 443, ""},
		{"local IPv6", enforced, "::1", 443, ""},
		{"listed for another service", elsewhere, "10.0.0.9", 443, "wrong_service"},
		{"expired", expired, "10.0.0.9", 443, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := netip.MustParseAddr(c.addr)
			// There is no daemon to add to before a run.
			for verb, list := range map[Verb]string{VerbRun: "--allow ", VerbReload: "xdpallow add ", VerbRemove: "xdpallow add "} {
				err := GuardPeer(c.state, []Peer{{netip.MustParseAddr("10.0.0.1"), 80}, {addr, c.port}}, verb, now)
				if c.reason == "" {
					if err != nil {
						t.Errorf("%s refused: %v", verb, err)
					}
					continue
				}
				shown := addr.Unmap().WithZone("").String()
				wantRefused(t, err, "your own session comes from "+shown+" to tcp/443 and would be dropped ("+c.reason+")", list+shown)
			}
		})
	}
}
