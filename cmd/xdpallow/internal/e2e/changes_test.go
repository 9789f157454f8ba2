package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// closed is a protected port where nobody listens: a SYN that passes is answered with
// RST, and no other segment of the connection disturbs the counters.
const closed = port + 1

// session is a client that keeps its connection open between requests.
type session struct {
	http.Client
	url   string
	dials atomic.Int32
}

func (h *host) connect(from netip.Addr, api netip.AddrPort) *session {
	h.tb.Helper()
	s := &session{url: "http://" + api.String() + "/"}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		s.dials.Add(1)
		return h.lab.Wire.DialContext(ctx, network, from, address)
	}}
	s.Transport, s.Timeout = transport, 5*time.Second
	h.tb.Cleanup(transport.CloseIdleConnections)
	s.get(h.tb)
	return s
}

// get asks once more, over the connection that is open.
func (s *session) get(tb testing.TB) {
	tb.Helper()
	response, err := s.Get(s.url)
	if err != nil {
		tb.Fatalf("request on the open connection: %v", err)
	}
	_, _ = io.Copy(io.Discard, response.Body) // else the connection is not used again
	response.Body.Close()
	if n := s.dials.Load(); response.StatusCode != http.StatusOK || n != 1 {
		tb.Errorf("status %d over connection %d, want 200 over the first", response.StatusCode, n)
	}
}

// oneSYN knocks with a single SYN.
func (h *host) oneSYN(from netip.Addr, to netip.AddrPort, want netlab.Outcome) {
	h.tb.Helper()
	wait := singleSYN
	if want == netlab.Dropped {
		wait = 300 * time.Millisecond
	}
	start := time.Now()
	if got, err := h.lab.Wire.Knock(from, to, wait); got != want {
		h.tb.Errorf("knock at %s from %s: %s after %v (%v), want %s", to, from, got, time.Since(start), err, want)
	}
}

// Promise: changes take effect at once. A connect begun after add returned succeeds
// with its first SYN, one begun after remove returned is dropped, and a connection
// that was open lives on; nothing else is counted than what was sent.
func TestAddAndRemoveTakeEffectAtOnce(t *testing.T) {
	h := newHost(t)
	h.serve()
	h.run(append(allowed, "--port", fmt.Sprint(port), "--port", fmt.Sprint(closed))...)
	for _, c := range []struct {
		family      string
		client, api netip.Addr
		prefix      string
	}{
		{"ipv4", netlab.Unlisted4, h.link().Host4, netlab.UnlistedPrefix4.String()},
		{"ipv6", netlab.Unlisted6, h.link().Host6, netlab.UnlistedPrefix6.String()},
	} {
		t.Run(c.family, func(t *testing.T) {
			h := *h
			h.tb = t
			silent := netip.AddrPortFrom(c.api, closed)
			before := h.counted()
			h.oneSYN(c.client, silent, netlab.Dropped)
			const rounds = 5
			for range rounds {
				h.must("add", c.prefix)
				h.oneSYN(c.client, silent, netlab.Refused)
				h.must("remove", c.prefix)
				h.oneSYN(c.client, silent, netlab.Dropped)
			}
			want := map[string]uint64{"pass listed " + c.family: rounds, "drop not_listed " + c.family: rounds + 1}
			if diff := gocmp.Diff(want, h.since(before)); diff != "" {
				t.Errorf("counters (-want +got)\n%s", diff)
			}

			h.must("add", c.prefix)
			open := h.connect(c.client, netip.AddrPortFrom(c.api, port))
			h.must("remove", c.prefix)
			before = h.counted()
			open.get(t)
			h.oneSYN(c.client, silent, netlab.Dropped)
			open.get(t)
			got := h.since(before)
			if got["pass not_opening "+c.family] == 0 {
				t.Errorf("the open connection was not seen: %v", got)
			}
			delete(got, "pass not_opening "+c.family)
			if diff := gocmp.Diff(map[string]uint64{"drop not_listed " + c.family: 1}, got); diff != "" {
				t.Errorf("counters beside the open connection (-want +got)\n%s", diff)
			}
		})
	}
}

