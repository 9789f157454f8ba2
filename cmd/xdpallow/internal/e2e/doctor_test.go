package e2e

// This file is about `doctor`: each kind of trouble is found on a host that has it, and not
// on one that has not.

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/doctor"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// opinion is what doctor says.
type opinion struct {
	Problems, Notes int
	Lines           []doctor.Line
	code            int
}

// doctor asks about eth0 and the protected port, unless args name others.
func (h *host) doctor(args ...string) opinion {
	h.tb.Helper()
	all := []string{"doctor", "-o", "json", "--config", "/dev/null"}
	if joined := strings.Join(args, " "); !strings.Contains(joined, "--interface") {
		all = append(all, "--interface", "eth0", "--port", fmt.Sprint(port))
	}
	return h.opinion(h.cli(append(all, args...)...))
}

func (h *host) opinion(r result) opinion {
	h.tb.Helper()
	o := opinion{code: r.code}
	if err := json.Unmarshal([]byte(r.stdout), &o); err != nil {
		h.tb.Fatalf("exit %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	if problems := len(o.of(doctor.Problem)); problems != o.Problems || (o.code == 1) != (problems > 0) || o.code > 1 {
		h.tb.Errorf("exit %d with %d problems: %+v", o.code, problems, o.Lines)
	}
	return o
}

// of are the lines in a state.
func (o opinion) of(state doctor.State) (lines []doctor.Line) {
	for _, line := range o.Lines {
		if line.State == state {
			lines = append(lines, line)
		}
	}
	return lines
}

// about are the lines with a code and a subject.
func (o opinion) about(code, subject string) (lines []doctor.Line) {
	for _, line := range o.Lines {
		if line.Code == code && line.Subject == subject {
			lines = append(lines, line)
		}
	}
	return lines
}

// says asserts that there is one such line, in that state, and returns it.
func (h *host) says(o opinion, state doctor.State, code, subject string) doctor.Line {
	h.tb.Helper()
	lines := o.about(code, subject)
	if len(lines) != 1 || lines[0].State != state || state == doctor.Problem && lines[0].Hint == "" {
		h.tb.Errorf("%s of %q is %+v, want one %s; all: %+v", code, subject, lines, state, o.Lines)
		return doctor.Line{}
	}
	return lines[0]
}

// Promise: a healthy host has no problem before `run`, while it runs, and with another
// daemon beside; a gate without a daemon is one, with the command that mends it.
func TestDoctorOnAHealthyHost(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	before := h.doctor()
	if before.code != 0 || len(before.of(doctor.Problem)) != 0 {
		t.Errorf("before run: exit %d, %+v", before.code, before.of(doctor.Problem))
	}
	h.says(before, doctor.OK, "kernel", "kernel")
	h.says(before, doctor.OK, "native", "eth0")
	h.says(before, doctor.Note, "daemon", "daemon")
	_, state := os.Stat(h.state())
	_, pins := os.Stat(h.bpffs())
	if h.xdp("eth0") != 0 || !os.IsNotExist(state) || !os.IsNotExist(pins) {
		t.Errorf("doctor left something: program %d, state %v, pins %v", h.xdp("eth0"), state, pins)
	}
	d := h.run(allowed...)
	running := h.doctor()
	if running.code != 0 {
		t.Errorf("while it runs: exit %d, %+v", running.code, running.of(doctor.Problem))
	}
	h.says(running, doctor.OK, "daemon", "daemon")
	if line := h.says(running, doctor.OK, "interface", "eth0"); !strings.Contains(line.Text, "guarded, native") {
		t.Errorf("%+v", line)
	}
	// Asked about pins that are not this daemon's, it says whose it looks at, and takes the daemon's
	// own programs for no other's.
	beside := h.doctor("--bpffs", h.dir+"/elsewhere/pins")
	if beside.code != 0 {
		t.Errorf("with another --bpffs: exit %d, %+v", beside.code, beside.of(doctor.Problem))
	}
	h.says(beside, doctor.OK, "interface", "eth0")
	if line := h.says(beside, doctor.Note, "bpffs", h.bpffs()); !strings.Contains(line.Text, "not in "+h.dir+"/elsewhere/pins") {
		t.Errorf("%+v", line)
	}
	d.kill()
	dead := h.doctor()
	if line := h.says(dead, doctor.Problem, "daemon", "daemon"); len(dead.of(doctor.Problem)) != 1 || !strings.HasPrefix(line.Hint, "systemctl start xdpallow") {
		t.Errorf("without a daemon: %+v", dead.of(doctor.Problem))
	}
	h.says(dead, doctor.OK, "interface", "eth0")
	h.shut()
}

// Promise: what stands in the way of a start is a problem in the words of that start, and
// it is gone with its cause.
func TestDoctorFindsOtherPrograms(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	attached := b.lookups(letIn(t))
	id := b.occupy(unix.XDP_FLAGS_SKB_MODE, false)
	o := b.doctor()
	line := b.says(o, doctor.Problem, "interface_taken", "eth0")
	if !strings.Contains(line.Text, fmt.Sprintf("another XDP program holds it: id %d (pass)", id)) || line.Hint != "bpftool net show dev eth0" {
		t.Errorf("%+v", line)
	}
	d := b.start(binary, allowed...)
	if code := d.ends(); code != 1 || !strings.Contains(d.logged(), line.Text) {
		t.Errorf("the start says something else: exit %d\n%s", code, d.logged())
	}
	line = b.says(o, doctor.Problem, "backstop_shared", "backstop")
	if !strings.Contains(line.Text, "(let_in) is at the socket lookups too") {
		t.Errorf("%+v", line)
	}
	// One that nobody wants to guard is not in the way.
	if o := b.doctor("--interface", "eth1", "--port", "8443"); len(o.about("interface_taken", "eth0")) != 0 || len(o.about("uncovered", "eth0")) != 1 {
		t.Errorf("about eth1: %+v", o.Lines)
	}
	b.check(b.lab.Host.Do(func() error {
		device, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFdWithFlags(device, -1, unix.XDP_FLAGS_SKB_MODE)
	}))
	b.check(attached.Detach())
	if o := b.doctor(); o.code != 0 {
		t.Errorf("with the programs gone: %+v", o.of(doctor.Problem))
	}
	// While a daemon runs, what it says itself is not said again.
	b.run(allowed...)
	again := b.lookups(letIn(t))
	b.broken("backstop_shared", "backstop")
	b.says(b.doctor(), doctor.Problem, "backstop_shared", "backstop")
	b.check(again.Detach())
}

// Promise: sysctls and sockets that matter are found, with a command that mends them.
func TestDoctorLooksAtTheNetwork(t *testing.T) {
	t.Parallel()
	h := &openHost{host: newHost(t)}
	h.serve()
	found := func(want bool, args ...string) opinion {
		t.Helper()
		o := h.doctor(args...)
		for _, c := range [][2]string{
			{"source_routes", "net.ipv4.conf.all.accept_source_route"},
			{"udp_unguarded", "udp/8443"},
			{"route_localnet", "net.ipv4.conf.eth0.route_localnet"},
			{"dnat", "dnat"},
		} {
			lines := o.about(c[0], c[1])
			got := slices.ContainsFunc(lines, func(l doctor.Line) bool { return l.State != doctor.OK })
			if got != want {
				t.Errorf("%s: %+v, want it: %v", c[0], lines, want)
			}
		}
		return o
	}
	found(false)
	sysctl(t, h.lab.Host, "ipv4/conf/all/accept_source_route", "1")
	sysctl(t, h.lab.Host, "ipv4/conf/eth0/accept_source_route", "1")
	sysctl(t, h.lab.Host, "ipv4/conf/eth0/route_localnet", "1")
	h.echo(h.link().Host4)
	h.nft(`table ip nat {
		chain prerouting { type nat hook prerouting priority -100; tcp dport 9443 counter redirect to :8443; }
	}`)
	o := found(true)
	h.says(o, doctor.Problem, "source_routes", "net.ipv4.conf.all.accept_source_route")
	h.says(o, doctor.Problem, "udp_unguarded", "udp/8443")
	if line := h.says(o, doctor.Note, "dnat", "dnat"); !strings.Contains(line.Text, "tcp dport 9443 redirect to :8443") {
		t.Errorf("%+v", line)
	}
	// With both protocols guarded, the server is no problem.
	if o := h.doctor("--interface", "eth0", "--port", "tcp/8443,udp/8443"); len(o.about("udp_unguarded", "udp/8443")) != 0 {
		t.Errorf("guarded: %+v", o.Lines)
	}
	// What is typed ends it.
	for _, line := range o.Lines {
		if words := strings.Fields(line.Hint); len(words) > 0 && words[0] == "sysctl" && line.Code != "rp_filter" {
			out, err := labtest.Command(t.Context(), h.lab.Host, words...).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", line.Hint, err, out)
			}
		}
	}
	o = h.doctor()
	if lines := append(o.about("source_routes", "net.ipv4.conf.all.accept_source_route"), o.about("route_localnet", "net.ipv4.conf.eth0.route_localnet")...); len(lines) != 0 {
		t.Errorf("still: %+v", lines)
	}
	// A running daemon says the same, and nobody says it twice.
	h.run(allowed...)
	h.says(h.doctor(), doctor.Problem, "udp_unguarded", "udp/8443")
}

