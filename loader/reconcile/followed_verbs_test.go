// This file holds what an operator types to lists that are kept elsewhere: he may stop whom they
// name, takes nobody's prefix from them by accident, and takes back what he did, all of it.
package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// in runs what an operator asks for, on the host of the gate.
func (f follower) in(change func() error) error { return f.lab.Host.Do(change) }

func (f follower) suspend(owner string) error {
	return f.in(func() error {
		_, err := f.engine.Suspend(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: owner}})
		return err
	})
}

func (f follower) resume(owner string) error {
	return f.in(func() error {
		_, err := f.engine.Resume(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: owner}})
		return err
	})
}

func (f follower) limit(owner string) error {
	return f.in(func() error {
		_, err := f.engine.Limit(context.Background(), api.Caller{}, api.LimitRequest{Owner: owner, Limit: api.Limit{PerSecond: 5}})
		return err
	})
}

func (f follower) add(prefix, owner string) error {
	return f.in(func() error {
		_, err := f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{prefix}, Owner: owner})
		return err
	})
}

func (f follower) replace(text string) error {
	return f.in(func() error {
		_, err := f.engine.Replace(context.Background(), api.Caller{}, api.ReplaceRequest{Name: "new.list", Text: text, ForceShrink: true})
		return err
	})
}

// of is r for another owner.
func of(owner string, r source.Reading) source.Reading {
	for i := range r.Claims {
		r.Claims[i].Owner = owner
	}
	return r
}

// adds is a reading that adds to what its origin said.
func adds(owner string, origin policy.Origin, prefixes ...string) source.Reading {
	r := of(owner, reading(origin, "adds "+strings.Join(prefixes, " "), prefixes...))
	r.Edit = &policy.Edit{Put: r.Claims}
	r.Claims = nil
	return r
}

// Promise: an owner can be suspended and limited before his list is there, while it is empty, and
// while all that it says is aside; then he does not come in. Nobody else is known for it.
func TestOwnersOfListsAreKnown(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.did(errors.Join(f.suspend("acme"), f.limit("acme")))
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.expect("suspended before his list was there", map[string]string{"203.0.113.7": "drop"})
	f.did(f.resume("acme"))
	f.expect("resumed", map[string]string{"203.0.113.7": "pass"})

	f.did(f.add("198.51.100.0/24", "globex"))
	aside := of("initech", reading(branch, "aside", "198.51.100.0/24"))
	elsewhere := of("umbrella", reading(branch, "", "192.0.2.0/24")).Claims[0]
	elsewhere.Services = []string{"nope"}
	aside.Claims = append(aside.Claims, elsewhere)
	f.take(aside)
	f.restart()
	f.did(errors.Join(f.suspend("initech"), f.limit("umbrella"), f.suspend("umbrella")))
	f.expect("aside", map[string]string{"198.51.100.7": "pass"})
	f.did(f.in(func() error {
		_, err := f.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{"198.51.100.0/24"}})
		return err
	}))
	f.expect("what was aside stands", map[string]string{"198.51.100.7": "drop", "203.0.113.7": "pass"})
	for _, unknown := range []error{f.suspend("hooli"), f.limit("hooli")} {
		if refused, ok := errors.AsType[*policy.Refused](unknown); !ok || refused.What != "no prefix belongs to hooli" {
			t.Errorf("an owner whom nothing names: %v", unknown)
		}
	}
	f.close()
}

// Promise: a suspension that rollback brings back holds what a page has added to its owner
// meanwhile: another owner does not get it in.
func TestSuspensionComesBackWithWhatWasRead(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(branch, "first", "198.51.100.0/24"))
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.did(errors.Join(f.suspend("acme"), f.resume("acme")))
	f.take(adds("globex", partner, "192.0.2.128/25")) // was there before: it stays
	f.take(adds("acme", partner, "192.0.2.0/24"))
	f.rollback()
	for _, when := range []string{"rolled back", "a restart after it"} {
		f.expect(when, map[string]string{"192.0.2.7": "drop", "192.0.2.130": "pass", "203.0.113.7": "drop"})
		f.restart()
	}
	f.take(adds("globex", partner, "192.0.2.0/24"))
	f.expect("given to another owner", map[string]string{"192.0.2.7": "drop", "192.0.2.130": "pass"})
	f.rollback()
	f.expect("the rollback taken back", map[string]string{"192.0.2.7": "pass", "203.0.113.7": "pass"})
	f.close()
}

// Promise: rollback takes a suspension back whose owner a page has given more meanwhile, and of
// one that was only changed nothing that was read gets out.
func TestRollbackOfSuspendBesideReadings(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.did(f.suspend("acme"))
	f.take(adds("acme", partner, "192.0.2.0/24"))
	f.expect("suspended", map[string]string{"192.0.2.7": "drop", "203.0.113.7": "drop"})
	f.rollback()
	f.expect("rolled back", map[string]string{"192.0.2.7": "pass", "203.0.113.7": "pass"})

	f.did(errors.Join(f.suspend("acme"), f.add("198.51.100.0/24", "acme"))) // which the suspension holds
	f.take(adds("acme", partner, "198.18.0.0/24"))
	f.rollback()
	f.take(adds("globex", partner, "198.18.0.0/24", "198.51.100.0/24"))
	f.expect("an add rolled back", map[string]string{"198.18.0.7": "drop", "198.51.100.7": "pass", "203.0.113.7": "drop"})
	f.close()
}

