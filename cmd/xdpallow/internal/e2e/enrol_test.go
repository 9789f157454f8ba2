package e2e

// This file holds enrolment to its promises with curl, made certificates and a real gate: who shows his
// certificate is let in for a while, and for nobody else does anything change.

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// The process has a user of its own, and by its group the one right.
const (
	enrolPort  = 8444
	enrolGroup = 64005
	enrolUser  = 64020
)

var enrolling = credentials{"the process", enrolUser, enrolGroup, fmt.Sprint(enrolGroup)}

// counter is a host at which customers can enrol.
type counter struct {
	*host
	d       *daemon
	process *exec.Cmd
	certs   string // directory of the customers' own files
}

const enrolConfig = `interfaces: [eth0]
services:
  api: {ports: [8443]}
  mail: {ports: [8445]}
allow: [203.0.113.0/24 owner=ours]
enrol:
  acme: {for: 1h, addresses: 2, within: [198.51.100.0/24, "2001:db8:bad::/48"], services: [api]}
  globex: {for: 1h, addresses: 1}
  brief: {for: 30s, addresses: 1}
`

func newCounter(t *testing.T) *counter {
	t.Helper()
	c := &counter{host: newHost(t)}
	c.serve()
	c.ownPins()
	for _, dir := range []string{c.dir, filepath.Join(c.dir, "clients"), filepath.Join(c.dir, "certs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.certs = filepath.Join(c.dir, "certs")
	c.config(enrolConfig)
	c.restart()
	own := labtest.Sign(t, "enrol.example.net", nil, func(x *x509.Certificate) {
		x.IPAddresses = []net.IP{c.link().Host4.AsSlice(), c.link().Host6.AsSlice()}
	})
	c.put("cert.pem", own.CertPEM)
	c.put("key.pem", own.KeyPEM)
	c.open()
	return c
}

// put writes a file that everybody may read.
func (c *counter) put(name string, text []byte) string {
	c.tb.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		c.tb.Fatal(err)
	}
	return path
}

// restart starts a daemon for which the process's group exists.
func (c *counter) restart() {
	c.tb.Helper()
	if c.d != nil {
		c.d.stop()
	}
	group := c.put("group", fmt.Appendf(nil, "%sxdpallow-enrol:x:%d:\n", groups, enrolGroup))
	c.d = c.private("mount --bind "+group+" /etc/group", "--config", filepath.Join(c.dir, "config.yaml"))
	c.d.await("enforcing: the canary was dropped")
	c.eventually("the socket is there", func() bool {
		info, err := os.Stat(c.enrolSocket())
		return err == nil && info.Mode().Perm() == 0o660
	})
}

func (c *counter) enrolSocket() string { return filepath.Join(c.dir, "enrol.sock") }

// open starts the process, as the user that it has.
func (c *counter) open() {
	c.tb.Helper()
	path := filepath.Join(c.dir, "xdpallow")
	if out, err := exec.Command("cp", binary, path).CombinedOutput(); err != nil {
		c.tb.Fatalf("copy the binary: %v\n%s", err, out)
	}
	c.process = exec.Command("setpriv", "--reuid", fmt.Sprint(enrolUser), "--regid", fmt.Sprint(enrolGroup), "--clear-groups", "--bounding-set=-all", "--no-new-privs",
		path, "enrol", "--listen", fmt.Sprintf(":%d", enrolPort), "--cert", filepath.Join(c.dir, "cert.pem"), "--key", filepath.Join(c.dir, "key.pem"),
		"--clients", filepath.Join(c.dir, "clients"), "--socket", c.socket())
	log := labtest.Must(os.Create(filepath.Join(c.dir, "process.log")))(c.tb)
	c.process.Stdout, c.process.Stderr = log, log
	if err := c.lab.Host.Start(c.process); err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() {
		_ = c.process.Process.Signal(unix.SIGTERM)
		if err := c.process.Wait(); err != nil {
			c.tb.Errorf("the process ends with %v", err)
		}
		log.Close()
		if c.tb.Failed() {
			text, _ := os.ReadFile(log.Name())
			c.tb.Logf("the process:\n%.4000s", text)
		}
	})
	c.eventually("the process listens", func() bool {
		text, err := os.ReadFile(log.Name())
		return err == nil && bytes.Contains(text, []byte("customers enrol at"))
	})
}

