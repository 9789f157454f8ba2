package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// fed is feed that has to exit with 0.
func (h *host) fed(stdin string, args ...string) string {
	h.tb.Helper()
	r := h.feed(stdin, args...)
	if r.code != 0 {
		h.tb.Fatalf("xdpallow %q: exit %d\n%s%s", args, r.code, r.stderr, stdin)
	}
	return r.stdout
}

// decode reads what -o json printed.
func decode[T any](h *host, text string) (answer T) {
	h.tb.Helper()
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		h.tb.Fatalf("%v\n%s", err, text)
	}
	return answer
}

// talk keeps a connection of a client to the API open until the test ends.
func (h *host) talk(from netip.Addr, to netip.AddrPort) {
	h.tb.Helper()
	conn, err := h.lab.Wire.DialContext(context.Background(), "tcp", from, to.String())
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { conn.Close() })
}

// cut is what is told of one entry; last_seen says only whether it is there.
func cut(prefix, owner, service string, seen bool, peers ...api.CutPeer) api.Cut {
	c := api.Cut{Owner: owner, Services: strings.Split(service, ","), Peers: slices.Concat([]api.CutPeer{}, peers)}
	if prefix != "" {
		p := netip.MustParsePrefix(prefix)
		c.Prefix = &p
	}
	if seen {
		c.LastSeen = &time.Time{}
	}
	for _, peer := range peers {
		c.Connections += peer.Connections
	}
	return c
}

func peer(addr netip.Addr, number uint16, connections int) api.CutPeer {
	return api.CutPeer{Address: addr, Port: policy.Port{Protocol: policy.TCP, Number: number}, Connections: connections}
}

