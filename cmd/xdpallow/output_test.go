package main

// Promise guarded here: the output is a contract, sorted, and
// the same bytes each time.

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func checkResult(addr, verdict, reason, prefix, owner string, port uint16) api.CheckResult {
	r := api.CheckResult{
		Address: netip.MustParseAddr(addr), Port: policy.Port{Protocol: policy.TCP, Number: port},
		Verdict: verdict, Reason: reason, Owner: owner, Generation: 2, Origins: []policy.Origin{},
	}
	if prefix != "" {
		p := netip.MustParsePrefix(prefix)
		r.Prefix = &p
	}
	return r
}

// foreseen is a cut of somebody who is listed, and one of somebody who is not.
var foreseen = api.Foreseen{Cuts: []api.Cut{
	{
		Prefix: prefixed("10.0.0.0/8"), Owner: "globex", Services: []string{"api"}, LastSeen: &seen, Connections: 4,
		Peers: []api.CutPeer{{Address: netip.MustParseAddr("10.0.0.9"), Port: policy.Port{Protocol: policy.TCP, Number: 443}, Connections: 3, Session: true}},
	},
	{
		Services: []string{"api", "mail"}, Connections: 1,
		Peers: []api.CutPeer{{Address: netip.MustParseAddr("192.0.2.9"), Port: policy.Port{Protocol: policy.TCP, Number: 25}, Connections: 1}},
	},
}}

var seen = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

func prefixed(text string) *netip.Prefix {
	p := netip.MustParsePrefix(text)
	return &p
}

// What a change has cut off is one line on stderr; a dry run that would be refused shows
// its plan, and ends as the change would.
func TestForeseen(t *testing.T) {
	engine := sampleEngine()
	engine.plan = api.Plan{Generation: 3, Total: 1, Added: []api.Entry{entry("192.0.2.0/24", "b")}, Foreseen: foreseen}
	engine.listing = api.Listing{Generation: 3, Total: 1, Entries: []api.Entry{entry("10.0.0.0/8", "globex")}, Foreseen: foreseen}
	w := newWorld(t).serve(t, engine)
	want := "xdpallow: warning: cut off: globex (1 prefix in use, 4 open connections); 192.0.2.9 (not listed): 1 connection to tcp/25\n"
	for _, line := range []string{"replace -", "reload", "remove 10.0.0.0/8", "reload -o json", "remove 10.0.0.0/8 -o json"} {
		if code, out, stderr := w.sh(line); code != 0 || stderr != want || strings.Contains(line, "json") != strings.Contains(out, `"cuts":`) {
			t.Errorf("%s: exit %d, %s%s, want %s", line, code, out, stderr, want)
		}
		if _, _, stderr := w.sh(line + " -q"); stderr != "" {
			t.Errorf("%s -q: %s", line, stderr)
		}
	}
	refused := api.Foreseen{Cuts: []api.Cut{}, Refused: &api.Refusal{What: "too few", Hint: "--force-shrink"}}
	engine.plan.Foreseen, engine.listing.Foreseen = refused, refused
	for line, hint := range map[string]string{"replace - --dry-run": "xdpallow replace --force-shrink - --dry-run", "reload --dry-run -o json": "xdpallow reload --force-shrink --dry-run", "remove 10.0.0.0/8 --dry-run -o json": "xdpallow remove --force-shrink 10.0.0.0/8"} {
		code, out, stderr := w.sh(line)
		if code != 1 || !strings.HasPrefix(stderr, "xdpallow: error: too few\nxdpallow: hint: "+hint) || out == "" {
			t.Errorf("%s: exit %d, want 1\n%s%s", line, code, out, stderr)
		}
	}
}

