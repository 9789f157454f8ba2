package e2e

// This file has customers who forward strangers to the API, in every way that people do, and
// others who do not, and a probe that must tell them apart.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// The customers' servers listen at port 443 of an address of the wire each. The API is at two ports
// of the host, the second one with TLS, and has a name.
const probed = `interfaces: [eth0]
services: {api: {ports: [8443, 8444], host: api.example.net}}
owners:
  haproxy: {probe: allowed}
  nginx: {probe: allowed}
  router: {probe: allowed}
  relay: {probe: allowed}
  honest: {probe: allowed}
  busy: {probe: allowed}
  silent: {probe: allowed}
allow:
  - 203.0.113.10 owner=haproxy
  - 203.0.113.20 owner=nginx
  - 203.0.113.30 owner=router
  - 10.80.0.2 owner=router # where it masquerades
  - 203.0.113.40 owner=relay
  - 203.0.113.50 owner=honest
  - 203.0.113.51 owner=honest # nobody answers
  - 192.0.2.0/24 owner=honest
  - 203.0.113.60 owner=busy
  - 203.0.113.70 owner=silent
  - 203.0.113.80 owner=unasked
`

// forwarders is the far side of a host whose customers agreed to be probed.
type forwarders struct {
	*host
	dir string
	mu  sync.Mutex
	saw []*http.Request // by the API
}

func newForwarders(t *testing.T) *forwarders {
	c := &forwarders{host: newHost(t), dir: openDir(t)}
	if err := c.lab.AddClients(globexPrefix); err != nil {
		t.Fatal(err)
	}
	labtest.ServeHTTP(t, c.lab.Host, fmt.Sprintf(":%d", port), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.saw = append(c.saw, r)
		fmt.Fprintln(w, "hello")
	}))
	labtest.ServeTLS(t, c.lab.Host, c.tls(), http.NotFoundHandler())
	c.host.run("--config", c.config(probed))
	return c
}

// tls is the port of the API that has TLS.
func (c *forwarders) tls() netip.AddrPort { return netip.AddrPortFrom(c.api4().Addr(), port+1) }

func (c *forwarders) nft(rules string) string {
	c.tb.Helper()
	out, err := labtest.Command(context.Background(), c.lab.Wire, "nft", rules).CombinedOutput()
	if err != nil {
		c.tb.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

// server runs a program of a customer.
func (c *forwarders) server(name, config string, args ...string) {
	c.tb.Helper()
	path := filepath.Join(c.dir, name+".conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		c.tb.Fatal(err)
	}
	cmd := exec.Command(name, append(args, path)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := c.lab.Wire.Start(cmd); err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	})
}

// relay accepts at addr, and for each connection dials the API if it forwards.
func (c *forwarders) relay(addr string, forwards bool) {
	c.tb.Helper()
	at := netip.MustParseAddrPort(addr)
	listener := labtest.Must(c.lab.Wire.Listen("tcp", addr))(c.tb)
	c.tb.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if !forwards {
					_, _ = io.Copy(io.Discard, conn)
					return
				}
				upstream, err := c.dial(at.Addr(), c.tls())
				if err != nil {
					return
				}
				defer upstream.Close()
				go func() { _, _ = io.Copy(conn, upstream) }()
				_, _ = io.Copy(upstream, conn)
			}()
		}
	}()
}

func (c *forwarders) dial(from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	return c.lab.Wire.DialContext(c.tb.Context(), "tcp", from, to.String())
}

