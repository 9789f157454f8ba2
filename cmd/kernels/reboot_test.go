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
		m.eventually(t, running)
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
	m.act("reboot without config and state where the API requires the gate", func(t *testing.T) {
		m.must(t, "mkdir -p /etc/systemd/system/api.service.d && xdpallow assets api-dropin >/etc/systemd/system/api.service.d/xdpallow.conf && systemctl daemon-reload")
		m.must(t, "systemctl stop xdpallow && ! systemctl is-active -q api")
		m.must(t, "mv "+config+" saved && mv "+state+" state")
		m.reboot(t)
		m.eventually(t, "! systemctl is-active -q api && systemctl show -P Result xdpallow | grep -q exit-code")
		m.must(t, "mv saved "+config+" && rm -rf "+state+" && mv state "+state)
		m.must(t, "systemctl reset-failed && systemctl start api && systemctl is-active -q xdpallow")
		keeps(t)
		m.must(t, "rm -r /etc/systemd/system/api.service.d && systemctl daemon-reload")
	})
	m.act("reboot with a damaged database", func(t *testing.T) {
		// All pages but the first two, which say where the others are.
		m.must(t, "systemctl stop xdpallow")
		m.must(t, fmt.Sprintf("size=$(stat -c %%s %[1]s/state.db); dd if=/dev/urandom of=%[1]s/state.db bs=4096 seek=2 count=$((size/4096-2)) conv=notrunc status=none", state))
		m.reboot(t)
		keeps(t)
		if s := m.status(t); !s.has("state_damaged") {
			t.Errorf("no problem names the damaged file: %+v", s.Problems)
		}
		changes(t)
	})
	// The state on a file system of its own, which costs no other service its disk.
	mounted := func(options, more string) string {
		return fmt.Sprintf("systemctl stop xdpallow && truncate -s 16M /state.img && mkfs.ext4 -q -m 0 -d %[1]s /state.img && cp /etc/fstab saved && "+
			"echo '/state.img %[1]s ext4 %[2]s 0 0' >>/etc/fstab && systemctl daemon-reload && mount %[1]s && { %[3]s; }", state, options, more)
	}
	const unmounted = "systemctl stop xdpallow && umount " + state + " && mv saved /etc/fstab && systemctl daemon-reload && systemctl start xdpallow"
	m.act("reboot with a read-only state", func(t *testing.T) {
		m.must(t, mounted("loop,ro", "true"))
		m.reboot(t)
		keeps(t)
		if out, status := m.sh(t, "xdpallow add 198.18.9.0/24 --owner initech"); status != 1 {
			t.Errorf("a change that cannot be kept: exit %d, want 1\n%s", status, out)
		}
		if s := m.status(t); !s.has("state_unwritable") {
			t.Errorf("no problem names the directory: %+v", s.Problems)
		}
		m.guards(t)
		m.must(t, unmounted)
		keeps(t)
		changes(t)
	})
	m.act("reboot with a full disk", func(t *testing.T) {
		m.must(t, mounted("loop", "! dd if=/dev/zero of="+state+"/fill bs=512"))
		m.reboot(t)
		keeps(t)
		m.guards(t)
		m.must(t, "rm "+state+"/fill")
		m.eventually(t, "xdpallow add 198.18.9.0/24 --owner initech")
		m.must(t, unmounted)
		keeps(t)
		changes(t)
	})
}

// late reboots the machine with NICs that are there three seconds after the daemon.
func (m *machine) late() {
	const config = "/etc/xdpallow/config.yaml"
	m.act("reboot with late NICs", func(t *testing.T) {
		// Without the backstop there is nothing but the NICs' programs: one SYN that comes
		// before them gets in.
		m.must(t, "cp "+config+" saved && sed -i 's/^interfaces:.*/interfaces: [eth0, eth1]\\nbackstop: off/' "+config+" && grep -q backstop "+config)
		m.must(t, "echo blacklist virtio_net >/etc/modprobe.d/late.conf && printf '"+lateNICs+"' >/etc/systemd/system/late.service && systemctl enable -q late")
		m.reboot(t)
		m.eventually(t, "[ -e /sys/class/net/eth0 ] && [ -e /sys/class/net/eth1 ]")
		m.eventually(t, running)
		m.within(t, "the daemon enforces", func() error {
			if s := m.status(t); !s.Enforcing {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		m.within(t, "customers are served", m.outside.served)
		m.outside.shut(t)
		// The backstop comes before eth1 is let go.
		m.must(t, "mv saved "+config+" && rm /etc/modprobe.d/late.conf && systemctl disable -q late && systemctl restart xdpallow && xdpallow detach --interface eth1 --yes")
	})
}

// lateNICs is a unit, as printf takes it: a command is one line.
const lateNICs = `[Unit]\nDefaultDependencies=no\n[Service]\n` +
	`ExecStart=/bin/sh -c "until pgrep -x xdpallow; do sleep 0.1; done; sleep 3; modprobe virtio_net"\n` +
	`[Install]\nWantedBy=sysinit.target\n`
