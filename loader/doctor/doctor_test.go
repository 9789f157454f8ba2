package doctor

// Promise guarded here: what an operator should know is a line with the right weight and a
// command, in the words of status, and a host that is in order has no problem and no note.

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

func service(scope policy.Scope, ports ...policy.Port) policy.Service {
	return policy.Service{Name: "api", Ports: ports, Mode: policy.Enforce, Scope: scope}
}

func at(protocol policy.Protocol, number uint16) policy.Port {
	return policy.Port{Protocol: protocol, Number: number}
}

// inOrder is a host before its first start that is as it should be.
func inOrder() Facts {
	return Facts{
		Options: Options{
			Interfaces: []string{"eth0"}, Services: []policy.Service{service(policy.ScopeSYN, at(policy.TCP, 50051))},
			State: "/var/lib/xdpallow", Root: "/sys/fs/bpf/xdpallow", Groups: []string{"xdpallow"},
			Status: &api.Status{Enforcing: true, Daemon: &api.Daemon{PID: 42}},
		},
		Privileged: true, Release: "6.1.0-9-amd64", Now: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC),
		Devices: []Device{{Device: loader.Device{Device: netdev.Device{
			Name: "eth0", Driver: "igb", MTU: 1500, Up: true, Queues: 4, Declares: &netdev.Declared{Runs: true},
		}}}},
		Ephemeral: [2]int{32768, 60999},
		Unit:      "/etc/systemd/system/xdpallow.service", UnitEnabled: true,
	}
}

func TestInOrder(t *testing.T) {
	lines := Diagnose(inOrder())
	for _, line := range lines {
		if line.State != OK || line.Hint != "" || line.Text == "" || line.Subject == "" || line.Code == "" {
			t.Errorf("%+v", line)
		}
	}
	if len(lines) < 10 {
		t.Errorf("only %d lines", len(lines))
	}
}

