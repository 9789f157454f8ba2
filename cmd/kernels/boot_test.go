package main

// This file boots machines in which the product is installed, and takes them through what
// happens to a host, while strangers knock all the time.

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Promise (0 leaks, 0 gaps): on a host that is booted, operated, damaged and rebooted, no
// stranger is answered by a SYN-ACK from power-on to the end, by neither NIC, and
// customers are served.
func TestDebian13(t *testing.T) {
	machines(t, true)
	t.Parallel()
	m := bootDebian(t, "Debian 13", "trixie", "6.12")
	m.operated()
	m.rebooted()
	if selection == "all" {
		m.late()
	}
}

// Promise: as for Debian 13.
func TestDebian12(t *testing.T) {
	machines(t, true)
	t.Parallel()
	m := bootDebian(t, "Debian 12", "bookworm", "6.1")
	if selection == "all" {
		m.operated()
	}
	m.rebooted()
}

// bootDebian switches a machine with that suite and kernel on.
func bootDebian(t *testing.T, name, suite, version string) *machine {
	t.Helper()
	k := needed(t, architectures["amd64"], version, false)
	m := newMachine(t, k, disk(t, suite, k), hardware{}, record(version, name, "virtio_net", "native"))
	m.act("boot", func(t *testing.T) {
		if out := m.must(t, "systemctl show -P NRestarts xdpallow"); strings.TrimSpace(out) != "0" {
			t.Errorf("the daemon was started %s times more than once", out)
		}
	})
	return m
}

// packageManager is held by whoever uses apt.
var packageManager sync.Mutex

// needed installs what a machine needs here, and returns its kernel.
func needed(t *testing.T, arch *architecture, version string, generic bool) *kernel {
	t.Helper()
	packageManager.Lock()
	defer packageManager.Unlock()
	programs := arch.tools()
	maps.Copy(programs, rootTools)
	if err := installTools(t.Context(), programs); err != nil {
		t.Fatal(err)
	}
	k, err := fetch(t.Context(), arch, version, generic)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// act takes the machine through something, after which the gate has to be as it was.
func (m *machine) act(name string, do func(t *testing.T)) {
	m.outside.begin(name)
	m.row.run(m.t, name, func(t *testing.T) {
		do(t)
		m.guards(t)
	})
}

// running succeeds once systemd says that the daemon is ready.
const running = "systemctl is-active -q xdpallow || { systemctl status -l --no-pager xdpallow; false; }"

// guards fails the test unless the daemon runs and enforces, customers are served, and
// strangers are refused: without an answer by the guarded NIC, with a RST by the other.
func (m *machine) guards(t *testing.T) {
	t.Helper()
	m.eventually(t, running)
	m.within(t, "the daemon enforces", func() error {
		if s := m.status(t); !s.Enforcing || s.Daemon == nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	m.shut(t)
}

// shut fails the test unless customers are served and strangers are not, with or without
// a daemon.
func (m *machine) shut(t *testing.T) {
	t.Helper()
	m.eventually(t, fmt.Sprintf("ip -o addr show eth0 | grep -q %s && ip -o addr show eth1 | grep -q %s",
		segments[0].guest4.Addr(), segments[1].guest4.Addr()))
	m.within(t, "customers are served", m.outside.served)
	m.within(t, "strangers are refused by both NICs, without an answer by the guarded one", func() error {
		before, guarded, other := m.outside.knocked(), m.outside.answered(0, "RST"), m.outside.answered(1, "RST")
		time.Sleep(time.Second)
		if now := m.outside.knocked(); now[0] < before[0]+20 || now[1] < before[1]+20 {
			return fmt.Errorf("%v SYNs, and a second later %v", before, now)
		}
		guarded, other = m.outside.answered(0, "RST")-guarded, m.outside.answered(1, "RST")-other
		if guarded != 0 || other == 0 {
			return fmt.Errorf("%d RSTs at the guarded NIC, %d at the other", guarded, other)
		}
		return nil
	})
	m.outside.shut(t)
}

// within repeats until there is no error.
func (m *machine) within(t *testing.T, what string, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(commandLimit); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			out, _ := m.sh(t, "systemctl status -l --no-pager xdpallow; xdpallow status; ip -br addr")
			t.Fatalf("%s: not within %v: %v\n%s", what, commandLimit, err, out)
		}
	}
}

// status is what `xdpallow status` says.
type status struct {
	Enforcing  bool
	Problems   []problem
	Interfaces []struct{ Name, Attach, Reason string }
	Daemon     *struct{ PID int }
	Version    string
}

type problem struct{ Code, Subject, Text, Hint string }

func (s status) has(code string) bool {
	for _, p := range s.Problems {
		if p.Code == code {
			return true
		}
	}
	return false
}

func (m *machine) status(t *testing.T) (s status) {
	t.Helper()
	m.ask(t, "status", &s)
	return s
}

// ask reads what a command of xdpallow says as JSON.
func (m *machine) ask(t *testing.T, command string, answer any) {
	t.Helper()
	out := m.must(t, fmt.Sprintf("xdpallow %s -o json 2>problem || { cat problem; false; }", command))
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		t.Fatalf("xdpallow %s: %v\n%s", command, err, out)
	}
}