// Promise: a link type that nothing can be attached to is a problem; a tun device is none.
func TestDoctorKnowsLinkTypes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	openTun(t, h.lab.Host, "tun0", 0)
	h.check(h.lab.Host.Do(func() error {
		return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, Mode: netlink.TUNTAP_MODE_TAP})
	}))
	openTun(t, h.lab.Host, "radio0", 804) // ARPHRD_IEEE802154
	h.check(labtest.SetMTU(h.lab.Host, "tap0", 9000))
	o := h.doctor("--interface", "eth0,tun0,radio0,eth7,lo", "--port", "8443")
	if line := h.says(o, doctor.Problem, "interface_not_attached", "radio0"); !strings.Contains(line.Text, "link type is") {
		t.Errorf("%+v", line)
	}
	h.says(o, doctor.Problem, "interface_not_attached", "lo")
	h.says(o, doctor.Problem, "interface_missing", "eth7")
	if o.Problems != 3 {
		t.Errorf("%+v", o.of(doctor.Problem))
	}
	// The driver of tap devices declares no frames of more than a page, that of veth does.
	h.check(labtest.SetMTU(h.lab.Host, "eth0", 9000))
	h.check(labtest.SetMTU(h.lab.Wire, "eth0", 9000))
	o = h.doctor("--interface", "eth0,tap0", "--port", "8443")
	if line := h.says(o, doctor.Note, "mtu", "tap0"); !strings.Contains(line.Text, "9000") || !strings.Contains(line.Hint, "--try --interface tap0") {
		t.Errorf("%+v", line)
	}
	if len(o.about("mtu", "eth0")) != 0 || o.code != 0 {
		t.Errorf("%+v", o.Lines)
	}
	if err := labtest.SetMTU(h.lab.Host, "tap0", 1500); err != nil {
		t.Fatal(err)
	}
	if o := h.doctor("--interface", "eth0,tap0", "--port", "8443"); len(o.about("mtu", "tap0")) != 0 {
		t.Errorf("%+v", o.Lines)
	}
}