// customer makes a certificate, which the operator puts into the directory.
func (c *counter) customer(owner string) {
	c.tb.Helper()
	pair := labtest.Sign(c.tb, owner, nil, nil)
	c.keeps(owner, pair)
	c.put("clients/"+owner+".pem", pair.CertPEM)
}

// keeps gives a customer his own files.
func (c *counter) keeps(name string, pair *labtest.Pair) {
	c.tb.Helper()
	c.put("certs/"+name+".pem", pair.CertPEM)
	c.put("certs/"+name+"-key.pem", pair.KeyPEM)
}

// enrols runs a customer's curl. It returns the status, 0 where the handshake failed, and the body.
func (c *counter) enrols(name string, from netip.Addr, more ...string) (status int, body string) {
	c.tb.Helper()
	at := netip.AddrPortFrom(c.link().Host4, enrolPort)
	if from.Is6() {
		at = netip.AddrPortFrom(c.link().Host6, enrolPort)
	}
	args := []string{"curl", "-sS", "-m", "60", "--interface", from.String(), "--cacert", filepath.Join(c.dir, "cert.pem"), "-w", "\n%{http_code}", "-X", "POST"}
	if name != "" {
		args = append(args, "--cert", filepath.Join(c.certs, name+".pem"), "--key", filepath.Join(c.certs, name+"-key.pem"))
	}
	cmd := labtest.Command(c.tb.Context(), c.lab.Wire, append(append(args, more...), fmt.Sprintf("https://%s/v1/enrol", at))...)
	out, _ := cmd.Output()
	at2 := bytes.LastIndexByte(out, '\n')
	if at2 < 0 {
		c.tb.Fatalf("curl of %s: %q", name, out)
	}
	if _, err := fmt.Sscan(string(out[at2+1:]), &status); err != nil {
		c.tb.Fatalf("curl of %s: %q", name, out)
	}
	return status, string(out[:at2])
}

// in expects that a customer enrols, and returns what he is told.
func (c *counter) in(owner string, from netip.Addr) (a enrol.Answer) {
	c.tb.Helper()
	status, body := c.enrols(owner, from)
	if err := json.Unmarshal([]byte(body), &a); status != http.StatusOK || err != nil || a.Owner != owner {
		c.tb.Fatalf("%s from %s: %d %s", owner, from, status, body)
	}
	return a
}

// out expects that a customer is refused.
func (c *counter) out(owner string, from netip.Addr, status int, result string) {
	c.tb.Helper()
	got, body := c.enrols(owner, from)
	if got != status || result != "" && !strings.Contains(body, fmt.Sprintf(`"result":%q`, result)) {
		c.tb.Errorf("%s from %s: %d %s, want %d %s", owner, from, got, body, status, result)
	}
}

// knocks expects an outcome for a source at the API.
func (c *counter) knocks(from netip.Addr, want netlab.Outcome) {
	c.tb.Helper()
	at := c.api4()
	if from.Is6() {
		at = c.api6()
	}
	labtest.Expect(c.tb, c.lab.Wire, from, at, want)
}

func (c *counter) counted(owner, result string) uint64 {
	c.tb.Helper()
	for _, e := range ask[api.Stats](c.host, "stats").Enrolments {
		if e.Owner == owner && e.Result == result {
			return e.Requests
		}
	}
	c.tb.Fatalf("no series of %s, %s", owner, result)
	return 0
}

var second4 = netip.MustParseAddr("198.51.100.8")

