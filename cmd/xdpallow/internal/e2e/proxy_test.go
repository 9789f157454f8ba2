package e2e

// This file holds the configs that `assets` prints for proxies to what they promise, with the
// proxies of Debian in front of a real API: who is not listed, suspended or has another
// customer's key gets no reply from the API, whatever he writes into his request.

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
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// The proxies listen on a port that the gate does not guard, so that everybody reaches them, as
// behind a load balancer.
const proxyPort = 8081

const twoCustomers = `interfaces: [eth0]
services:
  api: {ports: [8443]}
  mail: {ports: [8444]}
allow:
  - 203.0.113.0/24 owner=acme service=api
  - 192.0.2.0/24 owner=globex
`

// site is a proxy in front of an API, beside a daemon that it asks.
type site struct {
	*host
	dir   string // everybody may enter it
	tcp   string // where the endpoint listens beside its socket
	store *descriptorStore
	d     *daemon
	hits  atomic.Int64 // requests that reached the API
}

func newSite(t *testing.T) *site {
	h := newHost(t)
	if err := h.lab.AddClients(globexPrefix); err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	s := &site{host: h, dir: dir, tcp: "127.0.0.1:9464", store: newDescriptorStore(t, filepath.Join(dir, "notify"))}
	h.config(fmt.Sprintf("%sowner: {socket: %s, group: www-data, listen: %q}\n", twoCustomers, s.socket(), s.tcp))
	s.restart()
	labtest.ServeHTTP(t, h.lab.Host, "127.0.0.1:8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		_ = json.NewEncoder(w).Encode(r.Header)
	}))
	return s
}

// openDir is a directory that a worker of nginx, who is not root, may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := labtest.Must(os.MkdirTemp("", "xdpallow-site-"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (s *site) socket() string { return filepath.Join(s.dir, "owner.sock") }

// asset is what `assets` prints for a proxy, with other ports and paths.
func (h *host) asset(name string, replaced ...string) string {
	h.tb.Helper()
	text := h.must("assets", name)
	for i := 0; i < len(replaced); i += 2 {
		if !strings.Contains(text, replaced[i]) {
			h.tb.Fatalf("assets %s has no %q", name, replaced[i])
		}
		text = strings.ReplaceAll(text, replaced[i], replaced[i+1])
	}
	return text
}

func (s *site) file(name, text string) string {
	s.tb.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.tb.Fatal(err)
	}
	return path
}

// proxy starts a proxy on the host and waits until it listens.
func (s *site) proxy(args ...string) {
	s.tb.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	log := labtest.Must(os.Create(filepath.Join(s.dir, "proxy.log")))(s.tb)
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.lab.Host.Start(cmd); err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		text, _ := os.ReadFile(log.Name())
		s.tb.Logf("%s:\n%.4000s", args[0], text)
	})
	s.eventually(args[0]+" listens", func() bool {
		conn, err := s.lab.Wire.DialContext(s.tb.Context(), "tcp", netlab.Listed4, s.at(proxyPort))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (s *site) at(port int) string {
	return netip.AddrPortFrom(s.link().Host4, uint16(port)).String()
}

// client is a customer who keeps his connection open.
type client struct {
	*site
	http  http.Client
	port  int
	dials atomic.Int64 // connections that it opened
}

func (s *site) client(from netip.Addr) *client {
	c := &client{site: s, port: proxyPort}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c.dials.Add(1)
		return s.lab.Wire.DialContext(ctx, network, from, addr)
	}}
	c.http = http.Client{Transport: transport, Timeout: patience}
	s.tb.Cleanup(transport.CloseIdleConnections)
	return c
}

// reply is what came of a request: the status, and what the API saw, nil if nothing reached it.
type reply struct {
	status int
	saw    http.Header
}

// get asks the API for path, with headers in pairs.
func (c *client) get(path string, headers ...string) reply {
	c.tb.Helper()
	a, err := c.try(path, headers...)
	if err != nil {
		c.tb.Fatal(err)
	}
	return a
}

