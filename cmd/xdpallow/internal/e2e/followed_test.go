package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// partner is a web server outside, with TLS, that publishes a list.
type partner struct {
	h    *host
	ca   string // the file with its certificate
	page string // the file that it serves as /egress.txt
	url  string
}

// newPartner serves at the wire's address, and its certificate is also for partner.example.
func newPartner(h *host) *partner {
	h.tb.Helper()
	p := &partner{
		h: h, ca: filepath.Join(h.dir, "partner-ca.pem"), page: filepath.Join(h.dir, "egress.txt"),
		url: fmt.Sprintf("https://%s/egress.txt", h.link().Wire4),
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(p.page)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(text)
	})
	write(h.tb, p.ca, string(labtest.ServeTLS(h.tb, h.lab.Wire, netip.AddrPortFrom(h.link().Wire4, 443), handler, "partner.example")))
	return p
}

// publishes writes the page.
func (p *partner) publishes(text string) {
	p.h.tb.Helper()
	temporary := p.page + ".new"
	write(p.h.tb, temporary, text)
	if err := os.Rename(temporary, p.page); err != nil {
		p.h.tb.Fatal(err)
	}
}

// config is a config file that follows the partner beside the lab's listed customers.
func (p *partner) config(more string) string {
	return p.h.config(fmt.Sprintf(`interfaces: [eth0]
services: {api: {ports: [%d]}}
allow: [%s owner=ours]
origins:
  partner:
    url: %s
    ca: %s
    owner: partner
    every: 30s
%s`, port, netlab.ListedPrefix4, p.url, p.ca, more))
}

// problem returns what status says of an origin that fails, "" when it does not.
func (h *host) problem(origin string) string {
	h.tb.Helper()
	for _, p := range h.status().Problems {
		if p.Code == "origin_failing" && p.Subject == origin {
			return p.Text
		}
	}
	return ""
}

// Promise: a partner's page is followed: who is added there connects, who leaves it is shut
// out; and a page that is empty, HTML, everybody, or gone is refused as a whole: whom it would
// have cut off stays in, over a restart, a reboot and with the partner's server down.
func TestPartnersPage(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	p := newPartner(h)
	moved := netip.MustParsePrefix("192.0.2.0/24")
	if err := h.lab.AddClients(moved); err != nil {
		t.Fatal(err)
	}
	one, two := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.20")
	knock := func(from netip.Addr, want netlab.Outcome) {
		t.Helper()
		labtest.Expect(t, h.lab.Wire, from, h.api4(), want)
	}
	lists := func(addr netip.Addr) bool { return h.question(addr, port).Reason == "listed" }
	p.publishes("# egress of partner\n192.0.2.7\n")
	d := h.run("--config", p.config(""))
	h.eventually("the page is taken over", func() bool { return lists(one) })
	knock(one, netlab.Connected)
	knock(two, netlab.Dropped)

	p.publishes("# egress of partner\n192.0.2.7\n192.0.2.20\n")
	h.eventually("the address that was added is listed within every", func() bool { return lists(two) }) // nobody asks for it
	knock(two, netlab.Connected)

	p.publishes("192.0.2.20\n192.0.2.21\n192.0.2.22\n")
	h.must("reload")
	h.eventually("the address that left is shut out", func() bool { return !lists(one) })
	knock(one, netlab.Dropped)

	for name, page := range map[string]struct{ text, told string }{
		"empty": {"# nothing today\n", ""},
		"HTML":  {"<!DOCTYPE html><title>Maintenance</title>\n", p.url + ": is a page of HTML or XML, not a list: perhaps of a login or of an error"},
		"all":   {"192.0.2.20\n0.0.0.0/0\n", p.url + ":2: 0.0.0.0/0 is wider than widest /16"},
	} {
		p.publishes(page.text)
		h.must("reload")
		told := ""
		h.eventually(name+" is told of", func() bool { told = h.problem("url:partner"); return told != "" })
		if page.told != "" && !strings.Contains(told, page.told) {
			t.Errorf("%s: status says %q", name, told)
		}
		knock(two, netlab.Connected)
		knock(netlab.Unlisted4, netlab.Dropped)
		p.publishes("192.0.2.20\n192.0.2.21\n192.0.2.22\n")
		h.must("reload")
		h.eventually("the good page is taken over again", func() bool { return h.problem("url:partner") == "" })
	}

	if err := os.Remove(p.page); err != nil {
		t.Fatal(err)
	}
	d.stop()
	d = h.run("--config", p.config(""))
	knock(two, netlab.Connected)
	h.eventually("that the page is gone is told of", func() bool { return strings.Contains(h.problem("url:partner"), "answers 404") })
	d.kill()
	h.reboot()
	d = h.run("--config", p.config(""))
	knock(two, netlab.Connected)
	knock(one, netlab.Dropped)

	if text := h.must("list"); !strings.Contains(text, "url:partner") {
		t.Errorf("list does not name the origin:\n%s", text)
	}
	_ = d
}

