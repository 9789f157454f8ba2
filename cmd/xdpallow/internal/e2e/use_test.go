package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

// used is what list says of the use of one prefix.
func (h *host) used(prefix string) (use struct {
	Hits          uint64
	LastSeen      time.Time
	FirstEnforced time.Time
},
) {
	h.tb.Helper()
	for _, e := range ask[api.Listing](h, "list").Entries {
		if e.Prefix.String() != prefix {
			continue
		}
		use.Hits = e.Hits
		if e.LastSeen != nil {
			use.LastSeen = *e.LastSeen
		}
		if e.FirstEnforced != nil {
			use.FirstEnforced = *e.FirstEnforced
		}
		return use
	}
	h.tb.Fatalf("%s is not listed", prefix)
	return use
}

// Promise: who was seen when, and how often, is kept over patch, publish, restart,
// SIGKILL and reboot, and counted once; who is removed and added again is new.
func TestUseIsKept(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	customer := netlab.UnlistedPrefix4.String()
	knocks := uint64(0)
	knock := func() {
		t.Helper()
		h.oneSYN(netlab.Unlisted4, h.api4(), netlab.Connected)
		knocks++
	}
	many := filepath.Join(h.dir, "many.list")
	write(t, many, "192.0.2.0/24\n")
	flags := append([]string{"--allow-file", many}, allowed...)
	d := h.run(flags...)
	before := time.Now().Truncate(time.Second)
	h.must("add", customer, "--owner", "acme")
	first := h.used(customer).FirstEnforced
	if first.Before(before) || first.After(time.Now()) {
		t.Errorf("first enforced at %v, added at %v", first, before)
	}
	expect := func(when string) {
		t.Helper()
		use := h.used(customer)
		if use.Hits != knocks || !use.FirstEnforced.Equal(first) || time.Since(use.LastSeen) > time.Minute || use.LastSeen.After(time.Now().Add(time.Second)) {
			t.Fatalf("%s: %+v, want %d hits since %v", when, use, knocks, first)
		}
	}
	knock()
	knock()
	expect("at first")
	for round := range 2 {
		h.must("add", customer, "--owner", "acme", "--note", fmt.Sprint("round ", round))
		expect("after a patch")
		knock()
		var text strings.Builder
		for i := range 100 + round {
			fmt.Fprintf(&text, "192.0.2.%d\n", i)
		}
		write(t, many, text.String())
		h.must("reload", "--force-shrink")
		expect("after a publish")
		knock()
		expect("after a publish and a knock")
		d.stop()
		expect("while no daemon runs")
		knock()
		expect("without a daemon")
		d = h.run(flags...)
		expect("after a restart")
		d.kill()
		knock()
		d = h.run(flags...)
		expect("after a SIGKILL")
		knock()
		d.stop()
		h.reboot()
		d = h.run(flags...)
		expect("after a reboot")
		knock()
		expect("after a reboot and a knock")
	}

	h.must("remove", customer)
	time.Sleep(time.Until(first.Add(1100 * time.Millisecond))) // it says seconds
	h.must("add", customer)
	if use := h.used(customer); use.Hits != 0 || !use.LastSeen.IsZero() || !use.FirstEnforced.After(first) {
		t.Errorf("added again: %+v", use)
	}
	d.stop()
	h.run(flags...)
	if use := h.used(customer); use.Hits != 0 || !use.LastSeen.IsZero() || !use.FirstEnforced.After(first) {
		t.Errorf("added again, after a restart: %+v", use)
	}
}

// Promise: a checkpoint takes what the kernel counts to disk while the daemon runs, so
// that a host that loses power forgets only what came after it.
func TestUseIsCheckpointed(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	h.oneSYN(netlab.Listed4, h.api4(), netlab.Connected)
	want := h.used(netlab.ListedPrefix4.String())
	database := filepath.Join(h.state(), "state.db")
	size := func() int64 {
		info, err := os.Stat(database)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime().UnixNano()
	}
	written := size()
	h.eventually("a checkpoint", func() bool { return size() != written })
	time.Sleep(100 * time.Millisecond)
	d.kill()
	h.reboot()
	h.run(allowed...)
	got := h.used(netlab.ListedPrefix4.String())
	if diff := gocmp.Diff(want.Hits, got.Hits); diff != "" || got.LastSeen.IsZero() || got.FirstEnforced.IsZero() {
		t.Errorf("after losing power: %+v, want %+v", got, want)
	}
}

