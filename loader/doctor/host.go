package doctor

// This file judges the rest of the host: kernel, sysctls, sockets, rules, clock, and what
// an installation consists of.

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// oldest is the oldest kernel that the tests run on.
var oldest = [2]int{6, 1}

func (d *diagnosis) kernel() {
	f := &d.f
	var version [2]int
	_, _ = fmt.Sscanf(f.Release, "%d.%d", &version[0], &version[1]) // 0.0 is too old as well
	switch {
	case version[0] < oldest[0] || version[0] == oldest[0] && version[1] < oldest[1]:
		d.add(Problem, "kernel", "kernel", "uname -r", "%s is older than %d.%d, the oldest that is known to work", f.Release, oldest[0], oldest[1])
	case f.LacksErr != nil:
		d.unknown("kernel", "kernel", "uname -r", "what "+f.Release+" has", f.LacksErr)
	case len(f.Lacks) > 0:
		d.add(Problem, "kernel", "kernel", "grep BPF /boot/config-"+f.Release, "%s was built without %s", f.Release, strings.Join(f.Lacks, ", "))
	default:
		d.add(OK, "kernel", "kernel", "", "%s has all that is needed", f.Release)
	}
	if len(f.Capabilities) > 0 {
		d.add(Note, "capabilities", "capabilities", AsRoot, "this process lacks %s, and sees less", strings.Join(f.Capabilities, ", "))
	}
	switch {
	case errors.Is(f.RootErr, os.ErrPermission):
		d.add(Note, "bpffs", f.Root, AsRoot, "%v", f.RootErr)
	case f.RootErr != nil:
		d.add(Problem, "bpffs", f.Root, hintOf(f.RootErr, "mount -t bpf bpf /sys/fs/bpf"), "%s", strings.TrimPrefix(f.RootErr.Error(), f.Root+" "))
	case f.Asked != "" && f.Asked != f.Root:
		d.add(Note, "bpffs", f.Root, "", "the daemon that answers keeps its pins there and not in %s; all this is about its gate", f.Asked)
	default:
		d.add(OK, "bpffs", f.Root, "", "pins there outlive the daemon")
	}
}

func (d *diagnosis) sysctls() {
	f := &d.f
	if f.SourceRoutedErr != nil || len(f.SourceRouted) > 0 {
		d.problems(Problem, repair.SourceRoutes(f.SourceRouted, f.SourceRoutedErr)...)
	} else {
		d.add(OK, "source_routes", "accept_source_route", "", "no interface takes source routes")
	}
	for _, name := range f.NoReversePath {
		setting := "net.ipv4.conf." + name + ".rp_filter"
		d.add(Note, "rp_filter", setting, "sysctl -w "+setting+"=1",
			"is 0: faked sources that belong to another interface come as far as the gate; 1 drops them, where answers leave by the way that packets came")
	}
	for _, name := range f.RouteLocalnet {
		setting := "net.ipv4.conf." + name + ".route_localnet"
		d.add(Note, "route_localnet", setting, "sysctl -w "+setting+"=0",
			"is 1: neighbours reach servers that listen on 127.0.0.1 alone")
	}
	for _, s := range f.Services {
		if s.Scope == policy.ScopeStrict {
			d.ephemeral(s)
		}
	}
}

// ephemeral notes the ports of s that the kernel may give to a client of this host: scope
// strict would drop the answers to that client.
func (d *diagnosis) ephemeral(s policy.Service) {
	const setting = "net.ipv4.ip_local_reserved_ports"
	for _, number := range s.Numbers(policy.TCP) {
		port := int(number)
		if port < d.f.Ephemeral[0] || port > d.f.Ephemeral[1] || reserved(d.f.Reserved, port) {
			continue
		}
		list := strings.TrimPrefix(fmt.Sprintf("%s,%d", d.f.Reserved, port), ",")
		d.add(Note, "ephemeral_port", fmt.Sprintf("tcp/%d", port), "sysctl -w "+setting+"="+list,
			"is a number that this host's own clients are given, and scope strict of service %s drops the answers to their datagrams", s.Name)
	}
}

