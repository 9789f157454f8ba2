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
	"testing"
	"time"
)

// Promise (0 leaks, 0 gaps): on a host that is booted, operated, damaged and rebooted, no
// stranger is answered by a SYN-ACK from power-on to the end, by neither NIC, and
// customers are served.
func TestDebian13(t *testing.T) {
	machines(t, true)
	t.Parallel()
	m := bootDebian(t, "trixie", "6.12")
	m.operated()
	m.rebooted()
}

// Promise: as for Debian 13.
func TestDebian12(t *testing.T) {
	machines(t, true)
	t.Parallel()
	m := bootDebian(t, "bookworm", "6.1")
	if selection == "all" {
		m.operated()
	}
	m.rebooted()
}

// bootDebian switches a machine with that suite and kernel on.
func bootDebian(t *testing.T, suite, version string) *machine {
	t.Helper()
	needed := maps.Clone(tools)
	maps.Copy(needed, rootTools)
	if err := installTools(t.Context(), needed); err != nil {
		t.Fatal(err)
	}
	k, err := fetch(t.Context(), version, false)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, k, newDisk(t, suite, k), hardware{model: "virtio-net-pci"})
	m.act("boot", func(t *testing.T) {
		if out := m.must(t, "systemctl show -P NRestarts xdpallow"); strings.TrimSpace(out) != "0" {
			t.Errorf("the daemon was started %s times more than once", out)
		}
	})
	return m
}

// act takes the machine through something, after which the gate has to be as it was.
func (m *machine) act(name string, do func(t *testing.T)) {
	m.outside.begin(name)
	m.t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
		do(t)
		m.guards(t)
	})
}

// guards fails the test unless the daemon runs and enforces, customers are served, and
// strangers are refused: without an answer by the guarded NIC, with a RST by the other.
func (m *machine) guards(t *testing.T) {
	t.Helper()
	m.eventually(t, "systemctl is-active xdpallow || { systemctl status xdpallow; false; }")
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
	before, answered, refused := m.outside.knocked(), m.outside.answered(0, "RST"), m.outside.answered(1, "RST")
	m.within(t, "strangers are refused by both NICs", func() error {
		now := m.outside.knocked()
		if now[0] < before[0]+20 || now[1] < before[1]+20 || m.outside.answered(1, "RST") == refused {
			return fmt.Errorf("%v SYNs, then %v; RSTs for eth1: %d, then %d", before, now, refused, m.outside.answered(1, "RST"))
		}
		return nil
	})
	if now := m.outside.answered(0, "RST"); now != answered {
		t.Errorf("strangers at the guarded NIC were answered: %d RSTs", now-answered)
	}
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
	Enforcing bool
	Problems  []struct{ Code, Subject, Text, Hint string }
	Daemon    *struct{ PID int }
	Version   string
}

func (s status) has(code string) bool {
	for _, problem := range s.Problems {
		if problem.Code == code {
			return true
		}
	}
	return false
}

func (m *machine) status(t *testing.T) (s status) {
	t.Helper()
	out := m.must(t, "xdpallow status -o json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("status: %v\n%s", err, out)
	}
	return s
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
			{"plain", "status", 4}, {"plain", "add 198.18.1.0/24", 4},
			{"reader", "status", 0}, {"reader", "list", 0}, {"reader", "add 198.18.1.0/24", 4},
			{"admin", "status", 0}, {"admin", "add 198.18.1.0/24", 0}, {"admin", "remove 198.18.1.0/24", 0},
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