// operated takes the machine through what needs no reboot.
func (m *machine) operated() {
	const config = "/etc/xdpallow/config.yaml"
	m.act("exposure", func(t *testing.T) {
		out := m.must(t, "systemd-analyze security --no-pager xdpallow | tail -n 1")
		found := regexp.MustCompile(`exposure level for \S+ ([\d.]+)`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("systemd-analyze: %s", out)
		}
		if exposure, err := strconv.ParseFloat(found[1], 64); err != nil || exposure > 2.2 {
			t.Errorf("%s: want at most 2.2 (%v)", out, err)
		}
	})
	m.act("reload", func(t *testing.T) {
		m.must(t, "cp "+config+" saved && echo '  - 198.18.0.0/24 owner=globex' >>"+config)
		m.must(t, "systemctl reload xdpallow")
		m.must(t, "xdpallow check 198.18.0.1 --port 443")
	})
	m.act("broken reload", func(t *testing.T) {
		m.must(t, "echo 'nonsense: [' >>"+config)
		if _, status := m.sh(t, "systemctl reload xdpallow"); status == 0 {
			t.Error("systemctl reload says that a broken config was taken over")
		}
		m.must(t, "xdpallow check 198.18.0.1 --port 443")
		m.must(t, "mv saved "+config+" && systemctl reload xdpallow")
	})
	m.act("followed", m.followed)
	m.act("enrolled", m.enrolled)
	m.act("asked for owners", m.asked)
	m.act("stop and start", func(t *testing.T) {
		m.must(t, "systemctl stop xdpallow")
		m.shut(t)
		m.must(t, "systemctl start xdpallow")
	})
	m.act("killed", func(t *testing.T) { m.replaced(t, "KILL") })
	m.act("hangs", func(t *testing.T) { m.replaced(t, "STOP") })
	m.act("upgrade and back", func(t *testing.T) {
		first := m.status(t).Version
		m.must(t, "dpkg -i "+secondPackage)
		if second := m.status(t).Version; second != secondVersion {
			t.Errorf("version %s after the update, want %s", second, secondVersion)
		}
		m.guards(t)
		m.must(t, "dpkg -i "+firstPackage)
		if again := m.status(t).Version; again != first {
			t.Errorf("version %s after going back, want %s", again, first)
		}
	})
	m.act("groups", func(t *testing.T) {
		for _, try := range []struct {
			user, command string
			want          int
		}{
			{"plain", "status", 4},
			{"plain", "add 198.18.1.0/24", 4},
			{"reader", "status", 0},
			{"reader", "list", 0},
			{"reader", "add 198.18.1.0/24", 4},
			{"admin", "status", 0},
			{"admin", "add 198.18.1.0/24", 0},
			{"admin", "remove 198.18.1.0/24", 0},
		} {
			out, status := m.sh(t, fmt.Sprintf("runuser -u %s -- xdpallow %s", try.user, try.command))
			if status != try.want {
				t.Errorf("%s: xdpallow %s: exit %d, want %d\n%s", try.user, try.command, status, try.want, out)
			}
		}
	})
}

// replaced sends the daemon a signal, and waits until systemd has started another.
func (m *machine) replaced(t *testing.T, signal string) {
	t.Helper()
	before := m.status(t).Daemon.PID
	m.must(t, fmt.Sprintf("kill -%s %d", signal, before))
	m.within(t, "another daemon runs", func() error {
		out, _ := m.sh(t, "systemctl show -P MainPID xdpallow && systemctl is-active xdpallow")
		var pid int
		var state string
		_, err := fmt.Sscan(out, &pid, &state)
		if err == nil && (pid == 0 || pid == before || state != "active") {
			err = errors.New(out)
		}
		return err
	})
}
