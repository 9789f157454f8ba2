package repair_test

// Promise guarded here: whatever is wrong with a gate is told with its code, says whether the
// gate enforces all the same, and is repaired by itself only where that opens nothing.

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	types "github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/maps"
)

var (
	now  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	boot = time.Hour
	api  = policy.Service{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Mode: policy.Enforce, Scope: policy.ScopeSYN}
)

// want is a gate for one service that lists claims.
func want(t *testing.T, service policy.Service, claims ...policy.Claim) repair.Desired {
	t.Helper()
	declared := map[policy.Origin][]policy.Claim{}
	for _, c := range claims {
		declared[c.Origin] = append(declared[c.Origin], c)
	}
	state, err := desired.New([]policy.Service{service}, declared, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return repair.Desired{State: state, Compiler: &compile.Compiler{Clock: compile.NewClock(now, boot)}}
}

// healthy is a gate with which nothing is wrong.
func healthy() repair.Observation {
	return repair.Observation{
		Host: repair.Host{Time: now, Boot: boot},
		Guarded: repair.Guarded{
			Interfaces: []repair.Interface{{Attachment: loader.Attachment{Interface: "eth0", Mode: loader.Native, LinkID: 1, ProgramID: 2, Ours: true}}},
			Backstop:   loader.Backstop{LinkID: 3, ProgramID: 4, Attached: true, Ours: true},
		},
		Services: true,
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	failed := errors.New("no answer")
	broadcast := netip.MustParseAddr("255.255.255.255")
	flight := func(reason maps.Reason, err error) *repair.Flight {
		return &repair.Flight{Source: broadcast, Service: "api", Port: api.Ports[0], Reason: reason, Err: err}
	}
	everything := netip.MustParsePrefix("0.0.0.0/0")
	typed := policy.Claim{Prefix: everything, Origin: policy.OriginCLI}
	written := policy.Claim{Prefix: everything, Origin: policy.FileOrigin("a.list"), Where: "a.list:3"}
	audited := api
	audited.Mode = policy.Audit

	type eth0 = *repair.Interface
	one := func(change func(eth0)) func(*repair.Observation) {
		return func(o *repair.Observation) { change(&o.Interfaces[0]) }
	}
	told := map[string]bool{}
	for name, c := range map[string]struct {
		change  func(*repair.Observation)
		service policy.Service // api when it has no name
		claims  []policy.Claim
		until   time.Duration // CLOCK_BOOTTIME, of an audit; 0 is none

		code, subject, hint string // of the one finding; "" is none that is told
		repair              string
		enforcing           bool
	}{
		"nothing": {change: func(*repair.Observation) {}, enforcing: true},

		"no interface": {
			change: func(o *repair.Observation) { o.Interfaces = nil },
			code:   "not_attached", hint: "ip -br link",
		},
		"unreadable": {
			change: func(o *repair.Observation) {
				o.Interfaces = append(o.Interfaces, repair.Interface{Attachment: loader.Attachment{Interface: "eth1"}, Err: failed})
			},
			code: "interface_unreadable", subject: "eth1", hint: "ip link show dev eth1",
		},
		"gone": {
			change: func(o *repair.Observation) {
				o.Interfaces = append(o.Interfaces, repair.Interface{Attachment: loader.Attachment{Interface: "eth1"}, Err: fmt.Errorf("eth1: %w", os.ErrNotExist)})
			},
			code: "interface_missing", subject: "eth1", hint: "ip -br link", enforcing: true,
		},
		"detached": {
			change: func(o *repair.Observation) {
				o.Interfaces = append(o.Interfaces, repair.Interface{Attachment: loader.Attachment{Interface: "eth1", Ours: true}})
			},
			code: "detached", subject: "eth1", hint: "bpftool net show dev eth1",
		},
		"another program": {
			change: one(func(i eth0) { i.Ours = false }),
			code:   "program_replaced", subject: "eth0", hint: "systemctl restart xdpallow", repair: "program",
		},
		"a queue came late": {change: one(func(i eth0) { i.Late = 2 }), repair: "program", enforcing: true},

		"canary passed": {
			change: one(func(i eth0) { i.Canary = flight(maps.NotListed, nil) }),
			code:   "canary", subject: "eth0", hint: "systemctl restart xdpallow",
		},
		"canary listed by add": {
			change: one(func(i eth0) { i.Canary = flight(maps.Listed, nil) }), claims: []policy.Claim{typed},
			code: "canary", subject: "eth0", hint: "xdpallow remove 0.0.0.0/0",
		},
		"canary listed by a file": {
			change: one(func(i eth0) { i.Canary = flight(maps.Listed, nil) }), claims: []policy.Claim{written},
			code: "canary", subject: "eth0", hint: "take it out of a.list:3, then: systemctl restart xdpallow",
		},
		"canary did not fly": {
			change: one(func(i eth0) { i.Canary = flight(0, failed) }),
			code:   "canary", subject: "eth0", hint: "xdpallow status",
		},

		"other services": {
			change: func(o *repair.Observation) { o.Services = false },
			code:   "policy_changed", hint: "systemctl restart xdpallow", repair: "services",
		},

		"no backstop": {change: func(o *repair.Observation) { o.Backstop = loader.Backstop{} }, enforcing: true},
		"backstop unreadable": {
			change: func(o *repair.Observation) { o.BackstopErr = failed },
			code:   "backstop", subject: "backstop", hint: "xdpallow status", repair: "backstop",
		},
		"backstop detached": {
			change: func(o *repair.Observation) { o.Backstop.Attached = false },
			code:   "backstop_detached", subject: "backstop", hint: "systemctl restart xdpallow",
		},
		"another program at the backstop": {
			change: func(o *repair.Observation) { o.Backstop.Ours = false },
			code:   "backstop_replaced", subject: "backstop", hint: "systemctl restart xdpallow", repair: "backstop",
		},
		"canary found its socket": {
			change: func(o *repair.Observation) { o.Refusal = flight(0, nil) },
			code:   "backstop", subject: "backstop", hint: "xdpallow status",
		},
		"canary did not reach the backstop": {
			change: func(o *repair.Observation) { o.Refusal = flight(0, failed) },
			code:   "backstop", subject: "backstop", hint: "xdpallow status",
		},
		"another program selects sockets": {
			change: func(o *repair.Observation) { o.Lookups = []loader.Lookup{{ProgramID: 9}} },
			code:   "backstop_shared", subject: "backstop", hint: "bpftool prog show id 9",
		},
		"the lookups do not answer": {
			change: func(o *repair.Observation) { o.LookupsErr = failed },
			code:   "backstop", subject: "backstop", hint: "xdpallow status",
		},
		"another gate at the port": {
			change: func(o *repair.Observation) {
				o.Neighbours = []repair.Neighbour{{Root: "/sys/fs/bpf/other", Ports: api.Ports}}
			},
			code: "port_shared", subject: "/sys/fs/bpf/other", hint: "restart both with --backstop off", enforcing: true,
		},

		"a UDP server": {
			change: func(o *repair.Observation) { o.UDPServers = []uint16{443} },
			code:   "udp_unguarded", subject: "udp/443", hint: "restart with --port udp/443", enforcing: true,
		},
		"a UDP server at a port of before": {change: func(o *repair.Observation) { o.UDPServers = []uint16{8443} }, enforcing: true},
		"UDP servers are not known": {
			change: func(o *repair.Observation) { o.UDPErr = failed },
			code:   "udp_unguarded", hint: "ss -lun", enforcing: true,
		},
		"source routes": {
			change: func(o *repair.Observation) { o.SourceRouted = []string{"eth1"} },
			code:   "source_routes", subject: "net.ipv4.conf.all.accept_source_route", hint: "sysctl -w net.ipv4.conf.all.accept_source_route=0", enforcing: true,
		},

		"declared audit": {
			change: func(*repair.Observation) {}, service: audited,
			code: "audit", subject: "api", hint: "restart without --mode audit",
		},
		"an audit that ends": {
			change: func(*repair.Observation) {}, until: boot + time.Minute,
			code: "audit", subject: "api", hint: "xdpallow mode enforce",
		},
		"an audit that has ended": {change: func(*repair.Observation) {}, until: boot - time.Minute, enforcing: true},
	} {
		if c.service.Name == "" {
			c.service = api
		}
		d, o := want(t, c.service, c.claims...), healthy()
		if c.until != 0 {
			d.Audits = desired.Audits{"api": {Boottime: uint64(c.until)}}
		}
		c.change(&o)
		findings := repair.Diagnose(o, d)
		problems := repair.Problems(findings)
		if got := repair.Enforcing(problems); got != c.enforcing {
			t.Errorf("%s: enforcing is %v, want %v", name, got, c.enforcing)
		}
		switch {
		case c.code == "" && len(problems) > 0:
			t.Errorf("%s: %v is told, want nothing", name, problems)
		case c.code != "" && len(problems) != 1:
			t.Errorf("%s: %v is told, want one problem", name, problems)
		case c.code != "":
			p := problems[0]
			if told[c.code] = true; p.Code != c.code || p.Subject != c.subject || p.Hint != c.hint || p.Text == "" {
				t.Errorf("%s: told is %+v, want code %s, subject %s, hint %s and a text", name, p, c.code, c.subject, c.hint)
			}
		}
		mends := ""
		for _, f := range findings {
			mends += f.Repair
		}
		if mends != c.repair {
			t.Errorf("%s: is repaired by %q, want %q", name, mends, c.repair)
		}
	}
	for _, code := range codes(t) {
		if !told[code] {
			t.Errorf("no case tells %s", code)
		}
	}
}

// codes are those that the files of Diagnose have.
func codes(t *testing.T) (codes []string) {
	t.Helper()
	for _, name := range []string{"diagnose.go", "beside.go"} {
		text, err := os.ReadFile(filepath.Clean(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:Code: |problem\()"([a-z_]+)"`).FindAllSubmatch(text, -1) {
			codes = append(codes, string(m[1]))
		}
	}
	return codes
}

// Several things can be wrong at a time; none hides another, and their order never changes.
func TestDiagnoseTellsAll(t *testing.T) {
	t.Parallel()
	o := healthy()
	o.Interfaces = append(o.Interfaces, repair.Interface{Attachment: loader.Attachment{Interface: "eth1"}})
	o.Interfaces[0].Late, o.Interfaces[0].Ours = 1, true
	o.Services, o.Backstop.Ours, o.SourceRouted = false, false, []string{"eth1"}
	var got []string
	for _, f := range repair.Diagnose(o, want(t, api)) {
		got = append(got, f.Code+"/"+f.Repair)
	}
	if want := "[/program backstop_replaced/backstop detached/ policy_changed/services source_routes/]"; fmt.Sprint(got) != want {
		t.Errorf("found is %v, want %s", got, want)
	}
}

// The owner endpoint is asked by proxies: when nobody can ask it, the gate is as shut as before.
func TestEnforcingWithoutOwnerEndpoint(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"owner_socket", "owner_address", "enrol_socket"} {
		if !repair.Enforcing([]types.Problem{{Code: code}}) {
			t.Errorf("with %s nothing enforces", code)
		}
		if repair.Enforcing([]types.Problem{{Code: code}, {Code: "detached"}}) {
			t.Errorf("%s hides that the program is detached", code)
		}
	}
}
