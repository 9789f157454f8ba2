package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// The ports of three services; the first is that of flags.
const (
	synPort    = port
	strayPort  = port + 1
	strictPort = port + 2
)

const threeServices = `interfaces: [eth0]
services:
  api: {ports: [8443]}
  mail: {ports: [8444], drop: stray}
  web: {ports: [8445], drop: strict}
`

// config writes the host's config file and returns its path.
func (h *host) config(text string) string {
	h.tb.Helper()
	path := filepath.Join(h.dir, "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.tb.Fatal(err)
	}
	return path
}

// question is check; dropped is no error of it.
func (h *host) question(addr netip.Addr, port int) api.CheckResult {
	h.tb.Helper()
	r := h.cli("check", addr.String(), "--port", fmt.Sprint(port), "-o", "json")
	var answer api.CheckResult
	if err := json.Unmarshal([]byte(r.stdout), &answer); err != nil || r.code > 1 || (r.code == 1) != (answer.Verdict == "drop") {
		h.tb.Fatalf("check %s: exit %d\n%s%s", addr, r.code, r.stdout, r.stderr)
	}
	return answer
}

// asked is what check and a real connection both say of addr and port.
func (h *host) asked(addr netip.Addr, port int) string {
	h.tb.Helper()
	answer := h.question(addr, port)
	to, want := h.link().Host4, netlab.Connected
	if addr.Is6() {
		to = h.link().Host6
	}
	if answer.Verdict == "drop" {
		want = netlab.Dropped
	}
	labtest.Expect(h.tb, h.lab.Wire, addr, netip.AddrPortFrom(to, uint16(port)), want)
	return answer.Reason
}

func (h *host) listenAll() {
	h.tb.Helper()
	for _, p := range []int{synPort, strayPort, strictPort} {
		labtest.Listen(h.tb, h.lab.Host, fmt.Sprintf(":%d", p))
	}
}

// Promise: a config file makes services with ports and scopes of their
// own; an entry for one of them lists its sources for no other, and check and the
// kernel say wrong_service.
func TestServices(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listenAll()
	d := h.run("--config", h.config(threeServices+`allow:
  - 203.0.113.0/24
  - {prefix: 198.51.100.0/24, owner: acme, services: [mail, web]}
`))
	for _, c := range []struct {
		addr string
		want [3]string // to api, mail, web
	}{
		{"203.0.113.7", [3]string{"listed", "listed", "listed"}},
		{"198.51.100.7", [3]string{"wrong_service", "listed", "listed"}},
		{"2001:db8:a::7", [3]string{"not_listed", "not_listed", "not_listed"}},
	} {
		for i, want := range c.want {
			if got := h.asked(netip.MustParseAddr(c.addr), synPort+i); got != want {
				t.Errorf("%s to service %d: %s, want %s", c.addr, i, got, want)
			}
		}
	}
	h.must("add", "2001:db8:a::/48", "--service", "api,web", "--owner", "globex")
	if got := [3]string{h.asked(netlab.Listed6, synPort), h.asked(netlab.Listed6, strayPort), h.asked(netlab.Listed6, strictPort)}; got != [3]string{"listed", "wrong_service", "listed"} {
		t.Errorf("after add --service api,web: %v", got)
	}
	if text := h.cli("check", netlab.Listed6.String(), "--port", "8444").stdout; !strings.HasSuffix(text, "drop, wrong_service (2001:db8:a::/48, globex, only for api and web)\n") {
		t.Errorf("check says %q", text)
	}
	if r := h.cli("add", "192.0.2.0/24", "--service", "wbe"); r.code != 2 || !strings.Contains(r.stderr, " 192.0.2.0/24 --service api,mail,web\n") {
		t.Errorf("an unknown service: exit %d, %s", r.code, r.stderr)
	}
	if h.packets("drop", "wrong_service", "ipv6") == 0 {
		t.Error("no drop for wrong_service is counted")
	}
	d.kill()
	if got := h.question(netlab.Listed6, strayPort); got.Reason != "wrong_service" || len(got.Services) != 2 {
		t.Errorf("without a daemon check says %+v", got)
	}
}

