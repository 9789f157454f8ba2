package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/fleet/fleettest"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// joinedHost is a host that follows a fleet: its etcd is reached as if it ran beside the host.
type joinedHost struct {
	*host
	file string
}

// joins gives a host its config file, and a way to each member of etcd.
func (h *host) joins(c *fleettest.Cluster, name, more string) joinedHost {
	h.tb.Helper()
	for _, endpoint := range c.Endpoints() {
		addr := strings.TrimPrefix(endpoint, "https://")
		h.relay(addr, addr)
	}
	cert, key := c.Certificate(name)
	return joinedHost{h, h.config(fmt.Sprintf(`interfaces: [eth0]
services: {api: {ports: [%d]}}
allow: [%s owner=ours]
origins:
  prod:
    etcd: [%s]
    ca: %s
    cert: %s
    key: %s
%s`, port, netlab.ListedPrefix4, strings.Join(c.Endpoints(), ", "), c.CA, cert, key, more))}
}

// relay has an address inside the host's namespace lead to addr outside.
func (h *host) relay(within, addr string) {
	h.tb.Helper()
	listener, err := h.lab.Host.Listen("tcp", within)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { listener.Close() })
	go func() {
		for {
			inside, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer inside.Close()
				outside, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer outside.Close()
				go func() {
					_, _ = io.Copy(outside, inside)
					outside.Close()
				}()
				_, _ = io.Copy(inside, outside)
			}()
		}
	}()
}

// fleetShell types commands of the fleet.
type fleetShell struct {
	tb   testing.TB
	file string
}

func newFleetShell(tb testing.TB, c *fleettest.Cluster) fleetShell {
	tb.Helper()
	cert, key := c.Certificate("root")
	file := filepath.Join(tb.TempDir(), "fleet.yaml")
	write(tb, file, fmt.Sprintf("origins:\n  prod: {etcd: [%s], ca: %s, cert: %s, key: %s}\n", strings.Join(c.Endpoints(), ", "), c.CA, cert, key))
	return fleetShell{tb, file}
}