// Promise: who is stopped stays stopped, whatever the partner publishes; and with stale the
// kernel ends the entries by itself though the daemon is dead.
func TestPartnerIsBounded(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	p := newPartner(h)
	if err := h.lab.AddClients(netip.MustParsePrefix("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	one := netip.MustParseAddr("192.0.2.7")
	p.publishes("192.0.2.7\n192.0.2.8\n")
	d := h.run("--config", p.config("    stale: 2m\n"))
	h.eventually("the page is taken over", func() bool { return h.question(one, port).Reason == "listed" })
	var ends time.Time
	for _, e := range ask[struct{ Entries []api.Entry }](h, "list", "--owner", "partner").Entries {
		if e.Until == nil || time.Until(*e.Until) > 2*time.Minute {
			t.Fatalf("%s ends at %v", e.Prefix, e.Until)
		}
		ends = *e.Until
	}
	h.must("suspend", "partner", "--reason", "OPS-1")
	p.publishes("192.0.2.7\n192.0.2.8\n192.0.2.9\n")
	h.must("reload")
	h.eventually("the new address is listed", func() bool { return strings.Contains(h.must("list"), "192.0.2.9/32") })
	labtest.Expect(t, h.lab.Wire, one, h.api4(), netlab.Dropped)
	labtest.Expect(t, h.lab.Wire, netip.MustParseAddr("192.0.2.9"), h.api4(), netlab.Dropped)
	h.must("resume", "partner")
	labtest.Expect(t, h.lab.Wire, one, h.api4(), netlab.Connected)
	d.kill()
	h.eventually("the end is near", func() bool { return time.Until(ends) < 10*time.Second })
	h.eventually("the kernel ends the entries", func() bool { return h.question(one, port).Reason == "expired" })
	labtest.Expect(t, h.lab.Wire, one, h.api4(), netlab.Dropped)
	labtest.Expect(t, h.lab.Wire, netlab.Listed4, h.api4(), netlab.Connected)
}

// Promise: what README tells of a partner's page happens, command by command. The config file is
// the one that it shows.
func TestTranscriptOfAPartner(t *testing.T) {
	t.Parallel()
	steps := transcript(t, readme, "## Lists that are kept elsewhere\n")
	h := newHost(t)
	if err := h.lab.AddClients(netip.MustParsePrefix("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	labtest.ServeHTTP(t, h.lab.Host, ":443", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	p := newPartner(h)
	p.publishes("192.0.2.7\n")
	config, hosts := filepath.Join(h.dir, "config.yaml"), filepath.Join(h.dir, "hosts")
	write(t, config, strings.Join(steps[0].output, "\n")+"\n")
	write(t, hosts, fmt.Sprintf("%s partner.example\n", h.link().Wire4))
	m := newMachine(h, "192.0.2.7")
	// The partner's own shell is that of his web server's directory.
	if err := os.WriteFile(filepath.Join(h.dir, "bin", "ssh"), []byte("#!/bin/sh\nshift\ncd "+h.dir+" && exec sh -c \"$*\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.does(step{command: "cd " + h.dir + " && mount --bind hosts /etc/hosts && export SSL_CERT_FILE=" + p.ca})
	for _, s := range steps {
		if _, comment, found := strings.Cut(s.command, "# from "); found {
			m.does(step{command: "export FROM=" + strings.FieldsFunc(comment, func(r rune) bool { return r == ',' || r == ':' })[0]})
		}
		m.does(s)
	}
}

// Promise: a host name is followed as it moves, and while its server is down nobody is cut off.
func TestNameIsFollowed(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	if err := h.lab.AddClients(netip.MustParsePrefix("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	const name = "vpn.branch.example"
	one, two := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.20")
	stop := labtest.ServeNames(t, h.lab.Wire, h.link().Wire4, name+","+one.String())
	write(t, filepath.Join(h.dir, "resolv.conf"), fmt.Sprintf("nameserver %s\noptions timeout:1 attempts:1\n", h.link().Wire4))
	config := h.config(fmt.Sprintf("interfaces: [eth0]\nservices: {api: {ports: [%d]}}\nallow: [%s]\norigins: {branch: {dns: [%s], owner: acme, hold: 1s}}\n",
		port, netlab.ListedPrefix4, name))
	m := newMachine(h, one.String())
	m.does(step{command: "mount --bind " + filepath.Join(h.dir, "resolv.conf") + " /etc/resolv.conf; exec 3>&1; xdpallow run --config " + config + " --socket " + h.socket() + " --state " + h.state() + " >/dev/null 2>&1 &"})
	reload := func() {
		t.Helper()
		if r := h.cli("reload"); r.code != 0 {
			t.Fatalf("reload: exit %d\n%s", r.code, r.stderr)
		}
	}
	listed := func(addr netip.Addr) func() bool {
		return func() bool {
			r := h.cli("list", "-o", "json")
			return r.code == 0 && strings.Contains(r.stdout, addr.String()+"/32")
		}
	}
	h.eventually("the name's address is listed", listed(one))
	labtest.Expect(t, h.lab.Wire, one, h.api4(), netlab.Connected)
	labtest.Expect(t, h.lab.Wire, two, h.api4(), netlab.Dropped)

	stop()
	reload()
	h.eventually("that its server is down is told of", func() bool { return h.problem("dns:branch") != "" })
	labtest.Expect(t, h.lab.Wire, one, h.api4(), netlab.Connected)

	labtest.ServeNames(t, h.lab.Wire, h.link().Wire4, name+","+two.String())
	reload()
	h.eventually("the new address is listed", listed(two))
	labtest.Expect(t, h.lab.Wire, two, h.api4(), netlab.Connected)
	h.eventually("the old address is gone", func() bool { reload(); return !listed(one)() })
	labtest.Expect(t, h.lab.Wire, one, h.api4(), netlab.Dropped)
}