// Promise: --try asks the driver, says why it refuses, and leaves nothing; without it
// nothing is attached; where a program is, it is left alone.
func TestDoctorTries(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	openTun(t, h.lab.Host, "tun0", 0)
	o := h.doctor("--interface", "eth0,tun0", "--port", "8443", "--try")
	if line := h.says(o, doctor.OK, "native", "eth0"); !strings.Contains(line.Text, "was tried, and holds") {
		t.Errorf("%+v", line)
	}
	if line := h.says(o, doctor.Note, "generic", "tun0"); !strings.Contains(line.Text, "native XDP is unavailable") {
		t.Errorf("%+v", line)
	}
	if h.xdp("eth0") != 0 || h.xdp("tun0") != 0 {
		t.Error("a program stayed")
	}
	// A veth that receives on fewer queues than its peer sends on refuses.
	h.check(h.lab.Wire.SetQueues("eth0", 1, 2))
	h.check(h.lab.Host.SetQueues("eth0", 1, 1))
	h.says(h.doctor(), doctor.Note, "generic", "eth0")
	if line := h.says(h.doctor("--try"), doctor.Note, "generic", "eth0"); !strings.Contains(line.Text, "native XDP is unavailable") || !strings.Contains(line.Text, "number of rx queues") {
		t.Errorf("%+v", line)
	}
	path := filepath.Join(h.dir, "config.yaml")
	write(t, path, "interfaces: [eth0]\nattach: native\nservices: {api: {ports: [8443]}}\n")
	if r := h.cli("doctor", "--config", path, "--try", "-o", "json"); r.code != 1 {
		t.Errorf("where native is asked for: exit %d\n%s", r.code, r.stdout)
	}
	h.check(h.lab.Host.SetQueues("eth0", 2, 2))
	// A gate is no place to try anything.
	h.run(allowed...)
	program := h.xdp("eth0")
	h.says(h.doctor("--try"), doctor.OK, "interface", "eth0")
	if now := h.xdp("eth0"); now != program || program == 0 {
		t.Errorf("program %d became %d", program, now)
	}
	h.shut()
}

