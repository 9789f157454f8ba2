package e2e

// This file is about a config file that turns the backstop off: a start does not.

import (
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
)

const backstopConfig = "interfaces: [eth0]\nservices: {api: {ports: [8443]}}\nallow: [203.0.113.0/24, 2001:db8:a::/48]\n"

// keptOn asserts that strangers are refused beside the guarded interface, though the
// config file says otherwise, and that status says so.
func (b *backDoor) keptOn(when string) {
	b.tb.Helper()
	b.refuses(netlab.Refused)
	s := b.status()
	if !s.Enforcing || s.Backstop == nil || len(s.Problems) != 1 || s.Problems[0].Code != "kept_shut" ||
		!strings.Contains(s.Problems[0].Text, "backstop") || !strings.HasPrefix(s.Problems[0].Hint, "xdpallow reload --allow-open") {
		b.tb.Errorf("%s: enforcing %v, backstop %+v, problems %+v", when, s.Enforcing, s.Backstop, s.Problems)
	}
}

// goneOff asserts that it is off, without a problem, and that eth0 is guarded as before.
func (b *backDoor) goneOff(when string) {
	b.tb.Helper()
	b.refuses(netlab.Connected)
	b.shut()
	if s := b.status(); !s.Enforcing || s.Backstop != nil || len(s.Problems) > 0 {
		b.tb.Errorf("%s: enforcing %v, backstop %+v, problems %+v", when, s.Enforcing, s.Backstop, s.Problems)
	}
}

// Promise: a start that nobody watches opens nothing, beside the guarded interfaces
// neither. A backstop that a config file was changed to turn off stays, after a reboot too,
// and is a problem with the command that turns it off.
func TestStartKeepsTheBackstop(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	path := b.config(backstopConfig)
	b.run("--config", path).stop()
	b.config(backstopConfig + "backstop: off\n")
	if r := b.cli("run", "--config", path, "--dry-run"); r.code != 1 || !strings.Contains(r.stderr, "backstop") || !strings.Contains(r.stderr, "--allow-open") {
		t.Errorf("a dry run of such a start: %+v", r)
	}
	d := b.run("--config", path)
	b.keptOn("after a restart")
	d.kill()
	b.reboot()
	d = b.run("--config", path)
	b.keptOn("after a reboot")
	b.must("reload")
	b.keptOn("after a reload without the flag")
	b.must("reload", "--allow-open", "--dry-run")
	b.keptOn("after a dry run")
	b.must("reload", "--allow-open")
	b.goneOff("after reload --allow-open")
	d.kill()
	d = b.run("--config", path)
	b.goneOff("after a restart later")
	d.kill()
	b.reboot()
	b.run("--config", path)
	b.goneOff("after a reboot later")
}

// A config file that says `on` again is no problem any more.
func TestBackstopThatIsWantedAgain(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	path := b.config(backstopConfig)
	b.run("--config", path).stop()
	b.config(backstopConfig + "backstop: off\n")
	b.run("--config", path)
	b.keptOn("after a restart")
	b.config(backstopConfig)
	b.must("reload")
	b.refuses(netlab.Refused)
	for _, p := range b.status().Problems {
		t.Errorf("still a problem: %+v", p)
	}
}

// What is typed is meant, and so is what the very first start finds in the file.
func TestBackstopThatIsMeantToGo(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	path := b.config(backstopConfig + "backstop: off\n")
	d := b.run("--config", path)
	b.goneOff("the first start")
	d.stop()
	for _, typed := range []string{"--backstop=off", "--allow-open"} {
		b.config(backstopConfig)
		d = b.run("--config", path)
		b.refuses(netlab.Refused)
		d.stop()
		b.config(backstopConfig + "backstop: off\n")
		d = b.run("--config", path, typed)
		b.goneOff(typed)
		d.stop()
		d = b.run("--config", path)
		b.goneOff("a start after " + typed)
		d.stop()
	}
}

// Promise: a reload tells of a config file that turns the backstop off what a start tells:
// that it stays, and the command that turns it off, which does; history says when it went.
func TestReloadTurnsTheBackstopOff(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	path := b.config(backstopConfig)
	d := b.run("--config", path)
	b.config(backstopConfig + "backstop: off\n")
	if text := b.cli("reload"); text.code != 0 || strings.Contains(text.stdout+text.stderr, "systemctl restart") || !strings.Contains(text.stdout+text.stderr, "reload --allow-open") {
		t.Errorf("a reload without the flag: %+v", text)
	}
	b.keptOn("after a reload without the flag")
	if text := b.must("history"); strings.Contains(text, "backstop") {
		t.Errorf("it has not gone, and history says so:\n%s", text)
	}
	b.must("reload", "--allow-open")
	b.goneOff("after reload --allow-open")
	if text := b.must("history"); !strings.Contains(text, "! backstop: on → off") {
		t.Errorf("history does not say that it went:\n%s", text)
	}
	d.stop()
	b.config(backstopConfig)
	b.run("--config", path)
	b.refuses(netlab.Refused)
	if text := b.must("history"); !strings.Contains(text, "~ backstop: off → on") {
		t.Errorf("history does not say that it is back:\n%s", text)
	}
}

// Promise: where no daemon runs and nothing is pinned, doctor says of the backstop what the
// next start does, not what the config file asks for.
func TestDoctorKnowsThatTheBackstopStays(t *testing.T) {
	t.Parallel()
	b := newBackDoor(t)
	path := b.config(backstopConfig)
	d := b.run("--config", path)
	d.kill()
	b.reboot()
	b.config(backstopConfig + "backstop: off\n")
	r := b.cli("doctor", "--config", path)
	for _, line := range strings.Split(r.stdout, "\n") {
		if strings.Contains(line, "backstop") && strings.Contains(line, "is off") {
			t.Errorf("doctor takes it for off: %s", line)
		}
	}
	if !strings.Contains(r.stdout, "no program of others is at the socket lookups") {
		t.Errorf("doctor does not look at the backstop: %s%s", r.stdout, r.stderr)
	}
}
