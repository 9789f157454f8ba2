// This file holds suspensions and limits beside lists that are kept elsewhere to a model: what an operator
// takes back, and what a page says meanwhile.
package reconcile_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// operated is what an operator said, in the words of a model: prefixes that do not lie in each other.
type operated struct {
	made   map[string]string          // prefix: owner
	held   map[string]map[string]bool // suspended owner: what was his meanwhile
	limits map[string]bool
}

func (o operated) clone() operated {
	c := operated{maps.Clone(o.made), map[string]map[string]bool{}, maps.Clone(o.limits)}
	for owner, held := range o.held {
		c.held[owner] = maps.Clone(held)
	}
	return c
}

// besideReadings is a gate beside what was said to it: by an operator, and by a page.
type besideReadings struct {
	follower
	now   operated
	read  map[string]string
	back  *operated // what a rollback leads to; nil: there is nothing to take back
	waits bool
	made  map[string]int // changes
}

// owner is whose p is; what add says stands.
func (b *besideReadings) owner(p string) string { return cmp.Or(b.now.made[p], b.read[p]) }

// hold has suspensions hold what is their owners' now.
func (b *besideReadings) hold() {
	for owner, held := range b.now.held {
		for _, p := range besidePrefixes {
			if b.owner(p) == owner {
				held[p] = true
			}
		}
	}
}

func (b *besideReadings) want(p string) string {
	owner := b.owner(p)
	if owner == "" || b.now.held[owner] != nil {
		return "drop"
	}
	for _, held := range b.now.held {
		if held[p] {
			return "drop"
		}
	}
	return "pass"
}

// did notes a change of an operator. aside is of an owner, who is what he is after a rollback, too.
func (b *besideReadings) did(before operated, aside string) {
	switch {
	case aside == "" || !b.waits:
		b.back = &before
	case b.back != nil:
		delete(b.back.held, aside)
		if held, stopped := b.now.held[aside]; stopped {
			b.back.held[aside] = maps.Clone(held)
		}
		delete(b.back.limits, aside)
		if b.now.limits[aside] {
			b.back.limits[aside] = true
		}
	}
}

// rolledBack has the model take the last change back. What a page has said, and was held for it, stays.
func (b *besideReadings) rolledBack() {
	was, old := b.now, map[string]string{}
	for _, p := range besidePrefixes {
		old[p] = b.owner(p)
	}
	b.now, b.back, b.waits = b.back.clone(), nil, false
	for owner, held := range b.now.held {
		for p := range was.held[owner] {
			if b.owner(p) == old[p] {
				held[p] = true
			}
		}
	}
	b.hold()
}

const besideAlways = "192.0.2.200 owner=globex\n192.0.2.201 owner=acme\n" // so that both are known

var besidePrefixes = []string{"203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"}

// Promise: rollback takes back what the operator did, with or without a confirmation that did
// not come, suspensions and limits too, and nothing of what was read meanwhile; who is suspended stays
// out with all that was his. A restart in between changes nothing.
func TestRollbackOfOverridesBesideReadings(t *testing.T) {
	b := &besideReadings{follower: newFollower(t), made: map[string]int{}}
	b.open()
	b.take(of("initech", reading(branch, "always", "198.51.100.0/24"))) // so that neither list is ever empty
	b.take(of("initech", reading(partner, "always", "192.0.2.0/24")))
	rapid.Check(t, func(t *rapid.T) {
		b.begin(t)
		for range rapid.IntRange(4, 20).Draw(t, "steps") {
			b.step(t)
			b.compare(t)
		}
	})
	t.Logf("changes %v", b.made)
	for _, verb := range []string{"read", "replace", "rollback", "confirm", "restart", "suspend", "resume", "limit"} {
		if b.made[verb] == 0 {
			t.Errorf("no %s was made: the test shows less than it says", verb)
		}
	}
	b.close()
}

// begin takes back all that was said.
func (b *besideReadings) begin(t *rapid.T) {
	_, status := b.status(partner)
	owners, err := b.engine.Owners(background)
	if status.Confirm != nil {
		_, confirmErr := b.engine.Confirm(background, api.Caller{}, api.ConfirmRequest{})
		err = errors.Join(err, confirmErr)
	}
	for _, s := range status.Suspended {
		err = errors.Join(err, b.resume(s.Subject))
	}
	for _, o := range owners.Owners {
		if o.Limit != nil {
			_, limitErr := b.engine.Limit(background, api.Caller{}, api.LimitRequest{Owner: o.Owner})
			err = errors.Join(err, limitErr)
		}
	}
	edit := policy.Edit{}
	for _, c := range b.claims(partner) {
		if c.Owner != "initech" {
			edit.Remove = append(edit.Remove, c.Key())
		}
	}
	b.do(t, "begin anew", func() error {
		return errors.Join(err, b.engine.Take(source.Reading{Origin: partner, Edit: &edit, Why: "begin"}), b.replace(besideAlways))
	})
	b.now, b.read, b.back, b.waits = operated{map[string]string{}, map[string]map[string]bool{}, map[string]bool{}}, map[string]string{}, nil, false
}

