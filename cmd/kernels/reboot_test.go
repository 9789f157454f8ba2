package main

// This file reboots machines in which something is wrong. What was enforced before has to
// be enforced after, whatever the files say.

import (
	"fmt"
	"testing"
)

// rebooted takes the machine through reboots.
func (m *machine) rebooted() {
	const config, state = "/etc/xdpallow/config.yaml", "/var/lib/xdpallow"
	// An entry that only the state holds, and a customer who was stopped.
	m.must(m.t, "xdpallow add 198.18.7.0/24 --owner initech && xdpallow add 198.18.8.0/24 --owner umbrella && xdpallow suspend umbrella")
	keeps := func(t *testing.T) {
		t.Helper()
		m.eventually(t, "systemctl is-active xdpallow || { systemctl status xdpallow; false; }")
		m.must(t, "xdpallow check 198.18.7.1 --port 443")
		if out, status := m.sh(t, "xdpallow check 198.18.8.1 --port 443"); status != 1 {
			t.Errorf("a suspended owner after the reboot: exit %d\n%s", status, out)
		}
	}
	changes := func(t *testing.T) {
		t.Helper()
		m.must(t, "xdpallow add 198.18.9.0/24 --owner initech && xdpallow check 198.18.9.1 --port 443")
		m.must(t, "xdpallow remove 198.18.9.0/24")
	}
	m.act("reboot", func(t *testing.T) {
		m.reboot(t)
		keeps(t)
		changes(t)
	})
	m.act("reboot with a broken config", func(t *testing.T) {
		m.must(t, "cp "+config+" saved && echo 'nonsense: [' >>"+config)
		m.reboot(t)
		keeps(t)
		m.guards(t)
		m.must(t, "mv saved "+config+" && systemctl reload xdpallow")
	})
	if !repairsState {
		return
	}
	m.act("reboot with a damaged database", func(t *testing.T) {
		// All pages but the first two, which say where the others are.
		m.must(t, "systemctl stop xdpallow")
		m.must(t, fmt.Sprintf("size=$(stat -c %%s %[1]s/state.db); dd if=/dev/urandom of=%[1]s/state.db bs=4096 seek=2 count=$((size/4096-2)) conv=notrunc status=none", state))
		m.reboot(t)
		keeps(t)
		changes(t)
	})
	m.act("reboot with a read-only state", func(t *testing.T) {
		// A file system of its own, as one has that the kernel remounts after an error.
		m.must(t, "systemctl stop xdpallow")
		m.must(t, fmt.Sprintf("truncate -s 64M /state.img && mkfs.ext4 -q -d %[1]s /state.img && cp /etc/fstab saved && echo '/state.img %[1]s ext4 loop,ro 0 0' >>/etc/fstab", state))
		m.reboot(t)
		keeps(t)
		if out, status := m.sh(t, "xdpallow add 198.18.9.0/24 --owner initech"); status != 1 {
			t.Errorf("a change that cannot be kept: exit %d, want 1\n%s", status, out)
		}
		m.guards(t)
		m.must(t, "mv saved /etc/fstab")
		m.reboot(t)
		keeps(t)
		changes(t)
	})
	m.act("reboot with a full disk", func(t *testing.T) {
		m.must(t, "dd if=/dev/zero of=/fill bs=1M status=none; dd if=/dev/zero of=/fill2 bs=1k status=none; [ $(df --output=avail / | tail -n 1) = 0 ]")
		m.reboot(t)
		keeps(t)
		m.guards(t)
		m.must(t, "rm /fill /fill2")
		m.eventually(t, "xdpallow add 198.18.9.0/24 --owner initech")
		m.must(t, "xdpallow remove 198.18.9.0/24")
	})
}

// repairsState says whether what is wrong with the state is tried.
var repairsState = selection == "all"