// Promise: a customer whose address is dropped enrols with curl and connects; his neighbours do not; the list says
// who he is, by which certificate and until when; a restart keeps him; what is one too many takes the place of
// the oldest.
func TestEnrol(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	c.customer("acme")
	c.knocks(netlab.Unlisted4, netlab.Dropped)
	a := c.in("acme", netlab.Unlisted4)
	if a.Prefix.String() != "198.51.100.7/32" || a.Left != 1 || len(a.Replaced) > 0 || time.Until(a.Until) > time.Hour || time.Until(a.Until) < 50*time.Minute {
		t.Errorf("the answer is %+v", a)
	}
	c.knocks(netlab.Unlisted4, netlab.Connected)
	c.knocks(second4, netlab.Dropped)
	c.knocks(netlab.Unlisted6, netlab.Dropped)
	if again := c.in("acme", netlab.Unlisted4); !again.Until.Equal(a.Until) {
		t.Errorf("asked again at once, it ends at %v instead of %v", again.Until, a.Until)
	}
	entry := ask[struct{ Entries []api.Entry }](c.host, "list", "acme").Entries[0]
	if entry.Origins[0] != "enrol" || !strings.Contains(entry.Note, " sha256:") || !slices.Equal(entry.Services, []string{"api"}) || entry.Until == nil || !entry.Until.Equal(a.Until) {
		t.Errorf("the list has %+v", entry)
	}
	if text := c.must("history", "-n", "1"); !strings.Contains(text, "enrol acme 198.51.100.7/32") || !strings.Contains(text, fmt.Sprint(enrolUser)) {
		t.Errorf("the history does not tell:\n%s", text)
	}
	if log := c.d.logged(); !strings.Contains(log, "enrolled 198.51.100.7/32 (acme) until ") {
		t.Errorf("the log does not tell:\n%s", log)
	}

	c.restart()
	c.knocks(netlab.Unlisted4, netlab.Connected)
	six := c.in("acme", netlab.Unlisted6)
	if six.Prefix.String() != "2001:db8:bad::/64" || six.Left != 0 {
		t.Errorf("of IPv6 the answer is %+v", six)
	}
	c.knocks(netlab.Unlisted6, netlab.Connected)
	c.knocks(netip.MustParseAddr("2001:db8:bad::1234"), netlab.Connected) // where he is in an hour
	c.knocks(netip.MustParseAddr("2001:db8:bad:1::7"), netlab.Dropped)
	last := c.in("acme", second4)
	if len(last.Replaced) != 1 || last.Replaced[0] != a.Prefix {
		t.Errorf("one too many: %+v", last)
	}
	c.knocks(second4, netlab.Connected)
	c.knocks(netlab.Unlisted4, netlab.Dropped)
	c.knocks(netlab.Unlisted6, netlab.Connected)
	c.knocks(netlab.Listed4, netlab.Connected)

	if c.counted("acme", enrol.Enrolled) != 2 || c.counted("acme", enrol.Standing) != 0 || c.counted("acme", enrol.Suspended) != 0 {
		t.Errorf("the counts since the restart are %+v", ask[api.Stats](c.host, "stats").Enrolments)
	}
	if text := c.must("stats", "-o", "prometheus"); !strings.Contains(text, `xdpallow_enrolments_total{owner="acme",result="enrolled"} 2`) {
		t.Error("the metric does not tell")
	}
	text := c.must("events", "-n", "4096", "-o", "json")
	told := 0
	for line := range strings.Lines(text) {
		var e events.Event
		if err := json.Unmarshal([]byte(line), &e); err == nil && e.Reason == enrol.Enrolled && e.Verdict == "pass" && e.Owner == "acme" {
			told++
		}
	}
	if told != 2 {
		t.Errorf("%d events tell of it, want 2:\n%s", told, text)
	}
	h := c.host
	if s := h.status(); !s.Enforcing || len(s.Problems) > 0 {
		t.Errorf("problems: %+v", s.Problems)
	}
}

// Promise: what was enrolled ends by itself, to the second, though the daemon is dead; what has not ended is let in
// again after a reboot.
func TestEnrolledEndsWithoutDaemon(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	c.customer("brief")
	c.customer("acme")
	c.in("acme", second4)
	a := c.in("brief", netlab.Unlisted4)
	c.knocks(netlab.Unlisted4, netlab.Connected)
	c.d.kill()
	c.out("acme", netlab.Unlisted4, http.StatusServiceUnavailable, "")
	c.eventually("the end is reached", func() bool { return c.question(netlab.Unlisted4, port).Reason == "expired" })
	if left := time.Until(a.Until); left > 2*time.Second {
		t.Errorf("it ended %v too early", left)
	}
	c.knocks(netlab.Unlisted4, netlab.Dropped)
	c.knocks(second4, netlab.Connected)
	c.knocks(netlab.Listed4, netlab.Connected)
	c.reboot()
	c.ownPins()
	c.d = nil
	c.restart()
	c.knocks(second4, netlab.Connected)
	c.knocks(netlab.Unlisted4, netlab.Dropped)
	c.in("brief", netlab.Unlisted4)
	c.knocks(netlab.Unlisted4, netlab.Connected)
}