// Promise: `probe` names each customer who forwards strangers to this host, whatever he forwards
// them with, and nobody else, however busy. It connects to nobody but the addresses that it tells.
func TestProbe(t *testing.T) {
	t.Parallel()
	c := newForwarders(t)
	c.server("haproxy", fmt.Sprintf("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"+
		"listen l\n  bind 203.0.113.10:443\n  source 203.0.113.10\n  server api %s\n", c.tls()), "-db", "-f")
	c.server("nginx", nginxConf(c.dir, fmt.Sprintf("server { listen 203.0.113.20:443; location / { proxy_bind 203.0.113.20; proxy_pass http://%s; proxy_set_header Host $host; } }\n", c.api4())),
		"-p", c.dir, "-c")
	if out, err := labtest.Command(t.Context(), c.lab.Wire, "sysctl", "-qw", "net.ipv4.ip_forward=1").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.nft(fmt.Sprintf(`table ip router {
	chain in { type nat hook prerouting priority dstnat; ip daddr 203.0.113.30 tcp dport 443 dnat to %s; }
	chain out { type nat hook postrouting priority srcnat; ct status dnat masquerade; }
}
table ip watch {
	set told { type ipv4_addr . inet_service; elements = {
		203.0.113.10 . 443, 203.0.113.20 . 443, 203.0.113.30 . 443, 10.80.0.2 . 443, 203.0.113.40 . 443,
		203.0.113.50 . 443, 203.0.113.51 . 443, 192.0.2.9 . 443, 203.0.113.60 . 443 }; }
	chain in { type filter hook prerouting priority -400; ip saddr 10.80.0.1 tcp flags & (syn | ack) == syn jump knocks; }
	chain knocks { counter comment "all"; ip daddr . tcp dport != @told counter comment "others"; }
}`, c.tls()))
	c.relay("203.0.113.40:443", true)
	c.relay("203.0.113.50:443", false)
	c.relay("203.0.113.60:443", false)
	c.relay("203.0.113.70:443", true) // nobody asks
	c.relay("203.0.113.80:443", true)
	connected := labtest.Must(c.dial(netip.MustParseAddr("192.0.2.9"), c.tls()))(t)
	defer connected.Close()
	go func() { // a customer with clients of his own, who come twice a second
		for t.Context().Err() == nil {
			if conn, err := c.dial(netip.MustParseAddr("203.0.113.60"), c.api4()); err == nil {
				conn.Close()
			}
			time.Sleep(500 * time.Millisecond)
		}
	}()
	c.eventually("haproxy and nginx listen", func() bool {
		for _, addr := range []string{"203.0.113.10:443", "203.0.113.20:443"} {
			conn, err := c.lab.Wire.DialContext(t.Context(), "tcp", netip.Addr{}, addr)
			if err != nil {
				return false
			}
			conn.Close()
		}
		return true
	})

	var probes sync.WaitGroup
	for _, p := range []expected{
		{"haproxy", nil, 1, map[string]string{"203.0.113.10": "forwards"}},
		{"router", nil, 1, map[string]string{"203.0.113.30": "forwards", "10.80.0.2": "closed"}},
		{"relay", nil, 1, map[string]string{"203.0.113.40": "forwards"}},
		{"nginx", []string{"--http"}, 1, map[string]string{"203.0.113.20": "forwards"}},
		{"honest", nil, 0, map[string]string{"203.0.113.50": "no", "203.0.113.51": "closed", "192.0.2.9": "closed"}},
		{"busy", nil, 0, map[string]string{"203.0.113.60": "no|inconclusive"}},
	} {
		probes.Go(func() { c.probes(t, p) })
	}
	probes.Wait()
	// A ClientHello makes no proxy connect that forwards requests.
	if r := c.cli("probe", "nginx", "--ports", "443", "--yes"); r.code != 0 || !regexp.MustCompile(`(?m)^203\.0\.113\.20 +tcp/443 +no +0 of 1 +-$`).MatchString(r.stdout) {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, p := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"unasked", "--yes"}, 1, "the config file does not say that he has agreed"},
		{[]string{"nobody", "--yes"}, 1, "no prefix belongs to nobody"},
		{[]string{"silent", "--ports", "443"}, 2, "this opens up to 5 connections, one at a time and of some 2 KB, to 1 address of silent (203.0.113.70) at tcp/443, in at most 56s, and nobody is here to ask"},
	} {
		if r := c.cli(append([]string{"probe"}, p.args...)...); r.code != p.code || r.stdout != "" || !strings.Contains(r.stderr, p.want) {
			t.Errorf("probe %v: exit %d\n%s%s", p.args, r.code, r.stdout, r.stderr)
		}
	}
	history := c.must("history")
	if n := strings.Count(history, "probe "); n != 7 || strings.Contains(history, "silent") || !strings.Contains(history, "OPS-9") {
		t.Errorf("%d probes are in the history, want 7:\n%s", n, history)
	}
	rules := c.nft("list table ip watch")
	if !regexp.MustCompile(`counter packets 0 bytes 0 comment "others"`).MatchString(rules) || regexp.MustCompile(`counter packets 0 bytes 0 comment "all"`).MatchString(rules) {
		t.Errorf("others were knocked at:\n%s", rules)
	}
}

// expected is what a probe of an owner should find, with | between answers of one address.
type expected struct {
	owner   string
	flags   []string
	code    int
	answers map[string]string
}

func (c *forwarders) probes(t *testing.T, p expected) {
	t.Helper()
	r := c.cli(append([]string{"probe", p.owner, "--ports", "443", "--yes", "--reason", "OPS-9", "-o", "json"}, p.flags...)...)
	var result api.ProbeResult
	if err := json.Unmarshal([]byte(r.stdout), &result); err != nil || r.code != p.code || len(result.Targets) != len(p.answers) {
		t.Errorf("%s: exit %d, want %d, and %d targets: %v\n%s%s", p.owner, r.code, p.code, len(p.answers), err, r.stdout, r.stderr)
	}
	for _, target := range result.Targets {
		want, known := p.answers[target.Address.String()]
		if !known || !strings.Contains("|"+want+"|", "|"+target.Answer+"|") || target.Port != 443 {
			t.Errorf("%s: %+v, want %q; %d of %d quiet windows are busy", p.owner, target, want, result.Busy, result.Quiet)
		}
		// Of a GET both ends close before anybody can look.
		if target.Answer == "forwards" && (target.Followed != 5 || len(target.From) != 1 && result.Path == "") {
			t.Errorf("%s: %+v: want 5 knocks followed, from one address", p.owner, target)
		}
	}
	if result.Path != "" {
		c.sawProbe(t, result.Path)
	}
}

// sawProbe fails the test unless the API had a request of each knock, as of one of its clients.
func (c *forwarders) sawProbe(t *testing.T, path string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, r := range c.saw {
		if r.URL.Path == path && r.Host == "api.example.net" && r.Method == http.MethodGet {
			n++
		}
	}
	if n != 5 || !strings.HasPrefix(path, "/.well-known/xdpallow-probe/") {
		t.Errorf("the API had %d requests for %q, want 5", n, path)
	}
}