func (c *client) try(path string, headers ...string) (a reply, err error) {
	r, err := http.NewRequest("GET", "http://"+c.at(c.port)+path, nil)
	if err != nil {
		return a, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	response, err := c.http.Do(r)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if a.status = response.StatusCode; a.status == http.StatusOK && err == nil {
		err = json.Unmarshal(body, &a.saw)
	}
	return a, err
}

// refused fails the test if a request of c reaches the API or is not answered with status.
func (c *client) refused(status int, path string, headers ...string) {
	c.tb.Helper()
	before := c.hits.Load()
	if a := c.get(path, headers...); a.status != status || c.hits.Load() != before {
		c.tb.Errorf("GET %s %q: %d, want %d; the API had %d requests of it", path, headers, a.status, status, c.hits.Load()-before)
	}
}

// passes fails the test if a request of c does not reach the API as one of owner, with nothing
// else about owners in it.
func (c *client) passes(owner, path string, headers ...string) {
	c.tb.Helper()
	a := c.get(path, headers...)
	if a.status != http.StatusOK {
		c.tb.Errorf("GET %s %q: %d, want 200", path, headers, a.status)
		return
	}
	for name, values := range a.saw {
		own := strings.EqualFold(name, "X-Xdpallow-Owner") || strings.EqualFold(name, "X-Xdpallow-Prefix")
		if strings.Contains(strings.ToLower(name), "xdpallow") && (!own || len(values) != 1) {
			c.tb.Errorf("GET %s %q: the API saw %s: %q", path, headers, name, values)
		}
	}
	if got := a.saw.Get("X-Xdpallow-Owner"); got != owner {
		c.tb.Errorf("GET %s %q: the API saw the owner %q, want %q", path, headers, got, owner)
	}
}

// holds is what every proxy must hold to.
func (s *site) holds() {
	s.tb.Helper()
	acme, other, stranger := s.client(netlab.Listed4), s.client(globex), s.client(netlab.Unlisted4)
	acme.passes("acme", "/")
	other.passes("globex", "/")
	stranger.refused(403, "/")
	// What a client writes makes him nobody else.
	for _, spoof := range [][]string{
		{"X-Forwarded-For", "203.0.113.7"},
		{"X-Forwarded-For", "203.0.113.7, 203.0.113.7"},
		{"X-Real-IP", "203.0.113.7"},
		{"Forwarded", "for=203.0.113.7"},
		{"X-Xdpallow-Owner", "acme"},
		{"X-Forwarded-For", "127.0.0.1"},
		{"X-Forwarded-For", "203.0.113.7", "X-Forwarded-For", "203.0.113.7"},
	} {
		stranger.refused(403, "/", spoof...)
	}
	stranger.refused(403, "/?addr=203.0.113.7")
	stranger.refused(403, "/v1/owner/api?addr=203.0.113.7")
	acme.passes("acme", "/", "X-Forwarded-For", "198.51.100.7")
	acme.passes("acme", "/?addr=198.51.100.7")
	acme.passes("acme", "/", "X-Xdpallow-Owner", "globex", "X-Xdpallow-Prefix", "0.0.0.0/0", "X-Xdpallow-Verdict", "audit", "X-Xdpallow-Reason", "x")
	acme.passes("acme", "/", "X-Xdpallow-Expect", "globex") // no false alarm either
	acme.passes("acme", "/", "x_xdpallow_owner", "globex", "X-Xdpallow_Owner", "globex", "X.Xdpallow.Owner", "globex")
	// A key is good from its own customer's addresses alone, whatever was asked a moment before.
	for range 3 {
		acme.passes("acme", "/", "X-Api-Key", "k-acme")
		acme.refused(403, "/", "X-Api-Key", "k-globex")
		other.passes("globex", "/", "X-Api-Key", "k-globex")
		other.refused(403, "/", "X-Api-Key", "k-acme")
	}
	acme.passes("acme", "/", "X-Api-Key", "unknown") // the API refuses it
	for _, keys := range [][]string{{"k-globex", "k-acme"}, {"k-acme", "k-globex"}, {"k-globex", "k-globex"}} {
		a := acme.get("/", "X-Api-Key", keys[0], "X-Api-Key", keys[1])
		for _, key := range a.saw.Values("X-Api-Key") {
			if key == "k-globex" {
				s.tb.Errorf("with the keys %v in one request the API saw %q", keys, a.saw)
			}
		}
	}
	// An API behind WSGI or CGI reads - and _ in a header's name as the same, and PHP a dot, too.
	for _, name := range []string{"X_Api_Key", "x_api_key", "X-Api_Key", "X_Api-Key", "X.Api.Key", "x-api.key", "X.Api-Key", "X_Api.Key"} {
		for _, headers := range [][]string{{name, "k-globex"}, {"X-Api-Key", "k-acme", name, "k-globex"}} {
			for seen, values := range acme.get("/", headers...).saw {
				if slices.Contains(values, "k-globex") {
					s.tb.Errorf("with %q the API saw %s: %q", headers, seen, values)
				}
			}
		}
	}
}

// shutOut suspends acme, whose connection is open, and fails the test if a request that began
// two seconds later passes. taken tells the proxy of the change, where it does not ask.
func (s *site) shutOut(taken func()) {
	s.tb.Helper()
	acme := s.client(netlab.Listed4)
	acme.passes("acme", "/")
	s.must("suspend", "acme", "--reason", "OPS-1")
	taken()
	began := time.Now()
	for {
		asked := time.Since(began)
		a := acme.get("/")
		if a.status == http.StatusForbidden {
			s.tb.Logf("refused %v after the suspension", asked)
			break
		}
		if asked > 2*time.Second {
			s.tb.Fatalf("%v after the suspension a request is answered with %d", asked, a.status)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := acme.dials.Load(); n != 1 {
		s.tb.Errorf("%d connections were used: this shows nothing of one that was open", n)
	}
	s.must("resume", "acme")
	taken()
	s.eventually("acme is let in again", func() bool { return acme.get("/").status == http.StatusOK })
}

// audited lets everybody in for a while.
func (s *site) audited() {
	s.tb.Helper()
	stranger := s.client(netlab.Unlisted4)
	s.must("mode", "audit", "--for", "10m", "--service", "api")
	s.eventually("an audit lets a stranger in", func() bool { return stranger.get("/").status == http.StatusOK })
	stranger.passes("-", "/", "X-Xdpallow-Owner", "acme")
	s.must("mode", "enforce", "--service", "api")
	s.eventually("the audit is over", func() bool { return stranger.get("/").status == http.StatusForbidden })
}

// answers counts those of the endpoint about api with reason.
func (s *site) answers(reason string) (n uint64) {
	s.tb.Helper()
	for _, c := range ask[api.Stats](s.host, "stats").OwnerChecks {
		if c.Service == "api" && c.Reason == reason {
			n += c.Answers
		}
	}
	return n
}

// keys are lines of a proxy's config that say whose keys these are.
func keys(line string) string {
	return fmt.Sprintf(line+"\n"+line+"\n", "k-acme", "acme", "k-globex", "globex")
}

func (s *site) nginx() {
	s.tb.Helper()
	asset := s.nginxAsset(s.dir, s.socket(), proxyPort)
	// A second service behind the same nginx, and so behind the same cache.
	mail := asset[strings.Index(asset, "server {\n    listen"):]
	mail = strings.NewReplacer(fmt.Sprint("listen ", proxyPort), fmt.Sprint("listen ", proxyPort+1), "owner/api", "owner/mail", "|api|", "|mail|").Replace(mail)
	s.proxy("nginx", "-p", s.dir, "-c", s.file("nginx.conf", nginxConf(s.dir, asset+mail)))
}

// nginxAsset is what `assets nginx` prints for service api, with other paths and this port.
func (h *host) nginxAsset(dir, socket string, port int) string {
	h.tb.Helper()
	return h.asset("nginx", "/run/xdpallow/owner.sock", socket, "/var/cache/nginx-xdpallow", filepath.Join(dir, "cache"),
		"listen 80;", fmt.Sprintf("listen %d;", port), "    # \"k-acme-1\" acme;\n", keys("%q %s;"))
}

// nginxConf is a config around servers that keeps its files in dir.
func nginxConf(dir, servers string) string {
	return fmt.Sprintf("user www-data; daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr; events {}\n"+
		"http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;\n%[2]s}\n",
		dir, servers)
}

// Promise: behind nginx with the config of `assets nginx`.
func TestNginx(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.nginx()
	s.holds()
	if s.answers("wrong_owner") == 0 {
		t.Error("keys of others were used, and nobody counted it")
	}
	if text := s.must("events", "-n", "50"); !strings.Contains(text, "wrong_owner") || !strings.Contains(text, "acme, not globex") {
		t.Errorf("no event of a key of another:\n%s", text)
	}
	// The cache knows services apart: acme is listed for api alone.
	acme, mail := s.client(netlab.Listed4), s.client(netlab.Listed4)
	mail.port = proxyPort + 1
	for range 5 {
		acme.passes("acme", "/")
		mail.refused(403, "/")
	}
	acme.refused(404, "/xdpallow") // internal
	s.shutOut(func() {})
	s.audited()
	s.survives()
	// Dead for good: who was answered goes on, who never asked is refused.
	s.d.kill()
	s.store.close()
	acme.passes("acme", "/")
	s.client(netip.MustParseAddr("203.0.113.99")).refused(500, "/")
}

// Promise: nginx without a question, by a geo block with `list -o nginx`: a suspended prefix is
// refused inside one that is listed, and a customer is known by his owner.
func TestNginxGeo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("suspend", "203.0.113.64/26", "--reason", "OPS-1")
	list := s.file("list.conf", s.must("list", "-o", "nginx", "--service", "api"))
	s.proxy("nginx", "-p", s.dir, "-c", s.file("nginx.conf", nginxConf(s.dir, fmt.Sprintf(`
geo $xdpallow_owner { default ""; include %s; }
server {
    listen %d;
    if ($xdpallow_owner = "") { return 403; }
    location / { proxy_set_header X-Xdpallow-Owner $xdpallow_owner; proxy_pass http://127.0.0.1:8080; }
}
`, list, proxyPort))))
	s.client(netlab.Listed4).passes("acme", "/")
	s.client(globex).passes("globex", "/")
	s.client(netip.MustParseAddr("203.0.113.65")).refused(403, "/")
	s.client(netlab.Unlisted4).refused(403, "/", "X-Xdpallow-Owner", "acme")
}

// Promise: behind Caddy with the config of `assets caddy`.
func TestCaddy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.proxy("caddy", "run", "--adapter", "caddyfile", "--config", s.file("Caddyfile", "{\n\tadmin off\n}\n"+s.asset("caddy",
		"/run/xdpallow/owner.sock", s.socket(), ":80 {", fmt.Sprintf(":%d {", proxyPort), "\t\t# \"k-acme-1\" acme\n", keys("\t\t%s %s"))))
	s.holds()
	s.shutOut(func() {})
	s.audited()
	s.survives()
	acme := s.client(netlab.Listed4)
	if err := s.d.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.eventually("every thread of the daemon is stopped", func() bool { return stopped(t, s.d.cmd.Process.Pid) })
	acme.http.Timeout = patience / 4
	if a := acme.get("/"); a.status != http.StatusBadGateway && a.status != http.StatusGatewayTimeout {
		t.Errorf("with a daemon that hangs: %d, want 502 or 504", a.status)
	}
	if err := s.d.cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.eventually("acme is let in again", func() bool { return acme.get("/").status == http.StatusOK })
	s.d.kill()
	s.store.close()
	if a := acme.get("/"); a.status != http.StatusBadGateway {
		t.Errorf("with the daemon dead for good: %d, want 502", a.status)
	}
}

// Promise: HAProxy with the config of `assets haproxy` and the list of `list -o haproxy`, which
// the commands in that config swap.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.file("list.map", s.must("list", "-o", "haproxy", "--service", "api"))
	admin := filepath.Join(s.dir, "admin.sock")
	text := s.asset("haproxy", "/etc/haproxy/xdpallow.map", list, "/etc/haproxy/xdpallow.new", filepath.Join(s.dir, "list.new"),
		"/etc/haproxy/xdpallow-keys.map", s.file("keys.map", keys("%s %s")), "/run/haproxy/admin.sock", admin, "bind :80", fmt.Sprintf("bind :%d", proxyPort))
	_, swap, _ := strings.Cut(text, "(socat; level admin on the stats socket):\n")
	swap, _, found := strings.Cut(strings.ReplaceAll(swap, "#   ", ""), "# Replace")
	if !found {
		t.Fatal("assets haproxy has no commands that swap the list")
	}
	where := s.where([]string{"list"})[1:]
	swap = strings.Replace(swap, "xdpallow list", binary+" list "+strings.Join(where, " "), 1)
	s.proxy("haproxy", "-db", "-f", s.file("haproxy.cfg", fmt.Sprintf(
		"global\n  stats socket %s level admin\ndefaults\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n%s", admin, text)))
	s.holds()
	s.shutOut(func() {
		cmd := exec.Command("bash", "-o", "pipefail", "-c", swap)
		out, err := s.output(cmd)
		if err != nil || strings.Contains(out, "nknown") {
			t.Fatalf("%s\n%v\n%s", swap, err, out)
		}
	})
	s.d.kill()
	s.client(netlab.Listed4).passes("acme", "/") // it needs no daemon
}