// Promise: nobody is let in who has no certificate, no limits, or is stopped; who comes from elsewhere; or who asks all
// the time. A refusal changes nothing.
func TestEnrolRefuses(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	far := netip.MustParseAddr("192.0.2.7")
	inside := netip.MustParseAddr("10.9.9.7")
	for _, p := range []string{"192.0.2.0/24", "10.9.9.0/24"} {
		if err := c.lab.AddClients(netip.MustParsePrefix(p)); err != nil {
			t.Fatal(err)
		}
	}
	c.customer("acme")
	c.customer("globex")
	c.customer("hooli")
	c.keeps("thief", labtest.Sign(t, "acme", nil, nil))
	before := c.status().Entries
	c.out("", netlab.Unlisted4, 0, "")
	c.out("thief", netlab.Unlisted4, 0, "")
	c.out("hooli", netlab.Unlisted4, http.StatusForbidden, enrol.UnknownOwner)
	c.out("acme", far, http.StatusForbidden, enrol.Outside)
	c.out("globex", inside, http.StatusForbidden, enrol.Private)
	if n := c.status().Entries; n != before {
		t.Errorf("%d entries after refusals, %d before", n, before)
	}
	for _, from := range []netip.Addr{netlab.Unlisted4, far, inside} {
		c.knocks(from, netlab.Dropped)
	}
	// His words do not count.
	status, body := c.enrols("acme", netlab.Unlisted4, "-H", "X-Forwarded-For: 198.51.100.99", "-H", "X-Real-IP: 198.51.100.99", "--data", `{"owner":"globex","address":"198.51.100.99"}`)
	if status != http.StatusOK || !strings.Contains(body, `"prefix":"198.51.100.7/32"`) || !strings.Contains(body, `"owner":"acme"`) {
		t.Errorf("%d %s", status, body)
	}
	c.knocks(netip.MustParseAddr("198.51.100.99"), netlab.Dropped)
	c.out("globex", netlab.Unlisted4, http.StatusForbidden, enrol.Taken)

	c.must("suspend", "acme", "--reason", "OPS-1")
	c.knocks(netlab.Unlisted4, netlab.Dropped)
	c.out("acme", netlab.Unlisted4, http.StatusForbidden, enrol.Suspended)
	c.out("acme", second4, http.StatusForbidden, enrol.Suspended)
	c.knocks(second4, netlab.Dropped)
	c.restart()
	c.out("acme", netlab.Unlisted4, http.StatusForbidden, enrol.Suspended)
	c.must("resume", "acme")
	c.knocks(netlab.Unlisted4, netlab.Connected)

	// A certificate that is taken away is refused from then on, and the other one goes on.
	c.in("globex", far)
	if err := os.Remove(filepath.Join(c.dir, "clients/globex.pem")); err != nil {
		t.Fatal(err)
	}
	c.out("globex", far, 0, "")
	c.in("acme", netlab.Unlisted4)

	c.eventually("who asks more than ten times a minute is told so", func() bool {
		status, body := c.enrols("acme", netlab.Unlisted4)
		return status == http.StatusTooManyRequests && strings.Contains(body, enrol.TooOften)
	})
	c.knocks(netlab.Unlisted4, netlab.Connected)
}