func (d *diagnosis) udp() {
	if errors.Is(d.f.UDPErr, os.ErrPermission) || errors.Is(d.f.UDPErr, sockets.ErrNoDiag) {
		d.add(Note, "udp_unguarded", "udp", "ss -lun", "whether there are UDP servers on protected TCP ports is not known: %v", d.f.UDPErr)
		return
	}
	found := repair.UnguardedUDP(d.f.Services, d.f.UDPServers, d.f.UDPErr)
	d.problems(Problem, found...)
	if len(found) == 0 && len(d.f.Services) > 0 {
		d.add(OK, "udp_unguarded", "udp", "", "no UDP server is on the number of a protected TCP port")
	}
}

// mostRules is how many rules fit a screen.
const mostRules = 10

// redirects notes the rules that hand packets on, of which the gate knows nothing.
func (d *diagnosis) redirects() {
	const code, subject, hint = "dnat", "dnat", "nft list ruleset"
	guarded := map[int]bool{}
	for _, s := range d.f.Services {
		for _, p := range s.Ports {
			guarded[int(p.Number)] = true
		}
	}
	switch {
	case errors.Is(d.f.RedirectsErr, os.ErrPermission):
		d.unknown(code, subject, "", "whether rules translate destinations", d.f.RedirectsErr)
		return
	case d.f.RedirectsErr != nil: // no nft, or not the kernel's part of it
		d.add(Note, code, subject, "iptables-save -t nat", "whether rules translate destinations is not known: %v", d.f.RedirectsErr)
		return
	}
	if d.f.LegacyNAT {
		d.add(Note, code, subject, "iptables-legacy-save -t nat", "iptables-legacy has a table nat here, and its rules are not looked at")
	}
	shown := 0
	for _, rule := range d.f.Redirects {
		if guarded[comesTo(rule)] {
			continue // judged by the port that it comes to
		}
		if shown++; shown <= mostRules {
			d.add(Note, code, subject, hint, "a rule hands packets on that came to a port which is not protected, and what goes to a container meets no backstop: %s", rule)
		}
	}
	switch {
	case shown > mostRules:
		d.add(Note, code, subject, hint, "%d more rules translate destinations", shown-mostRules)
	case shown == 0 && !d.f.LegacyNAT:
		d.add(OK, code, subject, "", "no rule hands on what came to a port that is not protected")
	}
}

// installation judges clock, state directory, groups and unit.
func (d *diagnosis) installation() {
	f := &d.f
	switch {
	case f.Now.Year() < 2025: // older than this program
		d.add(Problem, "clock", "clock", "timedatectl", "it is %s here: entries with an end live on beyond it", f.Now.UTC().Format("2006-01-02"))
	case f.Unsynchronised:
		d.add(Note, "clock", "clock", "timedatectl", "nobody keeps it right, and entries end by it")
	default:
		d.add(OK, "clock", "clock", "", "is kept right")
	}
	switch {
	case f.StateMissing:
		d.add(OK, "state", f.State, "", "is not there yet, the first start makes it")
	case f.StateErr != nil:
		d.unknown("state", f.State, "ls -ld "+f.State, "what is in it", f.StateErr)
	case f.StateOthers == "" && f.StateRoom == nil:
		d.add(OK, "state", f.State, "", "nobody else can write to it, and there is room")
	}
	if f.StateOthers != "" {
		d.problems(Problem, problems.StateOfOthers(f.State, f.StateOthers, 0))
	}
	if f.StateRoom != nil {
		d.problems(Problem, problems.NoRoom(f.State, f.StateRoom))
	}
	for _, group := range f.Groups {
		if !slices.Contains(f.NoGroups, group) {
			d.add(OK, "group", "group "+group, "", "is there")
			continue
		}
		d.add(Note, "group", "group "+group, "groupadd --system "+group, "is not there: root alone can use the control socket")
	}
	d.unit()
}

func (d *diagnosis) unit() {
	f := &d.f
	const code, subject = "unit", "unit"
	switch {
	case f.Unit == "":
		d.add(Note, code, subject, "xdpallow assets unit >/etc/systemd/system/xdpallow.service; systemctl enable xdpallow", "is not installed: after a reboot nothing is filtered until somebody starts run")
	case f.UnitRuns != "":
		d.add(Problem, code, subject, "xdpallow assets unit >/etc/systemd/system/xdpallow.service", "%s runs %s, which is not there", f.Unit, f.UnitRuns)
	case !f.UnitEnabled:
		d.add(Note, code, subject, "systemctl enable xdpallow", "%s is not enabled: after a reboot nothing is filtered until somebody starts run", f.Unit)
	default:
		d.add(OK, code, subject, "", "%s is enabled", f.Unit)
	}
}
