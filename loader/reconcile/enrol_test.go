// This file holds enrolment to: what a customer let in himself is kept and enforced as what was added is,
// ends by itself, and nothing that an operator does or takes back brings it in again.
package reconcile_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// enroller is a gate at which acme may enrol two addresses and globex one.
type enroller struct{ *faulty }

const card = "4711 sha256:0102030405060708"

func newEnroller(t *testing.T) enroller {
	t.Helper()
	e := enroller{&faulty{gate: newGate(t, 1)}}
	e.options.Enrol = enrol.Settings{
		"acme":    {For: time.Hour, Addresses: 2, Services: []string{"api"}},
		"globex":  {For: time.Second, Addresses: 1},
		"initech": {For: time.Hour, Addresses: 1, Services: []string{"mail"}},
	}
	e.options.Allow = []string{"192.0.2.1"} // a list that lets nobody in would not start
	e.put(nil)
	return e
}

func (e enroller) ask(owner, address string) (enrol.Decision, error) {
	return e.engine.Enrol(context.Background(), api.Caller{UID: 64010}, enrol.Request{
		Owner: owner, Address: netip.MustParseAddr(address), Certificate: card,
	})
}

func (e enroller) enrols(owner, address, result string) enrol.Answer {
	e.Helper()
	d, err := e.ask(owner, address)
	if err != nil || d.Result != result {
		e.Fatalf("%s from %s: %q, %v, want %s", owner, address, d.Result, err, result)
	}
	return d.Answer
}

func (e enroller) refuses(owner, address, result string) {
	e.Helper()
	_, err := e.ask(owner, address)
	if refused, ok := errors.AsType[*enrol.Refused](err); !ok || refused.Result != result {
		e.Errorf("%s from %s: %v, want %s", owner, address, err, result)
	}
}

func (e enroller) verdict(address string) (verdict string) {
	e.Helper()
	e.inHost(func() {
		results := labtest.Must(e.engine.Check(context.Background(), []netip.Addr{netip.MustParseAddr(address)}, nil))(e.T)
		verdict = results[0].Verdict
	})
	return verdict
}

func (e enroller) inHost(fn func()) {
	e.Helper()
	if err := e.lab.Host.Do(func() error { fn(); return nil }); err != nil {
		e.Fatal(err)
	}
}

// prefixes is how many there are on the list, ended ones too.
func (e enroller) prefixes() int {
	e.Helper()
	return len(labtest.Must(e.list(context.Background(), api.ListRequest{}))(e.T).Entries)
}

// history is the commands of the history, the newest last.
func (e enroller) history() (commands []string) {
	e.Helper()
	for _, r := range labtest.Must(e.engine.History(context.Background(), 0))(e.T).Changes {
		commands = append(commands, r.Command)
	}
	return commands
}

// Promise: an enrolled address is let in until it ends, over a restart, a reboot and the loss of either copy
// of the state; the history names the certificate, and the list the origin.
func TestEnrolledIsKept(t *testing.T) {
	e := newEnroller(t)
	e.open()
	e.expect("before", map[string]string{"203.0.113.7": "drop"})
	if a := e.enrols("acme", "203.0.113.7", enrol.Enrolled); a.Left != 1 || a.Prefix.String() != "203.0.113.7/32" || time.Until(a.Until) > time.Hour {
		t.Errorf("the answer is %+v", a)
	}
	e.enrols("acme", "2001:db8:0:7::9", enrol.Enrolled)
	want := map[string]string{"203.0.113.7": "pass", "203.0.113.8": "drop", "2001:db8:0:7:1::": "pass", "2001:db8:0:8::9": "drop"}
	e.expect("enrolled", want)
	e.enrols("acme", "203.0.113.7", enrol.Standing)
	commands := e.history()
	if last := commands[len(commands)-1]; last != "enrol acme 2001:db8:0:7::/64" {
		t.Errorf("the history ends with %q", last)
	}
	records := labtest.Must(e.engine.History(context.Background(), 1))(t).Changes
	if r := records[0]; r.UID != 64010 || r.Reason != card {
		t.Errorf("the history has %+v", r)
	}
	listing, err := e.list(context.Background(), api.ListRequest{Owner: "acme"})
	if err != nil || len(listing.Entries) != 2 || listing.Entries[0].Note != card || listing.Entries[0].Origins[0] != policy.OriginEnrol {
		t.Errorf("the list has %+v, %v", listing.Entries, err)
	}
	status := labtest.Must(e.engine.Snapshot(context.Background()))(t)
	if status.Expiring != 0 {
		t.Errorf("%d entries end soon: who enrols sees to that", status.Expiring)
	}
	e.close()
	e.open()
	e.expect("after a restart", want)
	if a := e.enrols("acme", "203.0.113.9", enrol.Enrolled); a.Left != 0 || len(a.Replaced) != 1 || a.Replaced[0].String() != "203.0.113.7/32" {
		t.Errorf("one over the quota, after a restart: %+v", a)
	}
	want["203.0.113.7"], want["203.0.113.9"] = "drop", "pass"
	e.expect("the oldest is replaced", want)
	e.close()
	files := e.files()
	for _, name := range []string{"", "state.db", "effective.list"} {
		left := map[string][]byte{}
		for file, content := range files {
			if file != name {
				left[file] = content
			}
		}
		e.reboot(left)
		e.open()
		e.expect("after a reboot without "+name, want)
		e.close()
	}
}