func TestDiagnose(t *testing.T) {
	first := func(f *Facts) *Device { return &f.Devices[0] }
	forbidden := fmt.Errorf("this process lacks CAP_BPF: %w", os.ErrPermission)
	foreign := &loader.ForeignError{Interface: "eth0", ProgramID: 7, Name: "pass"}
	framing := &netdev.FramingError{Interface: "eth0", Kind: "gre", LinkType: "gre"}
	udp := repair.UnguardedUDP([]policy.Service{service(policy.ScopeSYN, at(policy.TCP, 50051))}, []uint16{50051}, nil)[0]
	routes := repair.SourceRoutes([]string{"eth0"}, nil)[0]
	lookup := repair.OtherLookups([]loader.Lookup{{ProgramID: 9, Name: "select"}}, nil)[0]
	for name, c := range map[string]struct {
		change  func(f *Facts)
		state   State
		code    string
		subject string
		text    string // a part of it
		hint    string
	}{
		"old kernel":           {func(f *Facts) { f.Release = "5.10.0" }, Problem, "kernel", "kernel", "older than 6.1", "uname -r"},
		"newer major":          {func(f *Facts) { f.Release = "7.0.1" }, OK, "kernel", "kernel", "all that is needed", ""},
		"kernel without":       {func(f *Facts) { f.Lacks = []string{"XDP programs", "LPM tries"} }, Problem, "kernel", "kernel", "without XDP programs, LPM tries", "grep BPF /boot/config-6.1.0-9-amd64"},
		"kernel may not tell":  {func(f *Facts) { f.LacksErr = forbidden }, Note, "kernel", "kernel", "CAP_BPF", AsRoot},
		"kernel does not tell": {func(f *Facts) { f.LacksErr = errors.New("x") }, Problem, "kernel", "kernel", "not known: x", "uname -r"},
		"capabilities":         {func(f *Facts) { f.Capabilities = []string{"CAP_BPF"} }, Note, "capabilities", "capabilities", "lacks CAP_BPF", AsRoot},
		"private mount":        {func(f *Facts) { f.RootErr = &pins.PrivateMountError{Path: f.Root} }, Problem, "bpffs", "/sys/fs/bpf/xdpallow", "is not on a BPF file system", "mount -t bpf bpf /sys/fs/bpf"},

		"no daemon, no gate": {func(f *Facts) { f.Status, f.Unit = nil, "" }, Note, "daemon", "daemon", "everything passes", "xdpallow run --mode audit --interface eth0 --port tcp/50051"},
		"gate, no daemon":    {func(f *Facts) { f.Status.Daemon = nil }, Problem, "daemon", "daemon", "goes on with its last list", "systemctl start xdpallow"},
		"not enforcing":      {func(f *Facts) { f.Status.Enforcing = false }, Note, "daemon", "daemon", "does not enforce", "xdpallow status"},
		"may not ask":        {func(f *Facts) { f.StatusErr = forbidden }, Note, "daemon", "daemon", "could not be asked", AsRoot},
		"another namespace":  {func(f *Facts) { f.Status, f.StatusErr = nil, &loader.NamespaceError{Root: "/r"} }, Problem, "daemon", "daemon", "another network namespace", "lsns -t net"},
		"its own problem": {func(f *Facts) {
			f.Status.Problems = []api.Problem{{Code: "detached", Subject: "eth0", Text: "gone", Hint: "h"}}
		}, Problem, "detached", "eth0", "gone", "h"},

		"foreign program":          {func(f *Facts) { first(f).Err, first(f).Attached = foreign, loader.Native }, Problem, "interface_taken", "eth0", "another XDP program holds it: id 7 (pass)", "bpftool net show dev eth0"},
		"foreign, nobody named it": {func(f *Facts) { first(f).Err, f.Interfaces = foreign, nil }, Note, "interface_taken", "eth0", "another XDP program holds it", "bpftool net show dev eth0"},
		"foreign, may not look":    {func(f *Facts) { first(f).Err, f.Privileged = foreign, false }, Note, "interface_taken", "eth0", "ours or another's", AsRoot},
		"ours, may not look": {func(f *Facts) {
			first(f).Err, first(f).Attached, first(f).ProgramID, f.Privileged = foreign, loader.Native, 7, false
			f.Status.Interfaces = []api.Interface{{Name: "eth0", Attached: true, ProgramID: 7}}
		}, OK, "interface", "eth0", "guarded, native; igb, MTU 1500, 4 queues", ""},
		"guarded generically": {func(f *Facts) {
			first(f).Ours, first(f).Attached = true, loader.Generic
			f.Status.Interfaces = []api.Interface{{Name: "eth0", Attached: true, Reason: "because"}}
		}, Note, "generic", "eth0", repair.GenericCost + ": because", "ethtool -i eth0"},
		"link type":        {func(f *Facts) { first(f).Err = framing }, Problem, "interface_not_attached", "eth0", "nothing can be filtered there", "ip -details link show dev eth0"},
		"missing":          {func(f *Facts) { first(f).Err = fmt.Errorf("x: %w", os.ErrNotExist) }, Problem, "interface_missing", "eth0", repair.NotAttached("eth0", os.ErrNotExist).Text, "ip -br link"},
		"lo":               {func(f *Facts) { first(f).Err = errors.New("interface eth0: it is the loopback") }, Problem, "interface_not_attached", "eth0", "it is the loopback", "ip -br link"},
		"down":             {func(f *Facts) { first(f).Up = false }, Note, "interface_down", "eth0", "is down", "ip link set dev eth0 up"},
		"driver unknown":   {func(f *Facts) { first(f).Declares = nil }, Note, "native", "eth0", "does not tell", "xdpallow doctor --try --interface eth0"},
		"driver without":   {func(f *Facts) { first(f).Declares.Runs = false }, Note, "generic", "eth0", "declares no native XDP", "ethtool -i eth0"},
		"native is asked":  {func(f *Facts) { first(f).Declares.Runs, f.Attach = false, loader.Native }, Problem, "generic", "eth0", "declares no native XDP", "ethtool -i eth0"},
		"generic is asked": {func(f *Facts) { first(f).Declares.Runs, f.Attach = false, loader.Generic }, OK, "interface", "eth0", "nothing holds it", ""},
		"MTU":              {func(f *Facts) { first(f).MTU = 9000 }, Note, "mtu", "eth0", "MTU of 9000 does not fit a page", "xdpallow doctor --try --interface eth0"},
		"LRO":              {func(f *Facts) { first(f).Offloads = []netdev.Offload{{Name: "rx-lro"}} }, Note, "offload", "eth0", "rx-lro is on", "ethtool -K eth0 rx-lro off"},
		"fixed offload": {func(f *Facts) {
			first(f).Offloads = []netdev.Offload{{Name: "rx-gro-hw", Fixed: true}}
		}, Note, "offload", "eth0", "rx-gro-hw is on [fixed]", "xdpallow doctor --try --interface eth0"},
		"tried and held":    {func(f *Facts) { first(f).Tried, first(f).MTU = true, 9000 }, OK, "native", "eth0", "tried, and holds", ""},
		"tried in vain":     {func(f *Facts) { first(f).Tried, first(f).Trial = true, errors.New("eth0: native XDP: no") }, Note, "generic", "eth0", repair.GenericCost + ": native XDP: no", "ethtool -i eth0"},
		"may not be tried":  {func(f *Facts) { first(f).Tried, first(f).Trial = true, forbidden }, Note, "native", "eth0", "CAP_BPF", "sudo xdpallow doctor --try --interface eth0"},
		"uncovered":         {func(f *Facts) { f.Uncovered = []string{"eth1"} }, Note, "uncovered", "eth1", "by the backstop alone", "ip -br address show dev eth1"},
		"uncovered, open":   {func(f *Facts) { f.Uncovered, f.NoBackstop = []string{"eth1"}, true }, Note, "uncovered", "eth1", "everything passes there", "ip -br address show dev eth1"},
		"containers":        {func(f *Facts) { f.Uncovered, f.Routed = []string{"docker0"}, []string{"docker0"} }, Note, "routed", "docker0", api.LeadsGuests, "ip -br address show dev docker0"},
		"lookup":            {func(f *Facts) { f.Lookups = []loader.Lookup{{ProgramID: 9, Name: "select"}} }, Problem, "backstop_shared", "backstop", lookup.Text, lookup.Hint},
		"lookup, no matter": {func(f *Facts) { f.NoBackstop, f.Lookups = true, []loader.Lookup{{ProgramID: 9, Name: "select"}} }, Note, "backstop_shared", "backstop", lookup.Text, lookup.Hint},
		"lookup unknown":    {func(f *Facts) { f.LookupsErr = forbidden }, Note, "backstop", "backstop", "CAP_BPF", AsRoot},
		"no backstop":       {func(f *Facts) { f.NoBackstop = true }, Note, "backstop", "backstop", "is off", "restart with --backstop on"},

		"source routes":  {func(f *Facts) { f.SourceRouted = []string{"eth0"} }, Problem, "source_routes", routes.Subject, routes.Text, routes.Hint},
		"rp_filter":      {func(f *Facts) { f.NoReversePath = []string{"eth0"} }, Note, "rp_filter", "net.ipv4.conf.eth0.rp_filter", "faked sources", "sysctl -w net.ipv4.conf.eth0.rp_filter=1"},
		"route_localnet": {func(f *Facts) { f.RouteLocalnet = []string{"eth0"} }, Note, "route_localnet", "net.ipv4.conf.eth0.route_localnet", "127.0.0.1", "sysctl -w net.ipv4.conf.eth0.route_localnet=0"},
		"ephemeral": {func(f *Facts) {
			f.Services[0].Scope, f.Reserved = policy.ScopeStrict, "40000-40010"
		}, Note, "ephemeral_port", "tcp/50051", "service api", "sysctl -w net.ipv4.ip_local_reserved_ports=40000-40010,50051"},
		"UDP":                 {func(f *Facts) { f.UDPServers = []uint16{50051} }, Problem, "udp_unguarded", udp.Subject, udp.Text, udp.Hint},
		"DNAT":                {func(f *Facts) { f.Redirects = []string{"tcp dport 8080 redirect to :50051"} }, Note, "dnat", "dnat", "tcp dport 8080 redirect to :50051", "nft list ruleset"},
		"DNAT unknown":        {func(f *Facts) { f.RedirectsErr = os.ErrPermission }, Note, "dnat", "dnat", "not known", AsRoot},
		"legacy NAT":          {func(f *Facts) { f.LegacyNAT = true }, Note, "dnat", "dnat", "iptables-legacy", "iptables-legacy-save -t nat"},
		"no table of sockets": {func(f *Facts) { f.UDPErr = sockets.ErrNoDiag }, Note, "udp_unguarded", "udp", "is not known", "ss -lun"},
		"config of root":      {func(f *Facts) { f.Config, f.ConfigErr = "/c", os.ErrPermission }, Note, "config", "/c", "not known", AsRoot},
		"no nft":              {func(f *Facts) { f.RedirectsErr = errors.New("no nft") }, Note, "dnat", "dnat", "no nft", "iptables-save -t nat"},
		"clock":               {func(f *Facts) { f.Unsynchronised = true }, Note, "clock", "clock", "entries end by it", "timedatectl"},
		"clock of 1970":       {func(f *Facts) { f.Now = time.Unix(0, 0) }, Problem, "clock", "clock", "1970-01-01", "timedatectl"},
		"state":               {func(f *Facts) { f.StateOthers = "has mode 0777" }, Problem, "state_open", "/var/lib/xdpallow", "has mode 0777: who writes there", "chown 0 /var/lib/xdpallow; chmod 700 /var/lib/xdpallow"},
		"no room":             {func(f *Facts) { f.StateRoom = errors.New("full") }, Problem, "state_unwritable", "/var/lib/xdpallow", "no room for changes", "df /var/lib/xdpallow"},
		"state, a file":       {func(f *Facts) { f.StateErr = errors.New("it is no directory") }, Problem, "state", "/var/lib/xdpallow", "it is no directory", "ls -ld /var/lib/xdpallow"},
		"no state yet":        {func(f *Facts) { f.StateMissing, f.StateErr = true, os.ErrNotExist }, OK, "state", "/var/lib/xdpallow", "first start makes it", ""},
		"group":               {func(f *Facts) { f.NoGroups = f.Groups }, Note, "group", "group xdpallow", "is not there", "groupadd --system xdpallow"},
		"no unit":             {func(f *Facts) { f.Unit = "" }, Note, "unit", "unit", "after a reboot nothing is filtered", "xdpallow assets unit >/etc/systemd/system/xdpallow.service; systemctl enable xdpallow"},
		"unit, no file":       {func(f *Facts) { f.UnitRuns = "/nowhere" }, Problem, "unit", "unit", "runs /nowhere, which is not there", "xdpallow assets unit >/etc/systemd/system/xdpallow.service"},
		"unit is off":         {func(f *Facts) { f.UnitEnabled = false }, Note, "unit", "unit", "is not enabled", "systemctl enable xdpallow"},
		"config": {func(f *Facts) {
			f.Config, f.ConfigErr = "/c", errors.Join(&policy.InputError{Where: "/c:1", What: "x"}, &policy.InputError{Where: "/c:2", What: "y", Hint: "h"})
		}, Problem, "config", "/c", "y", "h"},
	} {
		f := inOrder()
		c.change(&f)
		lines := Diagnose(f)
		i := slices.IndexFunc(lines, func(l Line) bool {
			return l.State == c.state && l.Code == c.code && l.Subject == c.subject && strings.Contains(l.Text, c.text)
		})
		if i < 0 || lines[i].Hint != c.hint {
			t.Errorf("%s: no such line, or another hint than %q: %+v", name, c.hint, lines)
		}
		// It is said once, and nothing else is worse than it is.
		for j, line := range lines {
			if j != i && line.State == Problem && c.state != Problem {
				t.Errorf("%s: a problem beside it: %+v", name, line)
			}
			if j > 0 && compare(lines[j-1], line) > 0 {
				t.Errorf("%s: not sorted: %+v, %+v", name, lines[j-1], line)
			}
			if line.State == Problem && line.Hint == "" {
				t.Errorf("%s: no command: %+v", name, line)
			}
		}
	}
}

