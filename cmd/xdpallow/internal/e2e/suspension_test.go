package e2e

// This file is what edits do to somebody who is stopped, limited or cut: an owner is a
// label in a list, and a thief sits in a network.

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// meets expects what becomes of one SYN from each client.
func (h *host) meets(when string, want map[netip.Addr]netlab.Outcome) {
	h.tb.Helper()
	for client, outcome := range want {
		wait := singleSYN
		if outcome == netlab.Dropped {
			wait = 300 * time.Millisecond
		}
		if got, err := h.lab.Wire.Knock(client, h.api4(), wait); got != outcome {
			h.tb.Errorf("%s: %s is %s (%v), want %s", when, client, got, err, outcome)
		}
	}
}

// Promise: whoever is suspended stays out whatever is done to the list: his prefix added
// again for others, for nobody, narrower or wider, or his name taken out of the file. At
// `resume` the list says again who connects.
func TestSuspendedStaysWhateverIsEdited(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	if err := h.lab.AddClients(globexPrefix); err != nil {
		t.Fatal(err)
	}
	file := h.file("acme.list", "")
	args := []string{"--allow-file", file, "--allow", globexPrefix.String()}
	d := h.run(args...)
	his, list := netlab.ListedPrefix4.String(), func(text string) { h.file("acme.list", text) }
	inFile := func(text string) func() {
		return func() { list(text); h.must("reload") }
	}
	added := func(add ...string) func() {
		return func() { h.must(append([]string{"add"}, add...)...) }
	}
	moved := func(add ...string) func() {
		return func() { h.must("remove", his); h.must(append([]string{"add"}, add...)...) }
	}
	for _, way := range []struct {
		name   string
		listed bool // in the file, and not by add
		edit   func()
	}{
		{"a host of no owner", true, added("203.0.113.7")},
		{"a host of another", true, added("203.0.113.7", "--owner", "globex")},
		{"a network of another", true, added("203.0.113.0/29", "--owner", "globex")},
		{"the name edited out of the file", true, inFile(his + "\n")},
		{"another name in the file", true, inFile(his + " owner=globex\n")},
		{"another network in the file", true, inFile("203.0.112.0/22 owner=globex\n")},
		{"the file of the next start", true, func() { d.stop(); list(his + "\n"); d = h.run(args...) }},
		{"for another", false, moved(his, "--owner", "globex")},
		{"for nobody", false, moved(his)},
		{"wider, for another", false, moved("203.0.112.0/22", "--owner", "globex")},
		{"replaced", false, func() { h.feed("203.0.112.0/22\n203.0.113.7\n", "replace", "-") }},
	} {
		clean := "192.0.2.7 owner=globex\n"
		if way.listed {
			clean += his + " owner=acme\n"
		}
		list(clean)
		h.must("reload")
		if r := h.feed("198.51.100.1\n", "replace", "-"); r.code != 0 {
			t.Fatal(r.stderr)
		}
		if !way.listed {
			h.must("add", his, "--owner", "acme")
		}
		h.meets(way.name+", before", map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Connected})
		h.must("suspend", "acme", "--reason", "stolen key")
		way.edit()
		h.meets(way.name+", suspended", map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Dropped, globex: netlab.Connected})
		d.kill()
		d = h.run(args...)
		h.meets(way.name+", suspended and killed", map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Dropped, globex: netlab.Connected})
		h.must("resume", "acme")
		h.meets(way.name+", resumed", map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Connected})
	}
}