// Promise: each service has a scope of its own: a segment that
// opens nothing and belongs to no socket is answered in syn, and dropped in stray and
// strict, for unlisted sources only.
func TestScopes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listenAll()
	h.run("--config", h.config(threeServices+"allow: [203.0.113.0/24]\n"))
	for _, c := range []struct {
		source netip.Addr
		port   uint16
		reason string
	}{
		{netlab.Unlisted4, synPort, "pass not_opening"},
		{netlab.Unlisted4, strayPort, "drop stray"},
		{netlab.Unlisted4, strictPort, "drop not_listed"},
		{netlab.Listed4, strayPort, "pass listed"},
		{netlab.Listed4, strictPort, "pass listed"},
	} {
		words := strings.Fields(c.reason)
		before := h.packets(append(words, "eth0")...)
		segment := labtest.Segment{
			SrcMAC: h.link().WireMAC, DstMAC: h.link().HostMAC,
			Src: netip.AddrPortFrom(c.source, 40000), Dst: netip.AddrPortFrom(h.link().Host4, c.port), Flags: labtest.ACK,
		}
		frame, err := segment.Frame()
		if err == nil {
			err = h.link().Send(frame)
		}
		if err != nil {
			t.Fatal(err)
		}
		h.eventually(fmt.Sprintf("an ACK from %s to %d counts as %s", c.source, c.port, c.reason), func() bool {
			return h.packets(append(words, "eth0")...) == before+1
		})
	}
}

// Promise: a lifetime ends in the kernel, within a second, with nobody there to
// end it; add again extends it.
func TestLifetimes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run("--allow", "192.0.2.1", "--drop", "stray")
	before := time.Now()
	h.must("add", netlab.ListedPrefix4.String(), "--for", "5s", "--owner", "acme")
	h.must("add", netlab.ListedPrefix6.String(), "--for", "1s")
	h.must("add", netlab.ListedPrefix6.String(), "--for", "1h") // once more: extended
	after := time.Now()
	listed := ask[api.Listing](h, "list", "--owner", "acme").Entries
	if len(listed) != 1 || listed[0].Until == nil || listed[0].Until.Location() != time.UTC {
		t.Fatalf("listed are %+v", listed)
	}
	until := *listed[0].Until
	if slack := time.Millisecond; until.Before(before.Add(5*time.Second-slack)) || until.After(after.Add(5*time.Second+slack)) {
		t.Errorf("--for 5s between %v and %v ends %v", before, after, until)
	}
	if got := h.asked(netlab.Listed4, port); got != "listed" {
		t.Fatalf("within its life: %s", got)
	}
	d.kill()

	// Now only the kernel knows. Fresh SYNs find the moment.
	var last time.Time // when the last one that connected was sent
	for time.Now().Before(until.Add(time.Second)) {
		sent := time.Now()
		outcome, err := h.lab.Wire.Knock(netlab.Listed4, h.api4(), 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if outcome == netlab.Connected {
			last = sent
		}
		time.Sleep(20 * time.Millisecond)
	}
	if last.Before(until.Add(-time.Second)) || last.After(until.Add(100*time.Millisecond)) {
		t.Errorf("it ends at %v, and the last connection was opened at %v", until, last)
	}
	answer := h.question(netlab.Listed4, port)
	if answer.Reason != "expired" || answer.Until == nil || !answer.Until.Equal(until) {
		t.Errorf("check says %+v, want expired at %v", answer, until)
	}
	want := fmt.Sprintf("%s to tcp/%d: drop, expired (%s, acme, ended %s)\n", netlab.Listed4, port, netlab.ListedPrefix4, until.Format(time.RFC3339))
	if got := h.cli("check", netlab.Listed4.String(), "--port", fmt.Sprint(port)).stdout; got != want {
		t.Errorf("check says %q, want %q", got, want)
	}
	if got := h.asked(netlab.Listed6, port); got != "listed" {
		t.Errorf("the extended one: %s", got)
	}
	h.run("--allow", "192.0.2.1", "--drop", "stray")
	h.must("add", netlab.ListedPrefix4.String(), "--owner", "acme", "--until", "2099-12-31")
	if got := h.asked(netlab.Listed4, port); got != "listed" {
		t.Errorf("added again: %s", got)
	}
	if table := h.must("list"); !strings.Contains(table, " 2100-01-01T00:00:00Z ") {
		t.Errorf("list shows no end:\n%s", table)
	}
}

