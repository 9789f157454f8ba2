package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Promise: a probe sends nothing before somebody has agreed who knows to whom and how much: on a
// terminal he is asked, elsewhere he must have said --yes. It is noted before it begins.
func TestProbeAsks(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	listener.Close()
	engine := sampleEngine()
	engine.probe = api.ProbePlan{Owner: "acme", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Services: []api.ProbeService{
		{Name: "api", Host: "api.example.net", Ports: []uint16{closed}}, {Name: "mail", Ports: []uint16{25}},
	}}
	w := newWorld(t).serve(t, engine)
	what := fmt.Sprintf("this opens up to 5 connections, one at a time and of some 2 KB, to 1 address of acme (127.0.0.1) at tcp/%d, in at most 56s", closed)
	asks := api.ProbeRequest{Owner: "acme", DryRun: true}
	for _, c := range []struct {
		line, stdin    string
		terminal       bool
		code           int
		stdout, stderr string
		asked          []any
	}{
		{"probe acme --service api", "", false, 2, "", "xdpallow: error: " + what + ", and nobody is here to ask\nxdpallow: hint: xdpallow probe acme --service api --socket " + w.socket + " --yes\n", []any{asks}},
		{"probe acme --service api", "n\n", true, 1, "", "xdpallow: " + what + ": probe? [y/N] xdpallow: error: nothing was probed\n", []any{asks}},
		{"probe acme --service api", "", true, 1, "", "xdpallow: " + what + ": probe? [y/N] \nxdpallow: error: nothing was probed\n", []any{asks}},
		{"probe acme --service api", "y\n", true, 0, "closed: 1 of 1\n", "xdpallow: " + what + ": probe? [y/N] ", []any{asks, api.ProbeRequest{Owner: "acme"}, "openings acme"}},
		{"probe acme --service api --yes -q", "", false, 0, "", "", []any{asks, api.ProbeRequest{Owner: "acme"}, "openings acme"}},
		{"probe acme --yes", "", false, 2, "", "xdpallow: error: a probe is a client of one service, of api, mail\nxdpallow: hint: xdpallow probe acme --service api --socket " + w.socket + "\n", []any{asks}},
		{"probe acme --service nope --yes", "", false, 2, "", "xdpallow: error: no service nope with a TCP port; there are api, mail\nxdpallow: hint: xdpallow probe acme --service api --socket " + w.socket + "\n", []any{asks}},
		{"probe acme --service api --ports 1,2,3,4,5,6,7,8,9 --yes", "", false, 2, "", "xdpallow: error: 9 ports at each address is over 8\n", []any{asks}},
	} {
		w.asked, w.stdin, w.terminal = nil, c.stdin, c.terminal
		code, stdout, stderr := w.sh(c.line)
		if code != c.code || stdout != c.stdout || !strings.HasPrefix(stderr, c.stderr) || fmt.Sprint(w.asked) != fmt.Sprint(c.asked) {
			t.Errorf("%s: exit %d, asked %v, want %v\n%s%s, want %s", c.line, code, w.asked, c.asked, stdout, stderr, c.stderr)
		}
	}
	w.terminal = false
	engine.probe.Namespace = 1 // not this one
	if code, _, stderr := w.sh("probe acme --service api --yes"); code != 1 || !strings.Contains(stderr, "net:[1]") || !strings.Contains(stderr, "hint: nsenter --net=") || strings.Contains(stderr, "connections") {
		t.Errorf("in another network namespace: exit %d, %s", code, stderr)
	}
	engine.probe.Namespace = netdev.Namespace()
	_, stdout, _ := w.sh("probe acme --service api --yes --http -o json")
	var result api.ProbeResult
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || len(result.Targets) != 1 || result.Targets[0].Answer != "closed" || !strings.HasPrefix(result.Path, "/.well-known/xdpallow-probe/") {
		t.Errorf("%v\n%s", err, stdout)
	}
	if code, _, stderr := w.sh("probe acme --service mail --ports 25 --yes -q"); code != 0 || stderr != "" {
		t.Errorf("-q: exit %d, %s", code, stderr)
	}
}
