package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// sshd is a real OpenSSH server on the protected port, and a key that opens it.
type sshd struct {
	h   *host
	key string
}

// sshd starts one with a configuration and a host key of its own.
func (h *host) sshd() sshd {
	h.tb.Helper()
	s := sshd{h: h, key: filepath.Join(h.dir, "id")}
	hostKey := filepath.Join(h.dir, "hostkey")
	for _, path := range []string{s.key, hostKey} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
			h.tb.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	config := h.file("sshd_config", fmt.Sprintf(`Port %d
HostKey %s
AuthorizedKeysFile %s.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
`, port, hostKey, s.key))
	// It insists on the directory that its package makes at boot. It stays: every other
	// server of this host needs it with each connection.
	if err := os.Mkdir("/run/sshd", 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		h.tb.Fatal(err)
	}
	path, err := exec.LookPath("sshd")
	if err != nil {
		h.tb.Fatalf("%v: make tools", err)
	}
	cmd := exec.Command(path, "-D", "-e", "-f", config)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := h.lab.Host.Start(cmd); err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if h.tb.Failed() {
			h.tb.Logf("sshd:\n%s", log.String())
		}
	})
	h.eventually("sshd listens", func() bool {
		outcome, _ := h.lab.Wire.Knock(netlab.Listed4, h.api4(), time.Second)
		return outcome == netlab.Connected
	})
	return s
}

// types runs a command line over SSH, from an address that is not listed unless a test
// lists it. An exit of 255 is of ssh itself.
func (s sshd) types(line string) result {
	s.h.tb.Helper()
	cmd := exec.Command("ssh", "-F", "none", "-i", s.key, "-p", fmt.Sprint(port), "-b", netlab.Unlisted4.String(),
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5",
		"root@"+s.h.link().Host4.String(), line)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := s.h.lab.Wire.Start(cmd); err != nil {
		s.h.tb.Fatal(err)
	}
	_ = cmd.Wait() // the exit code tells
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// sudo is the command line of xdpallow under sudo.
func (s sshd) sudo(args ...string) string {
	return strings.Join(append([]string{"sudo", "-n", binary}, s.h.where(args)...), " ")
}

// Promise: who works over a real sshd on a protected port, under sudo, does not cut
// himself off: the change is refused and a dry run names his session; with his address
// listed the same change is made. Somebody who came in by another way may cut him.
func TestSSHOverAProtectedPort(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	operator := h.sshd()
	h.run(allowed...)
	h.must("add", netlab.Unlisted4.String(), "192.0.2.1", "--owner", "ops")
	if r := operator.types("echo $SSH_CONNECTION; sudo -n env"); r.code != 0 ||
		!strings.HasPrefix(r.stdout, netlab.Unlisted4.String()+" ") || strings.Contains(r.stdout, "SSH_CONNECTION=") {
		t.Fatalf("ssh, then sudo, which hides where one comes from: %+v", r)
	}

	says := "xdpallow: error: your own session comes from " + netlab.Unlisted4.String() + " to tcp/8443 and would be dropped (not_listed)\n" +
		"xdpallow: hint: xdpallow add " + netlab.Unlisted4.String() + " --socket " + h.socket() + "\n"
	without, with := h.file("without.list", "192.0.2.1 owner=ops\n192.0.2.2\n"), h.file("with.list", "192.0.2.2\n"+netlab.UnlistedPrefix4.String()+" owner=ops\n")
	before := h.picture()
	for _, args := range [][]string{
		{"remove", netlab.Unlisted4.String()},
		{"remove", "--owner", "ops"},
		{"replace", without},
		{"remove", netlab.Unlisted4.String(), "--dry-run"},
		{"replace", without, "--dry-run"},
	} {
		r := operator.types(operator.sudo(args...))
		dry := args[len(args)-1] == "--dry-run"
		if r.code != 1 || r.stderr != says || dry != strings.Contains(r.stdout, netlab.Unlisted4.String()+" to tcp/8443, your own session)") {
			t.Errorf("%q over ssh: %+v", args, r)
		}
		h.unchanged(before, fmt.Sprintf("%q over ssh", args))
	}
	if r := operator.types(operator.sudo("replace", with)); r.code != 0 {
		t.Errorf("a change that lists him: %+v", r)
	}
	if r := operator.types("true"); r.code != 0 {
		t.Errorf("he cannot come in again: %+v", r)
	}
	if r := h.cli("replace", without); r.code != 0 { // on the console
		t.Errorf("a change by somebody else: %+v", r)
	}
	if outcome, _ := h.lab.Wire.Knock(netlab.Unlisted4, h.api4(), 300*time.Millisecond); outcome != netlab.Dropped {
		t.Errorf("which would have cut him off did not: %v", outcome)
	}
}

// stays logs in over SSH, on a terminal if tty is set, and stays. What it types first runs
// beside the session, as in tmux or screen: no ancestor of it has the connection. The
// answer waits for what that printed, with its exit code at the end.
func (s sshd) stays(tty bool, args ...string) (output func() string) {
	s.h.tb.Helper()
	out := filepath.Join(s.h.dir, "typed")
	os.Remove(out)
	line := fmt.Sprintf("setsid -f sh -c '{ %s; echo exit $?; } >%s.new 2>&1; mv %s.new %s' </dev/null; exec sleep 300", s.sudo(args...), out, out, out)
	flags := []string{
		"-F", "none", "-i", s.key, "-p", fmt.Sprint(port), "-b", netlab.Unlisted4.String(),
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5", "root@" + s.h.link().Host4.String(), line,
	}
	if tty {
		flags = append([]string{"-tt"}, flags...)
	}
	cmd := exec.Command("ssh", flags...)
	if err := s.h.lab.Wire.Start(cmd); err != nil {
		s.h.tb.Fatal(err)
	}
	s.h.tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	return func() (text string) {
		s.h.tb.Helper()
		s.h.eventually(fmt.Sprintf("%q beside a session ends", args), func() bool {
			read, err := os.ReadFile(out)
			text = string(read)
			return err == nil
		})
		return text
	}
}

// Promise: a port at which somebody is logged in is not guarded against him by mistake,
// although tmux or screen hide that it is he who types; --cut-sessions says that it is
// meant. Who is connected to a server that is no login is in nobody's way.
func TestLoginsAreGuarded(t *testing.T) {
	t.Parallel()
	for _, tty := range []bool{true, false} {
		t.Run(fmt.Sprintf("tty=%v", tty), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			operator := h.sshd()
			h.holdConnection(strictPort) // a stranger, with an API and no login
			path := h.config("interfaces: [eth0]\nservices: {api: {ports: [8444]}}\nallow: [203.0.113.0/24]\n")
			h.run("--config", path)
			h.config("interfaces: [eth0]\nservices: {api: {ports: [8444, 8445]}, admin: {ports: [8443]}}\nallow: [203.0.113.0/24]\n")
			says := "xdpallow: error: somebody is logged in from " + netlab.Unlisted4.String() + " to tcp/8443 and could not log in again (not_listed)\n" +
				"xdpallow: hint: xdpallow reload --cut-sessions --socket " + h.socket() + "\nexit 1\n"
			before := h.picture()
			if got := operator.stays(tty, "reload")(); got != says {
				t.Errorf("reload beside his session: %q, want %q", got, says)
			}
			h.refused(1, "somebody is logged in from "+netlab.Unlisted4.String(), "reload", "--dry-run")
			h.unchanged(before, "a refused reload")

			h.config("interfaces: [eth0]\nservices: {api: {ports: [8444, 8445]}}\nallow: [203.0.113.0/24]\n")
			h.must("reload") // the stranger is no login
			h.config("interfaces: [eth0]\nservices: {api: {ports: [8444, 8445]}, admin: {ports: [8443]}}\nallow: [203.0.113.0/24, 198.51.100.0/24 service=admin]\n")
			h.must("reload") // he is listed
			h.config("interfaces: [eth0]\nservices: {api: {ports: [8444, 8445]}, admin: {ports: [8443], drop: strict}}\nallow: [203.0.113.0/24]\n")
			h.must("reload") // the port is guarded already, and he who typed came in by another way
			h.config("interfaces: [eth0]\nservices: {api: {ports: [8444, 8445]}}\nallow: [203.0.113.0/24]\n")
			h.must("reload", "--allow-open")
			h.config("interfaces: [eth0]\nservices: {api: {ports: [8444, 8445]}, admin: {ports: [8443]}}\nallow: [203.0.113.0/24]\n")
			h.must("reload", "--cut-sessions")
		})
	}
}