// Promise: nested prefixes with other services and lifetimes come out as the
// model says, at each stage of their lives and without a daemon.
func TestNested(t *testing.T) {
	t.Parallel()
	for life := 3 * time.Second; !nested(t, life); life *= 4 {
		t.Logf("a life of %v was over before all was asked: once more, with a longer one", life)
	}
}

// nested reports false when the machine was too slow to ask about lives that last so long.
func nested(t *testing.T, life time.Duration) bool {
	t.Helper()
	h := newHost(t)
	h.listenAll()
	if err := h.lab.AddClients(netip.MustParsePrefix("203.0.7.0/24")); err != nil {
		t.Fatal(err)
	}
	d := h.run("--config", h.config(threeServices+`allow:
  - {prefix: 203.0.0.0/16, owner: isp, service: web}
  - {prefix: 203.0.113.0/24, owner: acme, services: [api, mail]}
  - {prefix: 203.0.113.8/30, owner: acme, service: mail, until: 2020-01-01}
`))
	h.must("add", "203.0.113.0/28", "--for", policy.FormatDuration(life), "--service", "web")
	h.must("add", "203.0.113.10", "--for", policy.FormatDuration(life))
	entries := ask[api.Listing](h, "list").Entries
	var listed []policy.Entry
	var end time.Time
	for _, e := range entries {
		claim := policy.Claim{Prefix: e.Prefix, Owner: e.Owner, Services: e.Services}
		if e.Until != nil {
			claim.Until, end = *e.Until, later(end, *e.Until)
		}
		listed = append(listed, policy.EntryOf(claim))
	}
	state := policy.State{Entries: policy.NewEntries(listed)}
	d.kill()
	sources := []string{"203.0.113.10", "203.0.113.9", "203.0.113.1", "203.0.113.200", "203.0.7.1", "198.51.100.7"}
	stage := func(name string, now time.Time) (wrong []string) {
		seen := map[string]bool{}
		for _, source := range sources {
			for i, service := range []string{"api", "mail", "web"} {
				addr := netip.MustParseAddr(source)
				_, want := state.Lookup(addr, service, now)
				if got := h.question(addr, synPort+i).Reason; got != want {
					wrong = append(wrong, fmt.Sprintf("%s: %s to %s is %s, the model says %s", name, source, service, got, want))
				}
				seen[want] = true
			}
		}
		if !seen["listed"] || !seen["wrong_service"] || !seen["not_listed"] {
			wrong = append(wrong, fmt.Sprintf("%s: only %v were seen", name, seen))
		}
		return wrong
	}
	wrong := stage("alive", time.Now())
	if time.Now().After(end) {
		return false
	}
	time.Sleep(time.Until(end.Add(50 * time.Millisecond)))
	for _, text := range append(wrong, stage("ended", time.Now())...) {
		t.Error(text)
	}
	// The longest match says why: ended entries cover an entry for another service.
	if got := h.asked(netip.MustParseAddr("203.0.113.10"), synPort); got != "listed" {
		t.Errorf("203.0.113.10 to api: %s, want listed by the /24", got)
	}
	if got := h.asked(netip.MustParseAddr("203.0.7.1"), synPort); got != "wrong_service" {
		t.Errorf("203.0.7.1 to api: %s", got)
	}
	return true
}

func later(a, b time.Time) time.Time {
	if b.After(a) && b.Year() < 2090 {
		return b
	}
	return a
}

