package e2e

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// globex is another customer than the one who is suspended or limited.
var (
	globex       = netip.MustParseAddr("192.0.2.7")
	globexPrefix = netip.MustParsePrefix("192.0.2.0/24")
)

// customersList lists acme, by the clients that every lab has, and globex.
const customersList = "203.0.113.0/24 owner=acme\n2001:db8:a::/48 owner=acme\n192.0.2.0/24 owner=globex\n"

// owner is what is reported of one owner.
func (h *host) owner(name string) api.Owner {
	h.tb.Helper()
	for _, o := range ask[api.Owners](h, "owners").Owners {
		if o.Owner == name {
			return o
		}
	}
	h.tb.Fatalf("owner %s is not there", name)
	return api.Owner{}
}

// Promise: who is suspended is refused at once, by XDP and by the backstop,
// whoever lists him, and stays so through reload, replace, restart, SIGKILL and reboot;
// nobody else notices. What was counted for owners goes the same way.
func TestSuspendedStays(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	if err := b.lab.AddClients(globexPrefix); err != nil {
		t.Fatal(err)
	}
	list := b.file("customers.list", customersList)
	d := b.run("--allow-file", list)
	neighbour := netip.MustParseAddr("203.0.113.8")
	b.must("add", netlab.Listed4.String(), "--owner", "acme") // listed twice, stopped once
	expect := func(stopped ...netip.Addr) {
		t.Helper()
		var clients sync.WaitGroup
		for _, client := range []netip.Addr{netlab.Listed4, netlab.Listed6, neighbour, globex} {
			front, back := netlab.Connected, netlab.Connected
			if slices.Contains(stopped, client) {
				front, back = netlab.Dropped, netlab.Refused
			}
			first, second := b.link().Host4, b.second.Host4
			if client.Is6() {
				first, second = b.link().Host6, b.second.Host6
			}
			clients.Go(func() {
				for server, want := range map[netip.Addr]netlab.Outcome{first: front, second: back} {
					if got, err := b.lab.Wire.Knock(client, netip.AddrPortFrom(server, port), singleSYN); got != want {
						t.Errorf("%s to %s: %s (%v), want %s; stopped are %v", client, server, got, err, want, stopped)
					}
				}
			})
		}
		clients.Wait()
	}
	endure := func(stopped ...netip.Addr) {
		t.Helper()
		expect(stopped...)
		b.must("reload")
		b.feed(netlab.Listed4.String()+" owner=acme note=again\n", "replace", "-")
		expect(stopped...)
		before := b.owner("globex")
		d.kill()
		expect(stopped...)
		d = b.run("--allow-file", list)
		expect(stopped...)
		if after := b.owner("globex"); after.Passed != before.Passed+2 {
			t.Errorf("globex opened %d connections before a SIGKILL and 2 more at the gate, and now %d are counted", before.Passed, after.Passed)
		}
		before = b.owner("acme")
		d.stop()
		b.reboot()
		d = b.run("--allow-file", list)
		if after := b.owner("acme"); after.Passed != before.Passed || after.Refused() != before.Refused() || len(stopped) > 0 && after.Dropped["suspended"] == 0 {
			t.Errorf("counted for acme before a reboot %+v, and after it %+v", before, after)
		}
		expect(stopped...)
	}
	expect()
	b.must("suspend", netlab.Listed4.String(), "--reason", "compromised")
	endure(netlab.Listed4)
	b.must("suspend", "acme")
	b.must("resume", netlab.Listed4.String())
	endure(netlab.Listed4, netlab.Listed6, neighbour)
	b.must("suspend", "2001:db8:a::/64")
	b.must("resume", "acme")
	expect(netlab.Listed6)
	b.must("resume", "2001:db8:a::/64")
	expect()
}

// atPace counts the connections of a client of globex who opens one every 20 ms until ctx
// ends, and catches up when he is late: what other programs do to this machine for a
// moment is not his loss, and a SYN that is dropped is.
func (h *host) atPace(ctx context.Context, to netip.AddrPort) (connected int) {
	h.tb.Helper()
	for next := time.Now(); ctx.Err() == nil; next = next.Add(20 * time.Millisecond) {
		time.Sleep(time.Until(next))
		if outcome, _ := h.lab.Wire.Knock(globex, to, singleSYN); outcome == netlab.Connected {
			connected++
		}
	}
	return connected
}

// Promise: a flood under a limited owner's own addresses costs him alone: he
// gets his rate, and the clients of others keep at least 95 % of theirs. With and without
// the flood in turn, so that what else the machine does falls on both; and over another
// link, for what the flood's own has no room for is not the gate's doing.
func TestLimitedOwnerUnderFlood(t *testing.T) {
	const rate, burst, turns, turn = 200, 20, 8, 400 * time.Millisecond
	h := newHost(t)
	h.serve()
	if err := h.lab.AddClients(globexPrefix); err != nil {
		t.Fatal(err)
	}
	other := labtest.Must(h.lab.AddLink("eth1"))(t)
	h.run("--interface", "eth0,eth1", "--allow-file", h.file("customers.list", customersList))
	h.must("limit", "acme", "200/s", "--burst", "20")
	number := seed(t)
	var arrived uint64
	var flooding time.Duration
	flooded, connections := 0, 0
	// Others of this machine can take the CPU from a few turns; what the flood takes, it takes
	// from all.
	for round := 0; ; round++ {
		var connected [2]int // without, with the flood
		for i := range 2 * turns {
			with := i % 2
			ctx, cancel := context.WithTimeout(context.Background(), turn)
			var flood sync.WaitGroup
			if with == 1 {
				flooded++
				flood.Go(func() {
					f, err := h.link().Flood(ctx, netlab.Flood{Sources: netlab.ListedPrefix4, Target: h.api4(), Rate: 10_000, Seed: number + uint64(flooded)})
					if err != nil {
						t.Error(err)
					}
					arrived += f.Arrived()
					flooding += f.Elapsed
				})
			}
			connected[with] += h.atPace(ctx, netip.AddrPortFrom(other.Host4, port))
			flood.Wait()
			cancel()
		}
		connections += connected[0] + connected[1]
		t.Logf("others: %d connections without, %d with a flood; so far %d SYNs in %v", connected[0], connected[1], arrived, flooding)
		if connected[0] > 0 && connected[1]*100 >= connected[0]*95 {
			break
		}
		if round == 4 {
			t.Fatalf("others: %d connections without, %d with the flood: less than 95 %%, five times", connected[0], connected[1])
		}
	}
	var acme api.Owner
	h.eventually("every SYN of the flood is counted", func() bool {
		acme = h.owner("acme")
		return acme.Passed+acme.Dropped["rate_limited"] == arrived
	})
	fair := rate * flooding.Seconds()
	if got := float64(acme.Passed); got < 0.9*fair || got > 1.1*fair+float64(flooded*burst) {
		t.Errorf("acme opened %v connections in %v, of %d a second and %d at once", got, flooding, rate, burst)
	}
	if globex := h.owner("globex"); globex.Passed < uint64(connections) || globex.Refused() != 0 {
		t.Errorf("globex: %+v, %d connections", globex, connections)
	}
}