// output runs cmd on the host.
func (s *site) output(cmd *exec.Cmd) (string, error) {
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	err := s.lab.Host.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	return text.String(), err
}

// Promise: the endpoint answers on loopback where that was asked for, and a group that there is
// not leaves the socket to root and is told.
func TestOwnerAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	conn := labtest.Must(s.lab.Host.DialContext(t.Context(), "tcp", netip.Addr{}, s.tcp))(t)
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/owner/api HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n")
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200") || !strings.Contains(string(text), "\r\nX-Xdpallow-Owner: acme\r\n") {
		t.Errorf("%v\n%s", err, text)
	}
	if mode := labtest.Must(os.Stat(s.socket()))(t).Mode(); mode.Perm() != 0o660 {
		t.Errorf("the socket has mode %v", mode)
	}
	labtest.Expect(t, s.lab.Wire, netlab.Listed4, netip.AddrPortFrom(s.link().Host4, 9464), netlab.Refused)
	s.d.stop()
	s.host.config(fmt.Sprintf("%sowner: {socket: %s, group: no-such-group}\n", twoCustomers, s.socket()))
	s.restart()
	s.eventually("the problem is told", func() bool { return strings.Contains(s.cli("status").stdout, "no-such-group") })
	if mode := labtest.Must(os.Stat(s.socket()))(t).Mode(); mode.Perm() != 0o600 {
		t.Errorf("the socket has mode %v without a group", mode)
	}
	if _, err := s.lab.Host.DialContext(t.Context(), "tcp", netip.Addr{}, s.tcp); err == nil {
		t.Error("the endpoint listens where it is not configured any longer")
	}
}