// Promise: reload and SIGHUP read entries and services of the config again; a
// mistake changes nothing, with its line; a key for the next start is named.
func TestConfigReload(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listenAll()
	path := h.config("interfaces: [eth0]\nservices: {api: {ports: [8443]}}\nallow: [203.0.113.0/24]\n")
	d := h.run("--config", path)
	if got := h.status().Origins; len(got) != 1 || got[0].Name != policy.OriginConfig || got[0].Entries != 1 {
		t.Errorf("origins are %+v", got)
	}
	if entries := ask[api.Listing](h, "list").Entries; len(entries) != 1 || entries[0].Origins[0] != "config" {
		t.Errorf("entries are %+v", entries)
	}
	if r := h.cli("remove", "203.0.113.0/24"); r.code != 1 || !strings.Contains(r.stderr, "it stands in "+path+":3") {
		t.Errorf("remove what the config says: exit %d, %s", r.code, r.stderr)
	}

	h.config("interfaces: [eth0]\nservices: {api: {ports: [8443]}}\nallows: [198.51.100.0/24]\n")
	generation := h.status().Generation
	if r := h.cli("reload"); r.code != 2 || !strings.Contains(r.stderr, path+`:3: unknown key "allows"`) {
		t.Errorf("reload of a bad config: exit %d, %s", r.code, r.stderr)
	}
	if s := h.status(); s.Generation != generation || len(s.Problems) != 1 || s.Problems[0].Code != "origin_failing" || !s.Enforcing {
		t.Errorf("after a bad reload: %+v", s)
	}
	if got := h.asked(netlab.Listed4, synPort); got != "listed" {
		t.Errorf("after a bad reload: %s", got)
	}

	const opening = `interfaces: [eth0, eth7]
backstop: off
services:
  api: {ports: [8443], mode: audit}
  web: {ports: [8445], drop: strict}
allow: [198.51.100.0/24 service=web]
`
	h.config(opening)
	for _, dry := range [][]string{{"run", "--config", path, "--dry-run", "--allow-open"}, {"reload", "--dry-run", "--allow-open"}} {
		const want = "+ 198.51.100.0/24\n- 203.0.113.0/24\n"
		if r := h.cli(dry...); r.code != 0 || !strings.HasPrefix(r.stdout, want) || h.status().Generation != generation {
			t.Errorf("%v: exit %d, %s%s", dry, r.code, r.stdout, r.stderr)
		}
	}
	// A signal cannot say that api may open: it changes nothing, until somebody says so.
	if err := d.cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.await("this would open what is shut: tcp/8443 opens to everybody (audit)")
	if got := h.status().Generation; got != generation {
		t.Errorf("a refused SIGHUP made generation %d of %d", got, generation)
	}
	h.must("reload", "--allow-open")
	h.config(strings.Replace(opening, "allow: [198", "allow: [192.0.2.0/24, 198", 1))
	if err := d.cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.await("reloaded: 1 added, 0 removed, 0 changed")
	d.await("services changed: api [tcp/8443] enforce, drop syn → api [tcp/8443] audit, drop syn; web [tcp/8445] enforce, drop strict")
	d.await(path + ": interfaces, backstop changed; to take that over: systemctl restart xdpallow")
	if got := h.asked(netlab.Unlisted4, strictPort); got != "listed" {
		t.Errorf("web after the reload: %s", got)
	}
	if got := h.question(netlab.Unlisted4, synPort); got.Reason != "wrong_service" || got.Verdict != "audit" {
		t.Errorf("api after the reload: %+v", got)
	}
	if r := h.cli("reload"); r.code != 0 || !strings.Contains(r.stderr, "warning: "+path+": interfaces, backstop changed") {
		t.Errorf("reload says nothing of what it leaves: exit %d, %s", r.code, r.stderr)
	}
}