// Promise: the socket has one right, which the group has; and whoever has broken into the process is bounded by
// the limits of all owners together.
func TestEnrolSocket(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	post := func(who credentials, socket, path, body string) (int, string) {
		t.Helper()
		cmd := exec.Command("setpriv", "--reuid", fmt.Sprint(who.uid), "--regid", fmt.Sprint(who.gid), "--groups", who.groups,
			"curl", "-sS", "-m", "60", "--unix-socket", socket, "-w", "\n%{http_code}", "-d", body, "http://x"+path)
		out, _ := cmd.Output()
		at := bytes.LastIndexByte(out, '\n')
		var status int
		if at < 0 {
			t.Fatalf("%+v: curl says %q", who, out)
		} else if _, err := fmt.Sscan(string(out[at+1:]), &status); err != nil {
			t.Fatal(err)
		}
		return status, string(out[:at])
	}
	request := func(owner, address string) string {
		return fmt.Sprintf(`{"owner":%q,"address":%q,"certificate":"1 sha256:0102030405060708"}`, owner, address)
	}
	const path = "/v1/enrol"
	for _, one := range []struct {
		who    credentials
		status int
	}{
		{credentials{"nobody", nobody, nobody, "65534"}, 0},
		{credentials{"group xdpallow", nobody, readGroup, "64001"}, 0},
		{credentials{"both groups of operators", nobody, nobody, "64001,64002"}, 0},
		{enrolling, 200},
		{credentials{"the group beside another one", nobody, nobody, fmt.Sprint(enrolGroup)}, 200},
		{credentials{"root", 0, 0, "0"}, 200},
	} {
		if status, body := post(one.who, c.enrolSocket(), path, request("acme", "198.51.100.7")); status != one.status {
			t.Errorf("%s: %d %s, want %d", one.who.name, status, body, one.status)
		}
	}
	// What the kernel lets in, the daemon judges by itself.
	if err := os.Chmod(c.enrolSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	if status, body := post(credentials{"", nobody, nobody, "65534"}, c.enrolSocket(), path, request("acme", "198.51.100.9")); status != http.StatusForbidden || !strings.Contains(body, "xdpallow-enrol") {
		t.Errorf("through a socket for everybody: %d %s", status, body)
	}
	for _, other := range []string{"/v1/add", "/v1/suspend", "/v1/status", "/v1/detach", "/v1/entries"} {
		if status, body := post(enrolling, c.enrolSocket(), other, `{"prefixes":["0.0.0.0/0"]}`); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", other, status, body)
		}
		if status, _ := post(enrolling, c.socket(), other, `{"prefixes":["0.0.0.0/0"]}`); status != 0 {
			t.Errorf("at the control socket the process gets %d for %s", status, other)
		}
	}
	// A thief in the process, who names owners and addresses as he likes.
	for i := range 12 {
		for _, owner := range []string{"acme", "globex", "hooli", "ours"} {
			post(enrolling, c.enrolSocket(), path, request(owner, fmt.Sprintf("198.51.100.%d", 20+i)))
			post(enrolling, c.enrolSocket(), path, request(owner, fmt.Sprintf("10.0.0.%d", i)))
		}
	}
	live := map[string]int{}
	for _, e := range ask[struct{ Entries []api.Entry }](c.host, "list").Entries {
		if slices.Contains(e.Origins, "enrol") {
			live[e.Owner]++
			if e.Until == nil || time.Until(*e.Until) > time.Hour || e.Prefix.Bits() != 32 || e.Prefix.Addr().IsPrivate() {
				t.Errorf("the thief has %+v", e)
			}
		}
	}
	if live["acme"] > 2 || live["globex"] > 1 || len(live) > 2 {
		t.Errorf("the thief has let in %v, over the limits", live)
	}
}

// Promise: an old config file, without enrol, has no socket for it; a reload says what takes one over that has.
func TestNoEnrolment(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	const old = "interfaces: [eth0]\nservices: {api: {ports: [8443]}}\nallow: [203.0.113.0/24]\n"
	d := h.run("--config", h.config(old))
	if found := labtest.Must(filepath.Glob(filepath.Join(h.dir, "*.sock")))(t); len(found) > 0 {
		t.Errorf("there is %q", found)
	}
	if text := h.must("stats", "-o", "prometheus"); strings.Contains(text, "enrolments") {
		t.Error("there is a metric of enrolments")
	}
	h.config(old + "enrol: {acme: {for: 1h, addresses: 1}}\n")
	h.must("reload")
	if !strings.Contains(d.logged(), "enrol changed; to take that over: systemctl restart xdpallow") {
		t.Errorf("that a restart takes it over is not told:\n%s", d.logged())
	}
}

// Promise: where the process's group is not there, that is a problem with what to type, and the gate stands.
func TestEnrolmentWithoutItsGroup(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.ownPins()
	h.private("mount --bind "+h.file("group", groups)+" /etc/group", "--config", h.config(enrolConfig)).await("enforcing: the canary was dropped")
	var told api.Problem
	h.eventually("the problem is told", func() bool {
		s := h.status()
		i := slices.IndexFunc(s.Problems, func(p api.Problem) bool { return p.Code == "enrol_socket" })
		if i >= 0 {
			told = s.Problems[i]
			if !s.Enforcing {
				t.Errorf("not enforcing: %+v", s.Problems)
			}
		}
		return i >= 0
	})
	if socket := filepath.Join(h.dir, "enrol.sock"); told.Subject != socket || !strings.Contains(told.Text, "xdpallow-enrol") || told.Hint == "" {
		t.Errorf("the problem is %+v", told)
	} else if mode := labtest.Must(os.Stat(socket))(t).Mode(); mode.Perm() != 0o600 {
		t.Errorf("the socket has mode %v", mode)
	}
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, h.api4(), netlab.Connected)
	labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, h.api4(), netlab.Dropped)
}