// Promise: remove does what it says or nothing: it exits with 1 where a named prefix
// had no claim or is declared as well, and names the place.
func TestChangesAreRefusedWhole(t *testing.T) {
	h := newHost(t)
	file := filepath.Join(h.dir, "acme.list")
	write(t, file, "# customers\n192.0.2.0/28 owner=acme\n192.0.2.16/28 owner=acme\n")
	h.run(append(allowed, "--allow-file", file)...)
	h.must("add", "192.0.2.16/28", netlab.ListedPrefix4.String(), "203.0.113.9", "198.18.0.0/24", "198.18.0.7", "198.18.1.0/24", "2001:db8:42::/48")
	h.must("add", "198.18.2.0/24", "--owner", "beta")
	before := ask[api.Listing](h, "list")

	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"never there", []string{"remove", "198.18.9.0/24"}, "198.18.9.0/24 is not on the list"},
		{"covered only", []string{"remove", "198.18.1.7"}, "198.18.1.7/32 is not on the list; it is allowed by 198.18.1.0/24"},
		{"declared by a file", []string{"remove", "192.0.2.0/28"}, "it stands in " + file + ":2"},
		{"declared by a flag", []string{"remove", netlab.ListedPrefix6.String()}, "it stands in --allow 2001:db8:a::/48"},
		{"still in a file", []string{"remove", "192.0.2.16/28"}, "192.0.2.16/28 would still be allowed, by " + file + ":3"},
		{"still in a flag", []string{"remove", "203.0.113.0/24"}, "203.0.113.0/24 would still be allowed, by --allow 203.0.113.0/24"},
		{"all or nothing", []string{"remove", "198.18.1.0/24", "2001:db8:42::/48", "198.18.9.0/24"}, "198.18.9.0/24 is not on the list"},
		{"owner of nothing", []string{"remove", "--owner", "gamma"}, "belongs to gamma"},
		{"owner in a file", []string{"remove", "--owner", "acme"}, "belongs to acme"},
		{"held by a file", []string{"add", "192.0.2.0/28", "--owner", "beta"}, "192.0.2.0/28 belongs to acme (" + file + ":2)"},
		{"one of two held", []string{"add", "198.18.8.0/24", "192.0.2.0/28", "--owner", "beta"}, "192.0.2.0/28 belongs to acme"},
		{"wider than /8", []string{"add", "198.18.8.0/24", "64.0.0.0/7"}, "64.0.0.0/7 (cli) is wider than /8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.cli(c.args...)
			if r.code != 1 || r.stdout != "" || !strings.HasPrefix(r.stderr, "xdpallow: error: ") || !strings.Contains(r.stderr, c.says) {
				t.Errorf("%v: %+v, want exit 1 and %q", c.args, r, c.says)
			}
			if diff := gocmp.Diff(before, ask[api.Listing](h, "list"), equalPrefixes); diff != "" {
				t.Errorf("%v changed the list (-before +after)\n%s", c.args, diff)
			}
		})
	}

	// Named together, a prefix and what covers it do go.
	want := "removed 198.18.0.0/24  (open connections live on)\nremoved 198.18.0.7/32  (open connections live on)\n"
	if got := h.must("remove", "198.18.0.7", "198.18.0.0/24"); !strings.HasPrefix(got, want) {
		t.Errorf("remove said\n%swant\n%s", got, want)
	}
	h.must("add", "198.18.2.0/24", "--note", "the same claim, made anew")
	h.must("add", "198.18.2.0/24", "--owner", "gamma") // it is ours to give away
	want = "removed 198.18.2.0/24  gamma (open connections live on)\n"
	if got := h.must("remove", "--owner", "gamma"); !strings.HasPrefix(got, want) {
		t.Errorf("remove --owner said\n%swant\n%s", got, want)
	}
	if total := ask[api.Listing](h, "list").Total; total != before.Total-3 {
		t.Errorf("%d prefixes are left, want %d", total, before.Total-3)
	}
}

// Promise: what list -o text writes, add - reads; and flags may follow arguments.
func TestListRoundTrips(t *testing.T) {
	h := newHost(t)
	h.run(append(allowed, "--allow", "198.18.0.0/24")...)
	lines := "# from the old firewall\n192.0.2.0/28 owner=acme note=\"say \\\"hello\\\" # twice\"\n\n" +
		"2001:db8:42::/48 owner=beta until=2099-12-31T00:00:00Z # by phone\n192.0.2.99\n"
	r := h.feed(lines, "add", "-", "--note", "migrated", "--owner", "rest")
	want := "added 192.0.2.0/28      acme\nadded 192.0.2.99/32     rest\nadded 2001:db8:42::/48  beta until 2099-12-31T00:00:00Z\ngeneration 2, 6 prefixes\n"
	if r.code != 0 || r.stdout != want {
		t.Errorf("add -: %+v, want\n%s", r, want)
	}
	before, text := h.list(), h.must("list", "-o", "text")

	h.must("remove", "--owner", "acme")
	h.must("remove", "--owner", "beta")
	h.must("remove", "192.0.2.99")
	if r := h.feed(text, "add", "-"); r.code != 0 {
		t.Fatalf("list -o text | add -: %+v", r)
	}
	// The flags' entries now are the CLI's too; nothing else is another.
	after := h.list()
	for i := range after {
		if !slices.Contains(after[i].Origins, "cli") {
			t.Errorf("%s has origins %v", after[i].Prefix, after[i].Origins)
		}
		after[i].Origins = slices.DeleteFunc(after[i].Origins, func(o policy.Origin) bool { return o == policy.OriginCLI })
		before[i].Origins = slices.DeleteFunc(before[i].Origins, func(o policy.Origin) bool { return o == policy.OriginCLI })
	}
	if diff := gocmp.Diff(before, after, equalPrefixes); diff != "" {
		t.Errorf("list -o text | add - (-before +after)\n%s", diff)
	}
	if again := h.must("list", "-o", "text"); again != text {
		t.Errorf("list -o text is\n%swas\n%s", again, text)
	}
	if note := after[0].Note; note != `say "hello" # twice` {
		t.Errorf("note is %q", note)
	}
}