// Promise: a bad config after a reboot leaves the host neither open nor without
// a daemon; without a last good policy it is exit 2, and nothing was attached.
func TestBadConfigAtStart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listenAll()
	list := filepath.Join(h.dir, "a.list")
	if err := os.WriteFile(list, []byte("198.51.100.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := h.config("interface: [eth0]\n")
	d := h.start(binary, "--config", path)
	if code := d.ends(); code != 2 || !strings.Contains(d.logged(), path+`:1: unknown key "interface"`) {
		t.Fatalf("a bad first config: exit %d, %s", code, d.logged())
	}
	if r := h.cli("status"); r.code != 3 {
		t.Errorf("a bad first config left something: exit %d, %s", r.code, r.stdout)
	}

	h.config("interfaces: [eth0]\nservices: {api: {ports: [8443], drop: stray}}\nallow: [203.0.113.0/24]\nallow_files: [a.list]\n")
	d = h.run("--config", path)
	d.stop()
	h.reboot()
	for name, text := range map[string]string{
		"no YAML":     "interfaces: [eth0\n\tservices: }{",
		"bad entry":   "interfaces: [eth0]\nservices: {api: {ports: [8443]}}\nallow: [203.0.113.7/24]\n",
		"bad service": "interfaces: [eth0]\nservices: {api: {ports: [8443]}}\nallow: [192.0.2.0/24 service=web]\nallow_files: [a.list]\n",
	} {
		h.config(text)
		d := h.run("--config", path)
		s := h.status()
		if !s.Enforcing || len(s.Services) != 1 || s.Services[0].Scope != policy.ScopeStray || len(s.Problems) != 1 || s.Problems[0].Code != "origin_failing" {
			t.Errorf("%s: status is %+v", name, s)
		}
		got := []string{h.asked(netlab.Listed4, synPort), h.asked(netlab.Unlisted4, synPort), h.asked(netlab.Listed6, synPort)}
		if strings.Join(got, " ") != "listed listed not_listed" {
			t.Errorf("%s: %v", name, got)
		}
		d.stop()
	}
}

// Promise: a start that nobody watches opens nothing. What the config file was changed to
// open while no daemon ran stays shut, after a reboot too, and is a problem with the
// command that opens it; what shuts more is taken over at once.
func TestStartOpensNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listenAll()
	const extra = 8446
	labtest.Listen(t, h.lab.Host, fmt.Sprintf(":%d", extra))
	path := h.config(threeServices + "allow: [203.0.113.0/24]\n")
	h.run("--config", path).stop()
	changed := `interfaces: [eth0]
services:
  api: {ports: [8443], mode: audit}
  web: {ports: [8445, 8446], drop: syn}
allow: [203.0.113.0/24, 2001:db8:a::/48]
`
	h.config(changed)
	if r := h.cli("run", "--config", path, "--dry-run"); r.code != 1 || !strings.Contains(r.stdout, "! tcp/8444 opens to everybody\n") || !strings.Contains(r.stderr, "--allow-open") {
		t.Errorf("a dry run of such a start: %+v", r)
	}
	shut := func(when string) {
		t.Helper()
		s := h.status()
		if len(s.Problems) != 1 || s.Problems[0].Code != "kept_shut" || !strings.HasPrefix(s.Problems[0].Hint, "xdpallow reload --allow-open") || !s.Enforcing {
			t.Errorf("%s: enforcing %v, problems %+v", when, s.Enforcing, s.Problems)
		}
		for _, p := range []int{synPort, strayPort, strictPort, extra} {
			if got := h.asked(netlab.Unlisted4, p); got != "not_listed" {
				t.Errorf("%s: a stranger to %d: %s", when, p, got)
			}
			if got := h.asked(netlab.Listed6, p); got != "listed" {
				t.Errorf("%s: who was listed meanwhile to %d: %s", when, p, got)
			}
		}
		for _, service := range s.Services {
			want := map[string]policy.Scope{"api": policy.ScopeSYN, "mail": policy.ScopeStray, "web": policy.ScopeStrict}[service.Name]
			if service.Scope != want || service.Mode != policy.Enforce {
				t.Errorf("%s: %+v", when, service)
			}
		}
	}
	d := h.run("--config", path)
	shut("after a restart")
	d.kill()
	h.reboot()
	d = h.run("--config", path)
	shut("after a reboot")
	h.refused(1, "this would open what is shut", "reload")
	shut("after a reload without the flag")
	h.must("reload", "--allow-open")
	if got := h.asked(netlab.Unlisted4, synPort); got != "not_listed" && h.status().Enforcing {
		t.Errorf("after reload --allow-open: %s", got)
	}
	if got := h.question(netlab.Unlisted4, strayPort); got.Verdict != "pass" {
		t.Errorf("after reload --allow-open a port that left the gate: %+v", got)
	}
	for _, p := range h.status().Problems {
		if p.Code == "kept_shut" {
			t.Errorf("still a problem: %+v", p)
		}
	}

	// What is typed is meant: flags are not asked, nor is a start that says so.
	d.stop()
	h.must("detach", "--yes")
	d = h.run(append([]string{"--port", "8443,8444"}, allowed...)...)
	d.stop()
	h.run(append([]string{"--port", "8443"}, allowed...)...)
	if got := h.question(netlab.Unlisted4, strayPort); got.Verdict != "pass" || len(h.status().Problems) > 0 {
		t.Errorf("a port that --port no longer names: %+v, %+v", got, h.status().Problems)
	}
}