// Promise: who could change the list is told; a directory that is root's alone is no line
// to read.
func TestDoctorLooksAtTheState(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.says(h.doctor(), doctor.OK, "state", h.state()) // none yet
	h.check(os.Mkdir(h.state(), 0o700))
	h.says(h.doctor(), doctor.OK, "state", h.state())
	h.check(os.Chmod(h.state(), 0o777))
	line := h.says(h.doctor(), doctor.Problem, "state_open", h.state())
	if !strings.Contains(line.Text, "mode 0777") || !strings.HasSuffix(line.Hint, "; chmod 700 "+h.state()) {
		t.Errorf("%+v", line)
	}
	h.check(os.Chmod(h.state(), 0o700))
	h.check(os.Chown(h.state(), 65534, -1))
	line = h.says(h.doctor(), doctor.Problem, "state_open", h.state())
	if !strings.Contains(line.Text, "uid 65534") {
		t.Errorf("%+v", line)
	}
	h.check(os.Chown(h.state(), 0, -1))
	h.says(h.doctor(), doctor.OK, "state", h.state())
	// A daemon says the same, and nobody says it twice.
	h.run(allowed...)
	h.check(os.Chmod(h.state(), 0o777))
	h.broken("state_open", h.state())
	h.says(h.doctor(), doctor.Problem, "state_open", h.state())
}

// Promise: groups and unit that are missing are notes, since a gate needs neither; a unit
// that cannot start is a problem.
func TestDoctorLooksAtTheInstallation(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ask := func(prepare string) opinion {
		t.Helper()
		command := exec.Command("unshare", "--mount", "bash", "-c", `set -e
mount -t tmpfs tmpfs /etc/systemd/system
mkdir -p $DIR/bpf
mount -t bpf bpf $DIR/bpf
grep -v ^xdpallow /etc/group >$DIR/group || :
`+prepare+`
mount --bind $DIR/group /etc/group
exec "$@"`, "bash")
		command.Args = append(append(command.Args, binary), h.where([]string{"doctor", "-o", "json", "--interface", "eth0", "--port", "8443"})...)
		command.Env = append(os.Environ(), "DIR="+h.dir, "XDPALLOW="+binary)
		var stdout, stderr strings.Builder
		command.Stdout, command.Stderr = &stdout, &stderr
		h.check(h.lab.Host.Start(command))
		_ = command.Wait() // the exit code tells
		return h.opinion(result{stdout.String(), stderr.String(), command.ProcessState.ExitCode()})
	}
	o := ask("")
	h.says(o, doctor.Note, "group", "group xdpallow")
	h.says(o, doctor.Note, "group", "group xdpallow-admin")
	if line := h.says(o, doctor.Note, "unit", "unit"); !strings.Contains(line.Hint, "xdpallow assets unit") || o.code != 0 {
		t.Errorf("exit %d, %+v", o.code, line)
	}
	o = ask("printf 'xdpallow:x:990:\\nxdpallow-admin:x:991:\\n' >>$DIR/group; $XDPALLOW assets unit --path $XDPALLOW >/etc/systemd/system/xdpallow.service")
	h.says(o, doctor.OK, "group", "group xdpallow")
	h.says(o, doctor.OK, "group", "group xdpallow-admin")
	if line := h.says(o, doctor.Note, "unit", "unit"); line.Hint != "systemctl enable xdpallow" {
		t.Errorf("%+v", line)
	}
	o = ask("$XDPALLOW assets unit --path $XDPALLOW >/etc/systemd/system/xdpallow.service; mkdir /etc/systemd/system/sysinit.target.wants; ln -s ../xdpallow.service /etc/systemd/system/sysinit.target.wants/")
	h.says(o, doctor.OK, "unit", "unit")
	o = ask("$XDPALLOW assets unit --path /nowhere/xdpallow >/etc/systemd/system/xdpallow.service")
	h.says(o, doctor.Problem, "unit", "unit")
}

// Promise: who is not root gets what he may see, is told what he may not, and no problem
// is made of it.
func TestDoctorWithoutRoot(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	dir := labtest.Must(os.MkdirTemp("", "xdpallow-doctor-"))(t)
	t.Cleanup(func() { os.RemoveAll(dir) })
	h.check(os.Chmod(dir, 0o755))
	// Not a copy: a child that another test starts meanwhile would hold it open for writing
	// for a moment, and what is open for writing cannot be run.
	path := filepath.Join(dir, "xdpallow")
	h.check(os.Link(binary, path))
	ask := func() opinion {
		t.Helper()
		cmd := exec.Command(path, h.where([]string{"doctor", "-o", "json", "--try", "--interface", "eth0", "--port", "8443"})...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		h.check(h.lab.Host.Start(cmd))
		_ = cmd.Wait() // the exit code tells
		return h.opinion(result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()})
	}
	for _, running := range []bool{false, true} {
		if running {
			h.run(allowed...)
		}
		o := ask()
		if o.code != 0 || o.Problems != 0 {
			t.Errorf("running %v: exit %d, %+v", running, o.code, o.of(doctor.Problem))
		}
		line := h.says(o, doctor.Note, "capabilities", "capabilities")
		if !strings.Contains(line.Text, "CAP_BPF") || !strings.HasPrefix(line.Hint, "sudo xdpallow doctor ") {
			t.Errorf("%+v", line)
		}
	}
	h.shut()
}