// What a daemon has said is not said again, also where its hint is better.
func TestSaidOnce(t *testing.T) {
	f := inOrder()
	f.UDPServers = []uint16{50051}
	said := repair.UnguardedUDP(f.Services, f.UDPServers, nil)[0]
	said.Hint = "add udp/50051 to the config"
	f.Status.Problems = []api.Problem{said}
	found := slices.DeleteFunc(Diagnose(f), func(l Line) bool { return l.Code != "udp_unguarded" })
	if len(found) != 1 || found[0].Hint != said.Hint {
		t.Errorf("%+v", found)
	}
}

// Non-effects: what is as it should be is no line.
func TestNoLines(t *testing.T) {
	f := inOrder()
	f.Services[0].Scope, f.Reserved = policy.ScopeStrict, "8080,50000-50100"
	f.Redirects = []string{"tcp dport 50051 dnat to 172.17.0.2:443"} // judged by the port it comes to
	for _, line := range Diagnose(f) {
		if line.State != OK {
			t.Errorf("%+v", line)
		}
	}
}

func TestTranslations(t *testing.T) {
	got := translations(`table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter packets 3 bytes 180 jump DOCKER
	}
	chain DOCKER {
		iifname != "docker0" tcp dport 8080 counter packets 1 bytes 60 dnat to 172.17.0.2:80
		iifname != "docker0" tcp dport 8080 counter packets 7 bytes 99 dnat to 172.17.0.2:80
		tcp dport 9443 redirect to :8443
		ip daddr 10.0.0.1 drop
	}
}`)
	want := []string{`iifname != "docker0" tcp dport 8080 dnat to 172.17.0.2:80`, "tcp dport 9443 redirect to :8443"}
	if !slices.Equal(got, want) || comesTo(got[0]) != 8080 || comesTo("dnat to 10.0.0.1") != 0 {
		t.Errorf("%q", got)
	}
}