func (o fleetShell) types(args ...string) result {
	o.tb.Helper()
	cmd := exec.CommandContext(o.tb.Context(), binary, append([]string{"fleet"}, args...)...)
	cmd.Env = append(os.Environ(), "XDPALLOW_FLEET="+o.file)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.tb.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must is types that has to exit with 0.
func (o fleetShell) must(args ...string) string {
	o.tb.Helper()
	r := o.types(args...)
	if r.code != 0 {
		o.tb.Fatalf("xdpallow fleet %v: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// Promise: one command lets a customer in on every host, and one shuts him out: as it returns, his
// next SYN is dropped everywhere. Each host's history says who and why. With etcd gone all go on,
// and a host that reboots meanwhile is shut to strangers and open to customers.
func TestFleet(t *testing.T) {
	t.Parallel()
	c := fleettest.Start(t, 1)
	o := newFleetShell(t, c)
	o.must("init")
	customers := netip.MustParsePrefix("192.0.2.0/24")
	one, two := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.20")
	o.must("add", "192.0.2.20", "--owner", "globex")
	var hosts []joinedHost
	var daemons []*daemon
	for i := range 3 {
		h := newHost(t)
		h.serve()
		if err := h.lab.AddClients(customers); err != nil {
			t.Fatal(err)
		}
		joined := h.joins(c, fmt.Sprintf("web%d", i+1), "")
		hosts, daemons = append(hosts, joined), append(daemons, h.run("--config", joined.file))
	}
	for _, h := range hosts {
		h.eventually("the list is there", func() bool { return h.question(two, port).Reason == "listed" })
	}
	knock := func(from netip.Addr, want netlab.Outcome) {
		t.Helper()
		for _, h := range hosts {
			labtest.Expect(t, h.lab.Wire, from, h.api4(), want)
		}
	}
	knock(one, netlab.Dropped)
	all := "3 of 3 hosts have it"
	if out := o.must("add", "192.0.2.7", "--owner", "acme", "--reason", "OPS-1"); !strings.Contains(out, all) {
		t.Errorf("add says\n%s", out)
	}
	knock(one, netlab.Connected)
	if out := o.must("suspend", "acme", "--reason", "stolen key"); !strings.Contains(out, all) {
		t.Errorf("suspend says\n%s", out)
	}
	knock(one, netlab.Dropped)
	knock(two, netlab.Connected)
	if out := o.must("status", "-o", "json"); strings.Count(out, `"acme": "20`) != len(hosts) { // since it was seen to knock
		t.Errorf("status does not say when hosts have last seen acme\n%s", out)
	}
	for _, h := range hosts {
		if r := h.question(one, port); r.Reason != "suspended" {
			t.Errorf("check says %s", r.Reason)
		}
		if r := h.cli("resume", "acme"); r.code != 1 || !strings.Contains(r.stderr, "xdpallow fleet resume acme") {
			t.Errorf("resume here: exit %d, %s", r.code, r.stderr)
		}
	}
	o.must("resume", "acme")
	knock(one, netlab.Connected)
	o.must("remove", "192.0.2.7", "--reason", "OPS-1301")
	knock(one, netlab.Dropped)
	knock(two, netlab.Connected)
	knock(netlab.Listed4, netlab.Connected)
	for _, h := range hosts {
		text := h.must("history", "-o", "json")
		for _, want := range []string{"serial 3: fleet suspend acme (", "stolen key)", "serial 5: fleet remove 192.0.2.7 (", "OPS-1301)"} {
			if !strings.Contains(text, want) {
				t.Errorf("history does not say %q:\n%s", want, text)
			}
		}
		if r := h.cli("remove", "192.0.2.20"); r.code != 1 || !strings.Contains(r.stderr, "xdpallow fleet remove 192.0.2.20") {
			t.Errorf("remove here: exit %d, %s", r.code, r.stderr)
		}
	}
	hosts[0].eventually("fleet status says how it goes", func() bool {
		return strings.Contains(o.must("status"), "web1  -      5       now   2         yes        -")
	})

	c.Members[0].Kill()
	knock(two, netlab.Connected)
	knock(one, netlab.Dropped)
	if r := o.types("status"); r.code != 3 {
		t.Errorf("status without etcd: exit %d, %s", r.code, r.stderr)
	}
	daemons[0].kill()
	hosts[0].reboot()
	hosts[0].run("--config", hosts[0].file)
	knock(two, netlab.Connected)
	knock(one, netlab.Dropped)
	knock(netlab.Unlisted4, netlab.Dropped)
	c.Members[0].Start()
	c.Ready()
	o.must("add", "192.0.2.7", "--owner", "acme", "--wait", "1m")
	knock(one, netlab.Connected)
}

// Promise: what README tells of a fleet happens, command by command: on web1, whose config file it
// shows, and on two hosts beside it.
func TestTranscriptOfAFleet(t *testing.T) {
	t.Parallel()
	steps := transcript(t, readme, "## One list for many hosts\n")
	c := fleettest.Start(t, 1)
	o := newFleetShell(t, c)
	o.must("init")
	o.must("add", "198.51.100.0/24", "--owner", "globex")
	for _, name := range []string{"web2", "web3"} {
		beside := newHost(t)
		beside.run("--config", beside.joins(c, name, "").file)
	}
	h := newHost(t)
	if err := h.lab.AddClients(netip.MustParsePrefix("192.0.2.0/24")); err != nil {
		t.Fatal(err)
	}
	labtest.ServeHTTP(t, h.lab.Host, ":443", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	h.relay("127.0.0.1:2379", strings.TrimPrefix(c.Endpoints()[0], "https://"))
	for _, name := range []string{"web1", "root"} {
		cert, key := c.Certificate(name)
		for _, file := range []string{cert, key} {
			copied(t, file, filepath.Join(h.dir, filepath.Base(file)))
		}
	}
	copied(t, c.CA, filepath.Join(h.dir, "ca.pem"))
	write(t, filepath.Join(h.dir, "config.yaml"), strings.Join(steps[0].output, "\n")+"\n")
	origin := steps[0].output[len(steps[0].output)-1]
	write(t, filepath.Join(h.dir, "fleet.yaml"), strings.ReplaceAll(origin, "web1", "root")+"\n")
	write(t, filepath.Join(h.dir, "hosts"), "127.0.0.1 etcd.example.net\n")
	m := newMachine(h, "192.0.2.7")
	// With a name of its own, as the place where operators work has.
	script := fmt.Sprintf("#!/bin/sh\nexec unshare --uts sh -c 'echo bastion >/proc/sys/kernel/hostname; exec \"$0\" \"$@\"' %s \"$@\"\n", binary)
	if err := os.WriteFile(filepath.Join(h.dir, "bin", "xdpallow"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	m.does(step{command: "cd " + h.dir + " && mount --bind hosts /etc/hosts"})
	for _, s := range steps {
		m.does(s)
		if strings.HasSuffix(s.command, "&") { // its list comes a moment later
			h.eventually("three hosts have come", func() bool { return strings.Count(o.must("status"), " now ") == 3 })
		}
	}
}

func copied(tb testing.TB, from, to string) {
	tb.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		tb.Fatal(err)
	}
}