func TestOutput(t *testing.T) {
	tests := []struct {
		name, line string
		prepare    func(*fakeEngine)
		code       int
		want       string
		hint       string // all of stderr
	}{
		{name: "add", line: "add 198.51.100.0/28 2001:db8:42::/48 --owner acme --note OPS-1234", prepare: func(f *fakeEngine) {
			f.listing.Entries = []api.Entry{entry("198.51.100.0/28", "acme"), entry("2001:db8:42::/48", "acme")}
		}, want: `
added 198.51.100.0/28   acme
added 2001:db8:42::/48  acme
generation 2, 3 prefixes
`},
		{name: "add, one without owner", line: "add 198.51.100.0/28 2001:db8:42::/48", prepare: func(f *fakeEngine) {
			f.listing.Entries = []api.Entry{entry("2001:db8:42::/48", ""), entry("198.51.100.0/28", "acme")}
		}, want: `
added 198.51.100.0/28   acme
added 2001:db8:42::/48
generation 2, 3 prefixes
`},
		{name: "add for a while", line: "add 198.51.100.0/28 192.0.2.1 --until 2099-01-31", prepare: func(f *fakeEngine) {
			until := *f.listing.Entries[2].Until
			a, b := entry("198.51.100.0/28", "acme"), entry("192.0.2.1/32", "")
			a.Until, b.Until = &until, &until
			f.listing.Entries = []api.Entry{a, b}
		}, want: `
added 192.0.2.1/32     until 2027-01-31T18:00:00Z
added 198.51.100.0/28  acme until 2027-01-31T18:00:00Z
generation 2, 3 prefixes
`},
		{name: "add, dry run", line: "add 198.51.100.0/28 192.0.2.1 203.0.113.0/24 --owner acme --dry-run", prepare: func(f *fakeEngine) {
			same := f.listing.Entries[2]
			until := *same.Until
			changed, added := entry("198.51.100.0/28", "acme"), entry("192.0.2.1/32", "acme")
			changed.Until = &until
			f.listing.Entries = []api.Entry{added, changed, same}
			f.listing.Was = []api.Former{
				{Prefix: changed.Prefix, Owner: "acme", Services: []string{}},
				{Prefix: same.Prefix, Owner: same.Owner, Services: same.Services, Until: same.Until, Note: same.Note, Origins: same.Origins},
			}
			f.listing.Foreseen = api.Foreseen{Cuts: foreseen.Cuts[1:]}
		}, want: `
+ 192.0.2.1/32     acme
~ 198.51.100.0/28  acme (until never → 2027-01-31T18:00:00Z)
! 192.0.2.9 (not listed) is cut off from api,mail: 1 connection to tcp/25
1 added, 0 removed, 1 changed: generation 2, 3 prefixes (dry run: nothing was changed)
`},
		{name: "remove", line: "remove 198.51.100.0/28", prepare: func(f *fakeEngine) {
			f.listing = api.Listing{Generation: 4, Total: 1, Entries: []api.Entry{entry("198.51.100.0/28", "acme")}}
		}, want: `
removed 198.51.100.0/28  acme (open connections live on)
generation 4, 1 prefix
`},
		{name: "remove, and a wider entry stays", line: "remove 198.51.100.0/28", prepare: func(f *fakeEngine) {
			f.listing = api.Listing{
				Generation: 4, Total: 1, Entries: []api.Entry{entry("198.51.100.0/28", "acme")},
				Still: []api.Still{{Prefix: netip.MustParsePrefix("198.51.100.0/28"), By: netip.MustParsePrefix("198.51.100.0/24"), Owner: "globex"}},
			}
		}, want: `
removed 198.51.100.0/28  acme (198.51.100.0/24 (globex) still lists it)
generation 4, 1 prefix
`},
		{name: "remove, and a list from elsewhere has it", line: "remove 198.51.100.0/28", prepare: func(f *fakeEngine) {
			p := netip.MustParsePrefix("198.51.100.0/28")
			f.listing = api.Listing{
				Generation: 4, Total: 1, Entries: []api.Entry{entry("198.51.100.0/28", "acme")},
				Still: []api.Still{{Prefix: p, By: p, Owner: "acme", Origin: "url:partner"}},
			}
		}, want: `
removed 198.51.100.0/28  acme (url:partner still lists it)
generation 4, 1 prefix
`},
		{name: "remove, json", line: "remove 198.51.100.0/28 -o json", prepare: func(f *fakeEngine) {
			f.listing = api.Listing{Generation: 4, Total: 2, Entries: []api.Entry{entry("198.51.100.0/28", "acme", "cli")}}
		}, want: `
{"generation":4,"total":2,"entries":[
{"prefix":"198.51.100.0/28","owner":"acme","services":[],"until":null,"note":"","origins":["cli"],"last_seen":null,"hits":0,"suspended":false,"first_enforced":null}
]}
`},
		{name: "list", line: "list", want: `
PREFIX            OWNER  SERVICES  UNTIL                 LAST-SEEN             ORIGIN                 NOTE
198.51.100.0/28   acme   all       -                     -                     cli                    -
203.0.113.0/24    acme   api       2027-01-31T18:00:00Z  2026-11-21T09:00:00Z  flag,file:/etc/a.list  main "office"
2001:db8:42::/48  -      all       -                     -                     cli                    -
`},
		{name: "list, text", line: "list -o text", want: `
198.51.100.0/28 owner=acme
203.0.113.0/24 owner=acme service=api until=2027-01-31T18:00:00Z note="main \"office\""
2001:db8:42::/48
`},
		{name: "list, for a proxy", line: "list -o haproxy --service api", want: "\n192.0.2.0/24 acme\n"},
		{name: "list of nothing", line: "list acme", prepare: func(f *fakeEngine) { f.listing.Entries = nil }, want: `
nobody listed
`},
		{name: "list of nothing, text", line: "list -o text", prepare: func(f *fakeEngine) { f.listing.Entries = nil }, want: ""},
		{name: "owners of nothing", line: "owners", want: `
no owners
`},
		{name: "history of nothing", line: "history", prepare: func(f *fakeEngine) { f.history.Changes = nil }, want: `
no changes
`},
		{name: "events of nothing", line: "events", want: `
nobody refused
`},
		{name: "stats of nothing", line: "stats", prepare: func(f *fakeEngine) { f.stats.Counters = f.stats.Counters[1:2] }, want: `
nothing counted
`},
		{name: "list of nothing, json", line: "list -o json", prepare: func(f *fakeEngine) { f.listing.Entries = nil }, want: `
{"generation":2,"total":3,"entries":[]}
`},
		{name: "stats", line: "stats", want: `
LAYER  INTERFACE  VERDICT  REASON      FAMILY  PACKETS  BYTES
xdp    eth0       pass     listed      ipv4         12    888
xdp    eth0       drop     not_listed  ipv4          2    148
`},
		{name: "status", line: "status", want: `
problem:      eth1: is not there (interface_missing)
  hint:       ip link show eth1
enforcing:    no
daemon:       pid 42 since 2026-11-21T09:00:00Z, version v1
interface:    eth0, generic (driver has no XDP)
interface:    eth1 is not attached
backstop:     attached
uncovered:    eth2
service:      api, tcp/443 udp/443, enforce, drop syn
policy:       generation 2, 3 prefixes, 1 owner
expiring:     1 prefix ends within 14 days: xdpallow list --expiring 14d --socket SOCKET
origin:       cli, 2 prefixes
origin:       file:/etc/a.list, 1 prefix of its last good content: /etc/a.list:3: 10.0.0.5/8 has host bits set
last change:  2026-11-21T09:00:00Z by uid 0 (pid 7): add, generation 2
`},
		{name: "status, many files", line: "status", prepare: func(f *fakeEngine) {
			f.status = api.Status{Origins: []api.OriginStatus{
				{Name: "cli", Entries: 2},
				{Name: "file:/etc/allow.d/a.list", Entries: 20},
				{Name: "file:/etc/allow.d/b.list", Entries: 31},
				{Name: "file:/etc/allow.d/c.list", Entries: 7, Error: "/etc/allow.d/c.list:3: x"},
				{Name: "file:/etc/one.list", Entries: 1},
				{Name: "flag", Entries: 1},
			}}
		}, want: `
enforcing:  no
daemon:     not running
backstop:   off
policy:     generation 0, 0 prefixes, 0 owners
origin:     cli, 2 prefixes
origin:     /etc/allow.d: 2 files, 51 prefixes
origin:     file:/etc/allow.d/c.list, 7 prefixes of its last good content: /etc/allow.d/c.list:3: x
origin:     file:/etc/one.list, 1 prefix
origin:     flag, 1 prefix
`},
		{name: "status, backstop gone", line: "status", prepare: func(f *fakeEngine) {
			f.status = api.Status{Backstop: &api.Backstop{LinkID: 5}}
		}, want: `
enforcing:  no
daemon:     not running
backstop:   not attached
policy:     generation 0, 0 prefixes, 0 owners
`},
		{name: "status, backstop off", line: "status", prepare: func(f *fakeEngine) { f.status = api.Status{} }, want: `
enforcing:  no
daemon:     not running
backstop:   off
policy:     generation 0, 0 prefixes, 0 owners
`},
		{name: "check, audit", line: "check 192.0.2.9 --port 443", prepare: func(f *fakeEngine) {
			f.checks = []api.CheckResult{checkResult("192.0.2.9", "audit", "not_listed", "", "", 443)}
		}, want: `
192.0.2.9 to tcp/443: audit, not_listed (passes now, dropped under enforce)
`},
		{name: "check, pass", line: "check 203.0.113.7 --port 443", prepare: func(f *fakeEngine) {
			f.checks = []api.CheckResult{checkResult("203.0.113.7", "pass", "listed", "203.0.113.0/24", "acme", 443)}
		}, want: `
203.0.113.7 to tcp/443: pass, listed by 203.0.113.0/24 (acme)
`},
		{name: "check, pass without owner", line: "check 203.0.113.7 --port 443", prepare: func(f *fakeEngine) {
			f.checks = []api.CheckResult{checkResult("203.0.113.7", "pass", "listed", "203.0.113.0/24", "", 443)}
		}, want: `
203.0.113.7 to tcp/443: pass, listed by 203.0.113.0/24
`},
		{name: "check, expired", line: "check 198.51.100.9 --port 443", code: 1, prepare: func(f *fakeEngine) {
			expired := checkResult("198.51.100.9", "drop", "expired", "198.51.100.0/28", "acme", 443)
			expired.Until = f.listing.Entries[2].Until
			f.checks = []api.CheckResult{expired}
		}, want: `
198.51.100.9 to tcp/443: drop, expired (198.51.100.0/28, acme, ended 2027-01-31T18:00:00Z)
`, hint: "xdpallow: hint: xdpallow add 198.51.100.0/28 --for 90d --socket SOCKET\n"},
		{name: "check, wrong service", line: "check 198.51.100.9 --port 443", code: 1, prepare: func(f *fakeEngine) {
			wrong, audited := checkResult("198.51.100.9", "drop", "wrong_service", "198.51.100.0/28", "acme", 443), checkResult("198.51.100.9", "audit", "wrong_service", "198.51.100.0/28", "", 8443)
			wrong.Services, audited.Services = []string{"mail", "web"}, []string{"mail"}
			f.checks = []api.CheckResult{wrong, audited}
		}, want: `
198.51.100.9 to tcp/443: drop, wrong_service (198.51.100.0/28, acme, only for mail and web)
198.51.100.9 to tcp/8443: audit, wrong_service (198.51.100.0/28, only for mail) (passes now, dropped under enforce)
`},
		{name: "check, every port, one drops", line: "check 192.0.2.9", code: 1, prepare: func(f *fakeEngine) {
			f.checks = []api.CheckResult{
				checkResult("192.0.2.9", "audit", "not_listed", "", "", 8443), checkResult("192.0.2.9", "drop", "not_listed", "", "", 443),
			}
		}, want: `
192.0.2.9 to tcp/443: drop, not_listed
192.0.2.9 to tcp/8443: audit, not_listed (passes now, dropped under enforce)
`},
		{name: "check, a range of ports", line: "check 192.0.2.9", code: 1, prepare: func(f *fakeEngine) {
			f.checks = []api.CheckResult{checkResult("192.0.2.9", "drop", "not_listed", "", "", 443), checkResult("192.0.2.9", "drop", "not_listed", "", "", 444)}
			for n := range uint16(5) {
				f.checks = append(f.checks, checkResult("192.0.2.9", "drop", "not_listed", "", "", 30000+n))
			}
			f.checks[4].Verdict = "audit"
		}, want: `
192.0.2.9 to tcp/443: drop, not_listed
192.0.2.9 to tcp/444: drop, not_listed
192.0.2.9 to tcp/30000: drop, not_listed
192.0.2.9 to tcp/30001: drop, not_listed
192.0.2.9 to tcp/30002: audit, not_listed (passes now, dropped under enforce)
192.0.2.9 to tcp/30003: drop, not_listed
192.0.2.9 to tcp/30004: drop, not_listed
`},
		{name: "check, a range of ports with one answer", line: "check 192.0.2.9", code: 1, prepare: func(f *fakeEngine) {
			for n := range uint16(5) {
				f.checks = append(f.checks, checkResult("192.0.2.9", "drop", "not_listed", "", "", 30000+n))
			}
		}, want: `
192.0.2.9 to tcp/30000-30004: drop, not_listed
`},
		{name: "reload", line: "reload --dry-run", prepare: func(f *fakeEngine) {
			f.plan = api.Plan{Generation: 2, Total: 2, Added: []api.Entry{entry("192.0.2.0/24", "b")}, Removed: []api.Entry{entry("10.0.0.0/8", "")}}
		}, want: `
+ 192.0.2.0/24  b
- 10.0.0.0/8
1 added, 1 removed, 0 changed: generation 2, 2 prefixes (dry run: nothing was changed)
`},
		{name: "replace", line: "replace - --dry-run", prepare: func(f *fakeEngine) {
			f.plan = api.Plan{
				Generation: 2, Total: 3, Added: []api.Entry{entry("192.0.2.0/24", "b")}, Changed: []api.Entry{entry("198.51.100.0/24", "b")},
				Removed: []api.Entry{entry("10.0.0.0/8", "")}, Kept: []api.Entry{entry("203.0.113.0/24", "acme", "url:partner")}, Foreseen: foreseen,
			}
		}, want: `
+ 192.0.2.0/24     b
~ 198.51.100.0/24  b
- 10.0.0.0/8
= 1 prefix stays, which commands did not make (-v lists them)
! 10.0.0.0/8  globex is cut off from api: last seen 2026-11-21T09:00:00Z, 4 connections (10.0.0.9 to tcp/443, your own session; and 1 more)
! 192.0.2.9 (not listed) is cut off from api,mail: 1 connection to tcp/25
1 added, 1 removed, 1 changed: generation 2, 3 prefixes (dry run: nothing was changed)
`},
		{name: "import", line: "import - --dry-run", prepare: func(f *fakeEngine) {
			f.plan = api.Plan{
				Generation: 2, Total: 3, Added: []api.Entry{entry("192.0.2.0/24", "b")},
				Overrides: []string{"resume acme", "suspend globex", "limit b 5/s --burst 10"}, Loosens: []string{"resume acme"},
			}
		}, want: `
+ 192.0.2.0/24  b
~ suspend globex
~ limit b 5/s --burst 10
! resume acme
1 added, 0 removed, 0 changed: generation 2, 3 prefixes (dry run: nothing was changed)
`},
		{name: "export", line: "export", want: `
suspend acme since=2026-11-21T09:00:00Z by=0 held=1 reason="OPS-1"
held acme 198.51.100.0/28
limit globex 200/s burst=400
198.51.100.0/28 owner=acme
`},
		{name: "replace, verbose", line: "replace - --dry-run -v", prepare: func(f *fakeEngine) {
			f.plan = api.Plan{Generation: 2, Total: 3, Kept: []api.Entry{
				entry("203.0.113.0/24", "acme", "flag"), entry("2001:db8::/32", "", "file:/etc/a.list"),
			}}
		}, want: `
= 203.0.113.0/24  acme stays: flag
= 2001:db8::/32   stays: file:/etc/a.list
0 added, 0 removed, 0 changed: generation 2, 3 prefixes (dry run: nothing was changed)
`},
		{name: "remove, dry run", line: "remove 10.0.0.0/8 --dry-run", prepare: func(f *fakeEngine) {
			f.listing = api.Listing{Generation: 2, Total: 3, Entries: []api.Entry{entry("10.0.0.0/8", "globex")}, Foreseen: api.Foreseen{Cuts: foreseen.Cuts[1:]}}
		}, want: `
- 10.0.0.0/8  globex
! 192.0.2.9 (not listed) is cut off from api,mail: 1 connection to tcp/25
0 added, 1 removed, 0 changed: generation 2, 3 prefixes (dry run: nothing was changed)
`},
		{name: "history", line: "history", want: `
TIME                  UID   GENERATION  ENTRIES   COMMAND                                                                           REASON
2026-11-21T09:00:00Z  0     0 → 1       +1 -0 ~0  run --interface eth0                                                              -
2026-11-21T10:00:00Z  1000  1 → 2       +1 -0 ~0  add 198.51.100.0/28 --owner acme xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…  OPS-1
2026-11-21T11:00:00Z  0     2           +0 -0 ~0  detach --yes                                                                      -
`},
		{name: "detach", line: "detach --yes", prepare: func(f *fakeEngine) {
			f.detach = api.DetachResult{Detached: []string{"eth0"}, Left: []string{"eth1"}}
		}, want: `
detached eth0: every source may connect through it
still attached: eth1
`},
		{name: "detach, nothing there", line: "detach --yes", want: `
no interface was attached
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			engine := sampleEngine()
			if test.prepare != nil {
				test.prepare(engine)
			}
			w := newWorld(t).serve(t, engine)
			code, out, stderr := w.sh(test.line)
			want := strings.ReplaceAll(strings.TrimPrefix(test.want, "\n"), "SOCKET", w.socket)
			hint := strings.ReplaceAll(test.hint, "SOCKET", w.socket)
			if diff := cmp.Diff(want, out); diff != "" || code != test.code || stderr != hint {
				t.Errorf("%s: exit %d, want %d (-want +got):\n%s%s", test.line, code, test.code, diff, stderr)
			}
			if again, second, _ := w.sh(test.line); again != code || second != out {
				t.Errorf("a second run prints something else:\n%s", second)
			}
			if quietCode, quiet, _ := w.sh(test.line + " -q"); quietCode != code || quiet != "" {
				t.Errorf("-q: exit %d, want %d, and prints %q", quietCode, code, quiet)
			}
		})
	}
}

// JSON is read by scripts: the same bytes each time, zero rows shown, one
// shape a question.
func TestJSON(t *testing.T) {
	engine := sampleEngine()
	engine.checks = []api.CheckResult{checkResult("192.0.2.9", "drop", "not_listed", "", "", 443)}
	w := newWorld(t).serve(t, engine)
	for line, want := range map[string]string{
		"status":                     `"enforcing": false`,
		"stats":                      `"packets": 0`,
		"list":                       `"prefix":"198.51.100.0/28"`,
		"version":                    `"version": `,
		"assets unit":                `"name": "unit"`,
		"assets config":              `"name": "config"`,
		"assets dashboard":           `"name": "dashboard"`,
		"assets rules":               `"name": "rules"`,
		"check 192.0.2.9 --port 443": "{\n  \"address\": \"192.0.2.9\",\n  \"port\": \"tcp/443\",\n  \"verdict\": \"drop\"",
		"check 192.0.2.9":            "[\n  {\n    \"address\": \"192.0.2.9\"",
		"history":                    `"command": "detach --yes"`,
		"top":                        `"events_lost": 0`,
		"reload":                     `"added": `,
		"replace -":                  `"added": `,
		"import -":                   `"added": `,
		"export":                     "\"suspensions\": 1,\n  \"limits\": 1,\n  \"text\": \"suspend acme since=",
		"detach --yes":               `"detached": `,
	} {
		code, out, _ := w.sh(line + " -o json")
		_, again, _ := w.sh(line + " -o json")
		if !strings.Contains(out, want) || out != again || code > 1 {
			t.Errorf("%s -o json: exit %d\n%s\nwant %s, then:\n%s", line, code, out, want, again)
		}
	}
}

// What list -o text prints, add - takes: nothing of an entry is lost.
func TestTextRoundTrips(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	_, text, _ := w.sh("list -o text")
	w.stdin = "# a comment\n\n" + text
	if code, _, stderr := w.sh("add -"); code != 0 {
		t.Fatalf("add -: exit %d, %s", code, stderr)
	}
	want := api.AddRequest{Prefixes: strings.Split(strings.TrimSpace(text), "\n"), Whole: true}
	if diff := cmp.Diff(any(want), w.asked[len(w.asked)-1]); diff != "" {
		t.Errorf("add - (-want +got):\n%s", diff)
	}
}

// Whoever asks for a format that there is not gets one that a script can read, and for a
// spreadsheet the command that makes it.
func TestHintsOfFormats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for line, want := range map[string]string{
		"list -o csv":   `xdpallow list -o json | jq -r '.entries[] | [.prefix, .owner, .until, .note] | @csv'`,
		"list -o xml":   "xdpallow list -o json",
		"stats -o text": "xdpallow stats -o json",
		"owners -o csv": "xdpallow owners -o json",
	} {
		if code, _, stderr := w.run(strings.Fields(line)...); code != 2 || !strings.HasSuffix(stderr, "xdpallow: hint: "+want+"\n") {
			t.Errorf("%s: exit %d, %s, want the hint %s", line, code, stderr, want)
		}
	}
}