// Promise: a host that is listed without an owner inside a customer's network is the
// customer's, for suspend, limit and cut; a host of another owner is not.
func TestHostWithoutOwnerIsTheNetworks(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run("--allow-file", h.file("acme.list", "203.0.113.0/29 owner=acme\n203.0.113.7\n203.0.113.6 owner=globex\n"))
	own, nobodys, others := netip.MustParseAddr("203.0.113.5"), netlab.Listed4, netip.MustParseAddr("203.0.113.6")
	all := func(own, nobodys, others netlab.Outcome) map[netip.Addr]netlab.Outcome {
		return map[netip.Addr]netlab.Outcome{netip.MustParseAddr("203.0.113.5"): own, netlab.Listed4: nobodys, netip.MustParseAddr("203.0.113.6"): others}
	}
	h.meets("listed", all(netlab.Connected, netlab.Connected, netlab.Connected))

	h.must("suspend", "acme")
	h.meets("suspended", all(netlab.Dropped, netlab.Dropped, netlab.Connected))
	h.must("resume", "acme")
	h.meets("resumed", all(netlab.Connected, netlab.Connected, netlab.Connected))

	h.must("limit", "acme", "1/d", "--burst", "1")
	h.meets("limited", map[netip.Addr]netlab.Outcome{nobodys: netlab.Connected})
	h.meets("limited, and used up by the host", all(netlab.Dropped, netlab.Dropped, netlab.Connected))
	h.must("limit", "acme", "none")

	for _, client := range []netip.Addr{own, nobodys, others} {
		conn := h.hold(client, h.api4())
		n := ask[api.CutResult](h, "cut", "acme").Cut
		if want := client != others; isCut(conn) != want || (n == 1) != want {
			t.Errorf("cut acme: %d connections, the one of %s is cut: %v, want %v", n, client, !want, want)
		}
	}
	if o := h.owner("acme"); o.Passed < 4 || o.Dropped["suspended"] != 2 || o.Dropped["rate_limited"] != 2 {
		t.Errorf("counted for acme: %+v", o)
	}
}

// Promise: a change that waits for its confirmation keeps nobody from suspending, limiting
// or cutting; what was done stays when the change is rolled back, and when it is confirmed.
func TestSuspendWhileAChangeWaits(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	if err := h.lab.AddClients(globexPrefix); err != nil {
		t.Fatal(err)
	}
	list := h.file("customers.list", customersList)
	d := h.run("--allow-file", list)
	for _, end := range []string{"confirm", "rollback", "too late"} {
		before := string(labtest.Must(os.ReadFile(list))(t))
		h.file("customers.list", before+"198.51.100.0/24 owner=initech\n")
		window := "60s"
		if end == "too late" {
			window = "3s"
		}
		h.must("reload", "--confirm", window)
		if r := h.cli("add", "192.0.2.200"); r.code != 1 {
			t.Fatalf("%s: another change is made: %+v", end, r)
		}
		h.must("suspend", "acme", "--reason", "stolen key")
		h.must("limit", "globex", "1/d", "--burst", "1")
		h.must("cut", "acme")
		h.meets(end+", while it waits", map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Dropped})
		d.kill()
		d = h.run("--allow-file", list)
		if end == "too late" {
			h.eventually("nobody confirms", func() bool { return h.status().Confirm == nil })
		} else {
			h.must(end)
		}
		added := h.cli("list", "--owner", "initech").stdout
		if kept := strings.Contains(added, "198.51.100.0/24"); kept != (end == "confirm") {
			t.Errorf("%s: the reload stands: %v", end, kept)
		}
		h.meets(end, map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Dropped})
		if o := h.owner("globex"); o.Limit == nil {
			t.Errorf("%s: globex has no limit", end)
		}
		d.kill()
		d = h.run("--allow-file", list)
		h.meets(end+", killed", map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Dropped})
		h.must("resume", "acme")
		h.must("limit", "globex", "none")
		h.meets(end+", resumed", map[netip.Addr]netlab.Outcome{netlab.Listed4: netlab.Connected, globex: netlab.Connected})
		h.file("customers.list", customersList)
		h.must("reload")
	}
}

// Promise: who cut connections and why stands in the history; to cut or to suspend
// nearly everybody is refused unless it is said twice.
func TestCutIsAccountedFor(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(allowed...)
	conn := h.hold(netlab.Listed4, h.api4())
	for _, args := range [][]string{{"cut", "0.0.0.0/0"}, {"suspend", "0.0.0.0/0"}, {"suspend", "202.0.0.0/7"}, {"cut", "2001::/16"}} {
		r := h.cli(args...)
		if r.code != 1 || !strings.Contains(r.stderr, "is wider than /") || !strings.Contains(r.stderr, "--allow-any") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if isCut(conn) {
		t.Fatal("what was refused has cut a connection")
	}
	h.must("suspend", "203.0.113.0/24")
	h.must("resume", "203.0.113.0/24")
	h.must("cut", "0.0.0.0/0", "--allow-any", "--reason", "OPS-7, everybody out")
	if !isCut(conn) {
		t.Error("the connection is open")
	}
	last := ask[api.History](h, "history").Changes
	if c := last[len(last)-1]; !strings.HasPrefix(c.Command, "cut ") || c.Reason != "OPS-7, everybody out" || c.Before != c.After {
		t.Errorf("the last of the history is %+v", c)
	}
}
