// Package fleettest runs real etcd servers for tests: with certificates of an own authority, on
// free ports of the loopback, with data in the test's directory, and ended by their process ids.
package fleettest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Cluster is some members that make one etcd.
type Cluster struct {
	*Authority
	Members []*Member

	t   testing.TB
	dir string
}

// Member is one server of a cluster.
type Member struct {
	Endpoint string // https://127.0.0.1:PORT

	t    testing.TB
	log  string
	args []string
	mu   sync.Mutex
	cmd  *exec.Cmd
}

// Start starts a cluster and waits until it answers. args are more flags for each etcd.
func Start(t testing.TB, members int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{Authority: NewAuthority(t), t: t, dir: t.TempDir()}
	free := ports(t, 2*members)
	clients, peers := free[:members], free[members:]
	var all []string
	for i := range members {
		all = append(all, fmt.Sprintf("m%d=http://127.0.0.1:%d", i, peers[i]))
	}
	cert, key := c.Certificate("server")
	for i := range members {
		name, peer := fmt.Sprintf("m%d", i), fmt.Sprintf("http://127.0.0.1:%d", peers[i])
		m := &Member{t: t, Endpoint: fmt.Sprintf("https://127.0.0.1:%d", clients[i]), log: filepath.Join(c.dir, name+".log")}
		m.args = append([]string{
			"--name", name, "--data-dir", filepath.Join(c.dir, name), "--logger", "zap", "--log-level", "warn",
			"--listen-client-urls", m.Endpoint, "--advertise-client-urls", m.Endpoint,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(all, ","), "--initial-cluster-token", filepath.Base(c.dir),
			"--cert-file", cert, "--key-file", key, "--trusted-ca-file", c.CA, "--client-cert-auth",
		}, args...)
		c.Members = append(c.Members, m)
		m.Start()
		t.Cleanup(m.Kill)
	}
	c.Ready()
	return c
}

// ports returns n ports that are free now, and that the kernel gives to no client until they are used:
// its own are from 32768 on, net.ipv4.ip_local_port_range.
func ports(t testing.TB, n int) (free []int) {
	t.Helper()
	for tries := 0; len(free) < n; tries++ {
		port := 16384 + rand.IntN(16384)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries > 1000 {
				t.Fatal(err)
			}
			continue
		}
		defer l.Close() // together, so that each is another one
		free = append(free, port)
	}
	return free
}

// Ready waits until every member answers, with a quorum.
func (c *Cluster) Ready() {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		out, err := c.Try("endpoint", "health")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("etcd does not come up: %v\n%s\n%s", err, out, c.Members[0].Log())
		}
	}
}

// Endpoints are those of all members.
func (c *Cluster) Endpoints() (all []string) {
	for _, m := range c.Members {
		all = append(all, m.Endpoint)
	}
	return all
}

// Try runs etcdctl as root, and returns what it says.
func (c *Cluster) Try(args ...string) (string, error) {
	cert, key := c.Certificate("root")
	cmd := exec.CommandContext(c.t.Context(), "etcdctl", append([]string{
		"--endpoints", strings.Join(c.Endpoints(), ","), "--cacert", c.CA, "--cert", cert, "--key", key,
		"--dial-timeout", "2s", "--command-timeout", "10s",
	}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Ctl runs etcdctl as root, and fails the test where that fails.
func (c *Cluster) Ctl(args ...string) string {
	c.t.Helper()
	out, err := c.Try(args...)
	if err != nil {
		c.t.Fatalf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Leader is the member that leads now.
func (c *Cluster) Leader() *Member {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		out, _ := c.Try("endpoint", "status", "-w", "simple")
		for line := range strings.Lines(out) {
			fields := strings.Split(strings.TrimSpace(line), ", ")
			for _, m := range c.Members {
				if len(fields) > 4 && fields[0] == m.Endpoint && fields[4] == "true" {
					return m
				}
			}
		}
	}
	c.t.Fatal("no member leads")
	return nil
}

// Start starts the member, with the data that it has.
func (m *Member) Start() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	m.cmd = exec.Command("etcd", m.args...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatalf("%v (apt-get install etcd-server etcd-client)", err)
	}
}

// Kill ends the member at once, as SIGKILL does.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

// Freeze has the member keep its connections and say nothing, until Thaw.
func (m *Member) Freeze() { m.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (m *Member) Thaw() { m.signal(syscall.SIGCONT) }

func (m *Member) signal(s syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// Wipe ends the member, forgets its data and starts it anew.
func (m *Member) Wipe() {
	m.t.Helper()
	m.Kill()
	if err := os.RemoveAll(m.dir()); err != nil {
		m.t.Fatal(err)
	}
	m.Start()
}

// Restore ends the member, and starts it with what a snapshot has.
func (m *Member) Restore(snapshot string) {
	m.t.Helper()
	m.Kill()
	flag := func(name string) string { return m.args[indexOf(m.args, name)+1] }
	err := os.RemoveAll(m.dir())
	cmd := exec.CommandContext(m.t.Context(), "etcdctl", "snapshot", "restore", snapshot, "--data-dir", m.dir(), "--name", flag("--name"),
		"--initial-cluster", flag("--initial-cluster"), "--initial-cluster-token", flag("--initial-cluster-token"),
		"--initial-advertise-peer-urls", flag("--initial-advertise-peer-urls"))
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, restored := cmd.CombinedOutput()
	if err := errors.Join(err, restored); err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	m.Start()
}

func (m *Member) dir() string { return m.args[indexOf(m.args, "--data-dir")+1] }

func indexOf(args []string, name string) int {
	for i, arg := range args {
		if arg == name {
			return i
		}
	}
	panic(name)
}

// Log is the end of what the member has logged.
func (m *Member) Log() string {
	text, _ := os.ReadFile(m.log)
	lines := bytes.Split(text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}

// Snapshot writes what the first member has to a file.
func (c *Cluster) Snapshot(path string) {
	c.t.Helper()
	cert, key := c.Certificate("root")
	cmd := exec.CommandContext(c.t.Context(), "etcdctl", "--endpoints", c.Members[0].Endpoint, "--cacert", c.CA, "--cert", cert, "--key", key, "snapshot", "save", path)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v\n%s", err, out)
	}
}