// strangersEnv makes the test binary strangers who shake hands with the address that it names, in a process of their
// own: so they compete with a customer as others do, and not inside his.
const strangersEnv = "XDPALLOW_E2E_STRANGERS"

// strangers make 200 handshakes without a certificate, four at a time. The error is that one succeeds, or that nobody
// listens.
func strangers(at string) error {
	shake := func() error {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			return err
		}
		defer conn.Close()
		if tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake() == nil {
			return errors.New("a handshake without a certificate succeeds")
		}
		return nil
	}
	ended := make(chan error)
	for range 4 {
		go func() {
			var err error
			for range 50 {
				err = errors.Join(err, shake())
			}
			ended <- err
		}()
	}
	return errors.Join(<-ended, <-ended, <-ended, <-ended)
}

// Promise: a thousand strangers' handshakes, without a certificate, delay enrolment and not listed customers. They do not
// even without the fifth of a CPU to which the unit bounds the process.
func TestHandshakesOfStrangers(t *testing.T) {
	t.Parallel()
	c := newCounter(t)
	c.customer("acme")
	listed := c.lab.Wire.HTTPClient(netlab.Listed4, patience)
	defer listed.CloseIdleConnections()
	const asked = 200 // a second, at most
	requests := func(until func() bool) (perSecond float64) {
		t.Helper()
		n, begin := 0, time.Now()
		for ; n == 0 || !until(); n++ {
			time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / asked)))
			response, err := listed.Get(fmt.Sprintf("http://%s/", c.api4()))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			listed.CloseIdleConnections() // so that each is a new opening
		}
		return float64(n) / time.Since(begin).Seconds()
	}
	strangers := func() (over func() bool) {
		ended := make(chan struct{})
		cmd := labtest.Command(t.Context(), c.lab.Wire, labtest.Must(os.Executable())(t))
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", strangersEnv, netip.AddrPortFrom(c.link().Host4, enrolPort)))
		go func() {
			defer close(ended)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("strangers: %v\n%s", err, out)
			}
		}()
		return func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
	}
	var ratios []float64
	for range 5 {
		begin := time.Now()
		during := requests(strangers())
		took := time.Since(begin)
		begin = time.Now()
		alone := requests(func() bool { return time.Since(begin) > took })
		ratios = append(ratios, during/alone)
	}
	slices.Sort(ratios)
	t.Logf("of its requests a second a listed client keeps %.2f", ratios)
	if ratios[2] < 0.7 {
		t.Errorf("beside handshakes of strangers a listed client keeps %.2f of its rate", ratios[2])
	}
	c.in("acme", netlab.Unlisted4)
}

// Promise: what README tells of a customer who moves happens, command by command.
func TestTranscriptOfACustomerWhoMoves(t *testing.T) {
	t.Parallel()
	steps := transcript(t, readme, "## When a customer's address changes\n")
	h := newHost(t)
	labtest.ServeHTTP(t, h.lab.Host, ":443", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	own := labtest.Sign(t, "enrol.example.net", nil, func(c *x509.Certificate) { c.DNSNames = []string{"enrol.example.net"} })
	for name, text := range map[string][]byte{
		"cert.pem": own.CertPEM, "key.pem": own.KeyPEM,
		"config.yaml": []byte("interfaces: [eth0]\nservices: {api: {ports: [443]}}\nallow: [203.0.113.0/24]\n" + strings.Join(steps[0].output, "\n") + "\n"),
	} {
		write(t, filepath.Join(h.dir, name), string(text))
	}
	if err := os.Mkdir(filepath.Join(h.dir, "clients"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := newMachine(h, "198.51.100.77")
	m.does(step{command: "cd " + h.dir + " && export CURL_CA_BUNDLE=cert.pem"})
	m.does(step{command: "sudo xdpallow run --config config.yaml &", output: []string{
		"xdpallow: eth0: attached (native); tcp/443 open to 1 prefix", "xdpallow: enforcing: the canary was dropped",
	}})
	m.does(step{command: "xdpallow enrol --cert cert.pem --key key.pem --clients clients 2>/dev/null &"})
	m.does(step{command: "until curl -so /dev/null https://enrol.example.net:8444/ || [ $? = 56 ]; do sleep 0.1; done 2>/dev/null"})
	for _, s := range steps {
		m.does(s)
	}
}