// Promise: replace and import take a prefix from the owner that a followed list names as little as
// add does; they change nothing then, and name the line.
func TestReplaceTakesNobodysPrefix(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "first", "203.0.113.0/24"))
	const text = "192.0.2.1 owner=globex\n203.0.113.0/24 owner=globex\n"
	imported := f.in(func() error {
		_, err := f.engine.Import(context.Background(), api.Caller{}, api.ImportRequest{ReplaceRequest: api.ReplaceRequest{Name: "new.list", Text: text}})
		return err
	})
	for verb, err := range map[string]error{"replace": f.replace(text), "import": imported} {
		refused, ok := errors.AsType[*policy.Refused](err)
		if !ok || refused.What != "new.list:2: 203.0.113.0/24 belongs to acme (url:partner)" || refused.Hint == "" {
			t.Errorf("%s: %v, %+v", verb, err, refused)
		}
	}
	f.expect("refused", map[string]string{"203.0.113.7": "pass", "192.0.2.1": "drop"})
	f.did(f.replace("192.0.2.1 owner=globex\n203.0.113.0/24 owner=acme\n"))
	f.expect("his own", map[string]string{"203.0.113.7": "pass", "192.0.2.1": "pass"})
	f.close()
}

// Promise: rollback brings the list of an origin back that a reload has forgotten, whatever else the
// reload did, and a second one forgets it again; nothing of what came before is taken back.
func TestRollbackBringsAListBack(t *testing.T) {
	forgotten := map[string]string{"203.0.113.7": "drop", "198.51.100.7": "pass", "192.0.2.99": "drop", "198.18.0.1": "pass"}
	stands := map[string]string{"203.0.113.7": "pass", "198.51.100.7": "pass", "192.0.2.99": "drop", "198.18.0.1": "pass"}
	for _, unnamed := range []bool{false, true} { // before the reload
		f := newFollowerOfTwo(t)
		var many []string
		for i := range 12 {
			many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32).String())
		}
		f.take(reading(partner, "second", many...))
		f.did(f.add("198.18.0.1", "globex"))
		f.config(branch)
		if unnamed {
			f.restart() // which does not forget it: it is too much of the list
			f.expect("a start", stands)
		}
		f.reload(api.ReloadRequest{Force: policy.Force{ForceShrink: true}})
		f.expect("forgotten", forgotten)
		for range 2 {
			f.rollback()
			f.expect("rolled back", stands)
			if one, _ := f.status(partner); one.Mark != "second" || one.Entries != 12 {
				t.Errorf("rolled back: %+v", one)
			}
			f.restart()
			f.expect("a start after it", stands)
			f.didShrinking()
			f.expect("forgotten again", forgotten)
		}
		f.close()
	}
}

// didShrinking rolls back what takes most of the list away.
func (f follower) didShrinking() {
	f.Helper()
	f.did(f.in(func() error {
		_, err := f.engine.Rollback(context.Background(), api.Caller{}, api.RollbackRequest{Force: policy.Force{ForceShrink: true}})
		return err
	}))
}

// rewrite changes a text in the config file.
func (f follower) rewrite(old, new string) {
	f.Helper()
	text, err := os.ReadFile(f.options.Config)
	if err == nil {
		err = os.WriteFile(f.options.Config, []byte(strings.ReplaceAll(string(text), old, new)), 0o600)
	}
	f.did(err)
}

// Promise: a reload that has a name followed elsewhere, and is rolled back, leaves nobody in whom only
// the new page has named, and brings back what the old one said.
func TestRollbackOfAnotherPage(t *testing.T) {
	for _, confirm := range []string{"", "1h"} {
		f := newFollowerOfTwo(t)
		f.rewrite("/list", "/other")
		f.write("allow: [192.0.2.1]\n")
		f.reload(api.ReloadRequest{Confirm: confirm})
		f.take(reading(partner, "other", "203.0.113.0/24", "192.0.2.99/32"))
		f.take(reading(partner, "other", "192.0.2.99/32", "198.18.0.0/24"))
		f.expect("the other page", map[string]string{"192.0.2.99": "pass", "203.0.113.7": "drop", "192.0.2.1": "pass"})
		f.rollback()
		for _, when := range []string{"rolled back", "a start after it"} {
			f.expect(when, map[string]string{"192.0.2.99": "drop", "203.0.113.7": "pass", "198.51.100.7": "pass", "192.0.2.1": "drop", "198.18.0.1": "drop"})
			if one, _ := f.status(partner); one.Mark != "first" || one.Entries != 1 {
				t.Errorf("%s: %+v", when, one)
			}
			f.restart()
		}
		f.close()
	}
}

// Promise: what add did over a followed entry remove takes back; the list goes on saying what it
// said, and remove tells which one lets the prefix in.
func TestRemoveOfAddOverAFollowedEntry(t *testing.T) {
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.did(f.add("203.0.113.0/24", "acme"))
	var listing api.Listing
	f.did(f.in(func() (err error) {
		listing, err = f.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{"203.0.113.0/24"}})
		return err
	}))
	if len(listing.Still) != 1 || !strings.Contains(fmt.Sprint(listing.Still), "203.0.113.0/24 acme url:partner") {
		t.Errorf("still listed: %+v", listing.Still)
	}
	f.expect("removed", map[string]string{"203.0.113.7": "pass"})
	all := labtest.Must(f.list(context.Background(), api.ListRequest{}))(t)
	if len(all.Entries) != 1 || !slices.Equal(all.Entries[0].Origins, []policy.Origin{partner}) {
		t.Errorf("left: %+v", all.Entries)
	}
	f.close()
}