// holdConnection has an unlisted client connected to a server on a port, for as long as the
// test lasts.
func (h *host) holdConnection(number int) {
	h.tb.Helper()
	labtest.Listen(h.tb, h.lab.Host, fmt.Sprintf(":%d", number))
	client, err := h.lab.Wire.DialContext(context.Background(), "tcp", netlab.Unlisted4, netip.AddrPortFrom(h.link().Host4, uint16(number)).String())
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { client.Close() })
}

// Promise: a start does not guard a port against who is logged in there, either.
func TestLoginsAreGuardedAtAStart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	operator := h.sshd()
	start := append([]string{"run", "--interface", "eth0", "--port", fmt.Sprint(port)}, allowed...)
	text := operator.stays(true, start...)()
	if !strings.Contains(text, "somebody is logged in from "+netlab.Unlisted4.String()) || !strings.Contains(text, "hint: xdpallow run --cut-sessions ") || !strings.HasSuffix(text, "exit 1\n") {
		t.Errorf("run beside his session: %s", text)
	}
	h.refused(1, "somebody is logged in from "+netlab.Unlisted4.String(), append(start, "--dry-run")...)
	if outcome, _ := h.lab.Wire.Knock(netlab.Unlisted4, h.api4(), time.Second); outcome != netlab.Connected {
		t.Errorf("a refused start left the port %v", outcome)
	}
	h.run(append([]string{"--cut-sessions"}, allowed...)...)
	if outcome, _ := h.lab.Wire.Knock(netlab.Unlisted4, h.api4(), time.Second); outcome != netlab.Dropped {
		t.Errorf("a start that is meant left the port %v", outcome)
	}
}