func (b *besideReadings) do(t *rapid.T, what string, change func() error) {
	t.Helper()
	if err := b.lab.Host.Do(change); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// step makes one change, and has the model follow it.
func (b *besideReadings) step(t *rapid.T) {
	owner, p := rapid.SampledFrom([]string{"acme", "globex"}).Draw(t, "owner"), rapid.SampledFrom(besidePrefixes).Draw(t, "prefix")
	before := b.now.clone()
	verb := rapid.SampledFrom([]string{"rollback", "resume", "confirm", "limit", "suspend", "read", "replace", "read", "restart"}).Draw(t, "verb")
	_, stopped := b.now.held[owner]
	switch verb {
	case "read":
		edit := &policy.Edit{}
		if one := adds(owner, partner, p).Edit.Put; b.read[p] == owner {
			edit.Remove = []policy.ClaimKey{one[0].Key()}
			delete(b.read, p)
		} else {
			edit.Put, b.read[p] = one, owner
		}
		b.hold()
		b.do(t, verb, func() error { return b.engine.Take(source.Reading{Origin: partner, Edit: edit, Why: p}) })
	case "replace":
		if b.waits || b.now.made[p] == owner && len(b.now.made) == 1 || b.now.made[p] == "" && b.read[p] != "" && b.read[p] != owner {
			return // it waits, changes nothing, or would take p from its owner
		}
		r := api.ReplaceRequest{Name: "list", Text: fmt.Sprintf("%s%s owner=%s\n", besideAlways, p, owner), ForceShrink: true}
		wait := rapid.Bool().Draw(t, "waits")
		if wait {
			r.Confirm = "1h"
		}
		b.do(t, verb, func() error { _, err := b.engine.Replace(background, api.Caller{}, r); return err })
		b.now.made = map[string]string{p: owner}
		b.hold()
		b.did(before, "")
		b.waits = wait && b.waiting()
	case "suspend", "resume":
		if stopped == (verb == "suspend") {
			return
		}
		if verb == "suspend" {
			b.now.held[owner] = map[string]bool{}
			b.do(t, verb, func() error { return b.suspend(owner) })
		} else {
			delete(b.now.held, owner)
			b.do(t, verb, func() error { return b.resume(owner) })
		}
		b.hold()
		b.did(before, owner)
	case "limit":
		r := api.LimitRequest{Owner: owner, Limit: api.Limit{PerSecond: 5}}
		if b.now.limits[owner] {
			delete(b.now.limits, owner)
			r.PerSecond = 0
		} else {
			b.now.limits[owner] = true
		}
		b.do(t, verb, func() error { _, err := b.engine.Limit(background, api.Caller{}, r); return err })
		b.did(before, owner)
	case "rollback":
		if b.back == nil {
			return
		}
		b.do(t, verb, func() error {
			_, err := b.engine.Rollback(background, api.Caller{}, api.RollbackRequest{Force: policy.Force{ForceShrink: true, AllowEmpty: true}})
			return err
		})
		b.rolledBack()
	case "confirm":
		if !b.waits {
			return
		}
		b.do(t, verb, func() error { _, err := b.engine.Confirm(background, api.Caller{}, api.ConfirmRequest{}); return err })
		b.waits = false
	case "restart":
		b.restart()
	}
	b.made[verb]++
}

// compare holds verdicts and limits to the model.
func (b *besideReadings) compare(t *rapid.T) {
	want := map[string]string{"198.51.100.1": "pass"}
	for _, p := range besidePrefixes {
		want[strings.TrimSuffix(p, "/32")] = b.want(p)
	}
	b.expect(fmt.Sprintf("said %+v, read %v", b.now, b.read), want)
	owners, err := b.engine.Owners(background)
	if err != nil {
		t.Fatal(err)
	}
	limits := map[string]bool{}
	for _, o := range owners.Owners {
		if o.Limit != nil {
			limits[o.Owner] = true
		}
	}
	if !maps.Equal(limits, b.now.limits) {
		t.Fatalf("limits of %v, want %v", limits, b.now.limits)
	}
	if b.Failed() {
		t.FailNow()
	}
}