// Promise: list --unused counts from when an entry was first enforced, leaves out who
// was seen and who has a connection open however long ago he opened it, and says both;
// what it prints, remove takes.
func TestUnused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(allowed...)
	const quiet, idle = "192.0.2.0/24", "198.51.100.0/24"
	unused := func(within string) (prefixes []string) {
		t.Helper()
		for line := range strings.Lines(h.must("list", "--unused", within, "-o", "text")) {
			prefixes = append(prefixes, strings.Fields(line)[0])
		}
		return prefixes
	}
	h.must("add", quiet, idle, "--owner", "acme")
	open := h.connect(netlab.Unlisted4, h.api4())
	if got := unused("1m"); len(got) > 0 {
		t.Errorf("added just now, and unused for a minute: %v", got)
	}
	time.Sleep(2100 * time.Millisecond)
	h.oneSYN(netlab.Listed4, h.api4(), netlab.Connected)
	want := []string{quiet, netlab.ListedPrefix6.String()}
	if diff := gocmp.Diff(want, unused("2s")); diff != "" {
		t.Errorf("unused for two seconds (-want +got)\n%s", diff)
	}
	r := h.cli("list", "--unused", "2s")
	for _, says := range []string{
		"xdpallow: not seen for 2s, counted from when an entry was first enforced\n",
		"xdpallow: left out, with a connection open now: " + idle + "\n",
	} {
		if !strings.Contains(r.stderr, says) {
			t.Errorf("list --unused does not say %q: %+v", says, r)
		}
	}
	if listing := ask[api.Listing](h, "list", "--unused", "2s"); len(listing.Connected) != 1 || listing.Connected[0].String() != idle {
		t.Errorf("connected: %v", listing.Connected)
	}
	open.CloseIdleConnections()
	h.eventually("the connection ends", func() bool { return len(unused("2s")) == 3 })
	if r := h.feed(h.must("list", "--unused", "2s", "--owner", "acme", "-o", "text"), "remove", "-"); r.code != 0 || strings.Contains(h.must("list"), "acme") {
		t.Errorf("list --unused | remove -: %+v", r)
	}
}

// Promise: a rollback brings back how entries were used as well, for by that one is warned
// whom a change cuts off: at once, of a change that nobody confirmed, and by a daemon that
// has started since. Who is removed and added again, and not rolled back, is new.
func TestUseComesBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	customer := netlab.UnlistedPrefix4.String()
	list := h.file("acme.list", customer+"\n")
	args := []string{"--allow-file", list, "--allow", "192.0.2.0/24"}
	d := h.run(args...)
	h.oneSYN(netlab.Unlisted4, h.api4(), netlab.Connected)
	was := h.used(customer)
	if was.Hits != 1 || was.LastSeen.IsZero() {
		t.Fatalf("after a knock: %+v", was)
	}
	expect := func(when string) {
		t.Helper()
		if use := h.used(customer); use != was {
			t.Errorf("%s: %+v, want %+v", when, use, was)
		}
	}
	time.Sleep(time.Until(was.FirstEnforced.Add(1100 * time.Millisecond))) // it says seconds

	h.file("acme.list", "100.64.0.0/24\n")
	h.must("reload", "--force-shrink")
	h.must("rollback")
	expect("after a rollback")

	h.must("reload", "--confirm", "1s")
	h.eventually("it is taken back", func() bool { return h.status().Confirm == nil })
	expect("after a change that nobody confirmed")

	h.must("reload", "--confirm", "10m")
	d.stop()
	d = h.run(args...)
	h.must("rollback")
	expect("after a restart and a rollback")

	h.must("reload", "--confirm", "10m")
	d.stop()
	h.run(args...)
	h.must("confirm")
	h.file("acme.list", "100.64.0.0/24\n"+customer+"\n")
	h.must("reload")
	if use := h.used(customer); use.Hits != 0 || !use.LastSeen.IsZero() || !use.FirstEnforced.After(was.FirstEnforced) {
		t.Errorf("added again: %+v", use)
	}
}