// Promise: a service that leaves the config file with its prefixes while no daemon runs
// stays, with its prefixes: its port neither opens to strangers nor shuts its customers out.
func TestStartKeepsAServiceWithItsPrefixes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listenAll()
	path := h.config(threeServices + "allow: [203.0.113.0/24 service=api, '2001:db8:a::/48 service=mail', 203.0.113.0/28 service=web]\n")
	h.run("--config", path).stop()
	h.config("interfaces: [eth0]\nservices: {api: {ports: [8443]}, web: {ports: [8445], drop: strict}}\nallow: [203.0.113.0/24 service=api, 203.0.113.0/28 service=web]\n")
	h.run("--config", path)
	s := h.status()
	if !s.Enforcing || !slices.ContainsFunc(s.Problems, func(p api.Problem) bool {
		return p.Code == "kept_shut" && strings.HasPrefix(p.Hint, "xdpallow reload --allow-open")
	}) {
		t.Errorf("enforcing %v, problems %+v", s.Enforcing, s.Problems)
	}
	got := []string{h.asked(netlab.Unlisted4, strayPort), h.asked(netlab.Listed6, strayPort), h.asked(netlab.Listed4, synPort)}
	if strings.Join(got, " ") != "not_listed listed listed" {
		t.Errorf("a stranger, a customer of mail, a customer of api: %v", got)
	}
	h.must("reload", "--allow-open")
	if p := h.status().Problems; len(p) > 0 {
		t.Errorf("after reload --allow-open: %+v", p)
	}
}

// Promise: a port that the config file gives to a service whose audit is kept shut is not
// guarded meanwhile, and the problem names it.
func TestStartNamesPortsThatStayOut(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listenAll()
	path := h.config("interfaces: [eth0]\nservices: {api: {ports: [8443]}}\nallow: [203.0.113.0/24]\n")
	h.run("--config", path).stop()
	h.config("interfaces: [eth0]\nservices: {api: {ports: [8443, 8446], mode: audit}}\nallow: [203.0.113.0/24]\n")
	h.run("--config", path)
	if p := h.status().Problems; len(p) != 1 || p[0].Code != "kept_shut" || !strings.Contains(p[0].Text, "tcp/8443 opens to everybody (audit)") || !strings.Contains(p[0].Text, "tcp/8446 is not guarded") {
		t.Errorf("problems %+v", p)
	}
	h.must("reload", "--allow-open")
	for _, p := range h.status().Problems {
		if p.Code == "kept_shut" {
			t.Errorf("after reload --allow-open: %+v", p)
		}
	}
}
