package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

var background = context.Background()

// opens sends a SYN from source to the API; whether it passes is for the gate.
func (g *gate) opens(source string) {
	g.Helper()
	link := g.lab.Link("eth0")
	syn := labtest.Must(link.SYN(netip.AddrPortFrom(netip.MustParseAddr(source), 40000), netip.AddrPortFrom(link.Host4, 8443)))(g.T)
	if err := link.Send(syn); err != nil {
		g.Fatal(err)
	}
}

// owner is what is reported of one owner.
func (g *gate) owner(name string) api.Owner {
	g.Helper()
	for _, o := range labtest.Must(g.engine.Owners(background))(g.T).Owners {
		if o.Owner == name {
			return o
		}
	}
	g.Fatalf("owner %s is not there", name)
	return api.Owner{}
}

// counts waits for what an owner's openings come to: a veth polls in its own time.
func (g *gate) counts(name string, passed, dropped uint64) {
	g.Helper()
	var o api.Owner
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if o = g.owner(name); o.Passed == passed && o.Refused() == dropped {
			return
		}
	}
	g.Fatalf("%s: %+v, want %d passed and %d dropped", name, o, passed, dropped)
}

// owned adds lines, all or none.
func (g *gate) owned(lines ...string) error {
	_, err := g.engine.Add(background, api.Caller{}, api.AddRequest{Prefixes: lines})
	if err == nil {
		g.entries += len(lines)
	}
	return err
}

// Promise: 4,096 owners or more have counters, limits and suspensions of their
// own. The number of one who is gone is given to another, who inherits nothing; one who
// is suspended keeps his. What does not fit is refused, and changes nothing.
func TestManyOwners(t *testing.T) {
	g := newGate(t, 1)
	g.start()
	lines := func(from, to int) (lines []string) {
		for i := from; i < to; i++ {
			lines = append(lines, fmt.Sprintf("198.18.%d.%d owner=o-%d", i>>8, i&255, i))
		}
		return lines
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(g.owned(lines(0, maps.MaxOwners-1)...)) // acme-0 is there as well
	last := maps.MaxOwners - 2
	g.opens("198.18.0.7")
	g.opens("198.18.0.8")
	labtest.Must(g.engine.Suspend(background, api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: fmt.Sprint("o-", last)}}))(t)
	labtest.Must(g.engine.Suspend(background, api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: "o-9"}}))(t)
	g.opens(fmt.Sprintf("198.18.%d.%d", last>>8, last&255))
	g.counts("o-7", 1, 0)
	g.counts("o-8", 1, 0)
	g.counts(fmt.Sprint("o-", last), 0, 1)
	if n := len(labtest.Must(g.engine.Owners(background))(t).Owners); n != maps.MaxOwners {
		t.Fatalf("%d owners are shown, want %d", n, maps.MaxOwners)
	}

	var refused *policy.Refused
	generation := labtest.Must(g.engine.Snapshot(background))(t).Generation
	if err := g.owned("198.19.0.1 owner=late"); !errors.As(err, &refused) {
		t.Fatalf("one owner too many: %v", err)
	}
	if s := labtest.Must(g.engine.Snapshot(background))(t); s.Generation != generation || s.Entries != g.entries {
		t.Errorf("what was refused led to generation %d with %d entries", s.Generation, s.Entries)
	}

	for _, gone := range []string{"198.18.0.7", "198.18.0.9"} {
		labtest.Must(g.engine.Remove(background, api.Caller{}, api.RemoveRequest{Prefixes: []string{gone}}))(t)
		g.entries--
	}
	if err := g.owned("198.19.0.1 owner=one", "198.19.0.2 owner=two"); !errors.As(err, &refused) {
		t.Fatalf("o-9 has gone, but his suspension stands: %v", err)
	}
	must(g.owned("198.19.0.1 owner=late"))
	g.counts("late", 0, 0)
	g.opens("198.19.0.1")
	g.counts("late", 1, 0)
	g.counts("o-8", 1, 0)

	g.stop()
	g.start()
	g.counts("late", 1, 0)
	g.counts("o-8", 1, 0)
	g.counts(fmt.Sprint("o-", last), 0, 1)
	g.opens(fmt.Sprintf("198.18.%d.%d", last>>8, last&255))
	g.counts(fmt.Sprint("o-", last), 0, 2)
}