// cuts runs a command with -o json and asserts whom it says to cut off.
func (h *host) cuts(want []api.Cut, args ...string) {
	h.tb.Helper()
	got := decode[api.Foreseen](h, h.must(append(args, "-o", "json")...)).Cuts
	for i := range got {
		if at := got[i].LastSeen; at != nil {
			if off := time.Since(*at); off < -5*time.Second || off > time.Minute {
				h.tb.Errorf("%q: last seen %v ago", args, off)
			}
			got[i].LastSeen = &time.Time{}
		}
	}
	if diff := gocmp.Diff(want, got, equalPrefixes, gocmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || got == nil {
		h.tb.Errorf("%q cuts off (-want +got)\n%s", args, diff)
	}
}

// Promise: the plan says whom it would cut before anything is applied: entries that were
// seen of late, and peers that are connected to a protected port and lose just that
// service; who stays listed in another way is not named, nor is anybody on the host.
func TestPlanSaysWhomItCuts(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	const second = 8445
	mail := netip.AddrPortFrom(h.link().Host4, second)
	labtest.ServeHTTP(t, h.lab.Host, fmt.Sprintf(":%d", second), http.NotFoundHandler())
	list := h.file("acme.list", netlab.ListedPrefix4.String()+" owner=acme\n")
	config := func(ports string) string {
		return fmt.Sprintf("interfaces: [eth0]\nservices:\n%sallow_files: [%s]\n", ports, list)
	}
	const both = "  api: {ports: [8443]}\n  mail: {ports: [8445]}\n"
	path := h.config(config("  api: {ports: [8443]}\n"))
	h.run("--config", path)
	h.must("add", netlab.UnlistedPrefix4.String(), netlab.UnlistedPrefix6.String(), "--owner", "globex")
	h.must("add", "192.0.2.0/24", "--owner", "nobody")

	// Nobody came so far.
	h.cuts([]api.Cut{}, "remove", "192.0.2.0/24", netlab.UnlistedPrefix4.String(), "--dry-run")
	h.talk(netlab.Unlisted4, h.api4())
	h.talk(netlab.Unlisted4, h.api4())
	h.talk(netlab.Unlisted6, h.api6())
	h.talk(netlab.Listed4, h.api4())
	h.talk(netlab.Listed4, mail)
	local, err := h.lab.Host.DialContext(context.Background(), "tcp", h.link().Host4, mail.String())
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	h.eventually("what the kernel saw", func() bool {
		return !slices.ContainsFunc(ask[api.Listing](h, "list").Entries, func(e api.Entry) bool { return e.LastSeen == nil && e.Owner != "nobody" })
	})
	globex4 := cut(netlab.UnlistedPrefix4.String(), "globex", "api", true, peer(netlab.Unlisted4, port, 2))
	globex6 := cut(netlab.UnlistedPrefix6.String(), "globex", "api", true, peer(netlab.Unlisted6, port, 1))
	acme := cut(netlab.ListedPrefix4.String(), "acme", "api", true, peer(netlab.Listed4, port, 1))

	before := h.picture()
	h.cuts([]api.Cut{globex4, globex6}, "remove", "--owner", "globex", "--dry-run")
	h.cuts([]api.Cut{globex4, globex6}, "replace", h.file("none.list", "192.0.2.0/24\n"), "--dry-run")
	h.cuts([]api.Cut{globex4}, "replace", h.file("six.list", netlab.UnlistedPrefix6.String()+"\n"), "--dry-run")
	// Two halves are the whole.
	h.cuts([]api.Cut{}, "replace", h.file("halves.list", "198.51.100.0/25\n198.51.100.128/25\n"+netlab.UnlistedPrefix6.String()), "--dry-run")
	h.cuts([]api.Cut{globex4, globex6}, "suspend", "globex", "--dry-run")
	h.cuts([]api.Cut{globex4}, "suspend", netlab.Unlisted4.String(), "--dry-run", "--cut")
	// Seen long ago is not in use, but connected is.
	time.Sleep(2100 * time.Millisecond) // last_seen is in seconds
	h.cuts([]api.Cut{globex4}, "remove", netlab.UnlistedPrefix4.String(), "--dry-run", "--seen", "1s")
	h.unchanged(before, "dry runs")

	// A new port in the config: who is connected to it and not listed; and one that goes.
	h.file("acme.list", netlab.ListedPrefix4.String()+" owner=acme service=mail\n")
	h.config(config(both))
	h.cuts([]api.Cut{acme}, "reload", "--dry-run")
	h.file("acme.list", netlab.ListedPrefix4.String()+" owner=acme service=api\n")
	h.cuts([]api.Cut{cut("", "", "mail", false, peer(netlab.Listed4, second, 1))}, "reload", "--dry-run")
	stranger := netlab.Listed4.String() + " (not listed)"
	if r := h.cli("reload", "--dry-run"); !strings.Contains(r.stdout, "! "+stranger+" is cut off from mail: 1 connection to tcp/8445\n") {
		t.Errorf("reload --dry-run:\n%s%s", r.stdout, r.stderr)
	}
	h.file("acme.list", netlab.ListedPrefix4.String()+" owner=acme\n")
	h.cuts([]api.Cut{}, "reload", "--dry-run")
	h.config(config(strings.ReplaceAll(both, "[8443]", "[8443], mode: audit")))
	h.cuts([]api.Cut{}, "reload", "--dry-run", "--allow-open")

	// Without a dry run it is one line, and done.
	r := h.cli("remove", "--owner", "globex")
	want := "xdpallow: warning: cut off: globex (2 prefixes in use, 3 open connections)\n"
	if r.code != 0 || r.stderr != want {
		t.Errorf("remove: exit %d, %swant %s", r.code, r.stderr, want)
	}
	h.config(config(both))
	h.file("acme.list", netlab.ListedPrefix4.String()+" owner=acme service=api\n")
	want = "xdpallow: warning: cut off: " + stranger + ": 1 connection to tcp/8445\n"
	if r := h.cli("reload"); r.code != 0 || r.stderr != want {
		t.Errorf("reload: exit %d, %swant %s", r.code, r.stderr, want)
	}
}