// Promise: who is stopped cannot enrol, and what he has enrolled is stopped; what another owner has nobody
// takes; a service that is not there lets nobody in; a change that waits for its confirmation keeps nobody
// out, and its rollback takes nobody's address.
func TestEnrolmentBesideOperators(t *testing.T) {
	e := newEnroller(t)
	e.open()
	ctx, root := context.Background(), api.Caller{}
	e.enrols("acme", "203.0.113.7", enrol.Enrolled)
	e.refuses("initech", "203.0.113.8", enrol.Failed)
	e.refuses("hooli", "203.0.113.8", enrol.UnknownOwner)
	e.refuses("globex", "203.0.113.7", enrol.Taken)
	e.must(e.engine.Add(ctx, root, api.AddRequest{Prefixes: []string{"203.0.113.9/32"}, Owner: "umbrella"}))
	e.refuses("acme", "203.0.113.9", enrol.Taken)
	e.must(e.engine.Suspend(ctx, root, api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}))
	e.refuses("acme", "203.0.113.7", enrol.Suspended)
	e.refuses("acme", "203.0.113.10", enrol.Suspended)
	e.refuses("globex", "203.0.113.7", enrol.Suspended) // where acme was
	e.expect("suspended", map[string]string{"203.0.113.7": "drop", "203.0.113.10": "drop"})
	e.must(e.engine.Resume(ctx, root, api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}))
	e.expect("resumed", map[string]string{"203.0.113.7": "pass"})

	e.must(e.engine.Replace(ctx, root, api.ReplaceRequest{Name: "-", Text: "198.51.100.0/24\n", Confirm: "1h"}))
	e.enrols("acme", "203.0.113.8", enrol.Enrolled)
	e.must(e.engine.Rollback(ctx, root, api.RollbackRequest{}))
	e.expect("rolled back", map[string]string{"203.0.113.7": "pass", "203.0.113.8": "pass", "203.0.113.9": "pass", "198.51.100.7": "drop"})
	_, err := e.engine.Remove(ctx, root, api.RemoveRequest{Prefixes: []string{"203.0.113.8/32"}})
	if refused, ok := errors.AsType[*policy.Refused](err); !ok || !strings.Contains(refused.What, "enrol") || refused.Hint != "xdpallow suspend 203.0.113.8/32" {
		t.Errorf("remove of what was enrolled: %v", err)
	}
	e.close()
}

// Promise: what has ended is dropped by the kernel, and leaves the list and the database an hour later; a
// renewal moves the end, and is not in the history.
func TestEnrolledEnds(t *testing.T) {
	e := newEnroller(t)
	e.open()
	e.enrols("acme", "203.0.113.7", enrol.Enrolled)
	e.enrols("globex", "203.0.113.8", enrol.Enrolled)
	for deadline := time.Now().Add(time.Minute); e.verdict("203.0.113.8") != "drop"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was enrolled for a second does not end")
		}
	}
	before := len(e.history())
	step := func(by time.Duration) {
		reconcile.StepClock(by)
		t.Cleanup(func() { reconcile.StepClock(-by) })
		e.inHost(e.engine.FollowClock)
		e.engine.Due()
	}
	step(45 * time.Minute)
	a := e.enrols("acme", "203.0.113.7", enrol.Renewed)
	if left := time.Until(a.Until); left < 100*time.Minute {
		t.Errorf("renewed after 45m for an hour, it ends in %v", left)
	}
	if n := len(e.history()); n != before {
		t.Errorf("a renewal makes %d lines of history", n-before)
	}
	if n := e.prefixes(); n != 3 {
		t.Errorf("%d prefixes before the hour is over, want 3", n)
	}
	step(45 * time.Minute)
	if n := e.prefixes(); n != 2 {
		t.Errorf("%d prefixes after the hour is over, want 2", n)
	}
	e.expect("the renewed one", map[string]string{"203.0.113.7": "pass", "203.0.113.8": "drop"})
	if n := len(e.history()); n != before {
		t.Errorf("what ended by itself makes %d lines of history", n-before)
	}
	e.close()
	e.open()
	if n := e.prefixes(); n != 2 {
		t.Errorf("%d prefixes after a restart, want 2", n)
	}
	e.close()
}

// Promise: to enrol takes about as long among 300,000 entries as among a thousand, however many customers have.
func TestEnrolSize(t *testing.T) {
	gates := []*gate{newGate(t, 1000), newGate(t, 300_000)}
	var took [2][]time.Duration
	for _, g := range gates {
		g.options.Enrol = enrol.Settings{"acme": {For: time.Hour, Addresses: 100}}
		g.start()
	}
	for i := range 121 {
		for j, g := range gates {
			begin := time.Now()
			if _, err := g.engine.Enrol(context.Background(), api.Caller{}, enrol.Request{
				Owner: "acme", Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), Certificate: card,
			}); err != nil {
				t.Fatal(err)
			}
			if i > 0 { // the first looks at all entries
				took[j] = append(took[j], time.Since(begin))
			}
		}
	}
	few, many := median(took[0]), median(took[1])
	t.Logf("to enrol takes %v among a thousand, %v among 300,000", few, many)
	if many > 3*few {
		t.Errorf("to enrol takes %v among 300,000 entries, which is more than 3 times the %v among a thousand", many, few)
	}
}

// Promise: a host that waits for its customers to enrol starts, shut, though nobody is listed yet.
func TestFirstBootBeforeAnybodyEnrols(t *testing.T) {
	e := newEnroller(t)
	e.options.Allow = nil
	e.open()
	e.expect("nobody yet", map[string]string{"203.0.113.7": "drop"})
	e.enrols("acme", "203.0.113.7", enrol.Enrolled)
	e.expect("one", map[string]string{"203.0.113.7": "pass", "203.0.113.8": "drop"})
	e.close()
}
