package main

// Promise guarded here: the list of a fleet is changed by the same words and guard rails as that of
// one host, and what a command says is so.

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/fleet/fleettest"
	origins "github.com/xdpallow/xdpallow/loader/source"
)

// fleetWorld is a fleet in a real etcd, and an operator's shell.
type fleetWorld struct {
	*world
	t       *testing.T
	cluster *fleettest.Cluster
	file    string
}

func newFleet(t *testing.T) *fleetWorld {
	w := &fleetWorld{world: newWorld(t), t: t, cluster: fleettest.Start(t, 1)}
	w.file = w.config("root", w.cluster.Endpoints()...)
	return w
}

// config writes a config file of that user.
func (w *fleetWorld) config(user string, endpoints ...string) string {
	cert, key := w.cluster.Certificate(user)
	path := filepath.Join(w.t.TempDir(), "fleet.yaml")
	text := fmt.Sprintf("origins:\n  prod:\n    etcd: [%s]\n    ca: %s\n    cert: %s\n    key: %s\n", strings.Join(endpoints, ", "), w.cluster.CA, cert, key)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// type types a command of the fleet.
func (w *fleetWorld) types(line string) (code int, out, stderr string) {
	w.t.Helper()
	words := append([]string{"fleet"}, strings.Fields(line)...)
	return w.run(append(words, "--config", w.file)...)
}

// want asserts what a command says and how it ends.
func (w *fleetWorld) want(line string, code int, says ...string) {
	w.t.Helper()
	got, out, stderr := w.types(line)
	if got != code {
		w.t.Errorf("fleet %s: exit %d, want %d\n%s%s", line, got, code, out, stderr)
	}
	for _, text := range says {
		if !strings.Contains(out+stderr, text) {
			w.t.Errorf("fleet %s does not say %q:\n%s%s", line, text, out, stderr)
		}
	}
}

// joins lets a host follow the fleet, which takes everything over and enforces nothing.
func (w *fleetWorld) joins(name, group string) (leave func()) {
	cert, key := w.cluster.Certificate(name)
	settings := origins.Settings{Name: "prod", Owner: origins.AnyOwner, Limits: origins.EtcdLimits, Etcd: &origins.Etcd{
		Endpoints: w.cluster.Endpoints(), CA: w.cluster.CA, Cert: cert, Key: key, Fleet: "prod", List: fleet.Main, Group: group,
	}}
	follower := fleet.Followers(fleet.Self{Name: name, Report: func() fleet.Report { return fleet.Report{Enforcing: "yes", Prefixes: 3} }})(settings)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		follower.Follow(ctx, origins.Have{}, func(context.Context, origins.Reading) error { return nil })
	}()
	leave = func() { cancel(); <-done }
	w.t.Cleanup(leave)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, out, _ := w.types("status"); strings.Contains(out, name) && !strings.Contains(out, "silent") {
			return leave
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s never came", name)
		}
	}
}

func TestFleetCommands(t *testing.T) {
	t.Parallel()
	w := newFleet(t)
	w.want("list", 1, "there is no fleet prod in etcd", "hint: xdpallow fleet init")
	w.want("init", 0, "fleet prod has begun", "grant-permission xdpallow-host --prefix=true read /xdpallow/v1/prod/\n")
	w.want("init", 0, "fleet prod is there")
	w.want("status", 0, "no list yet", "no host has come yet")
	w.want("suspend acme", 1, "there is no list yet")
	w.want("add 203.0.113.0/24 2001:db8:42::/48 --owner acme --reason OPS-1", 0, "added 203.0.113.0/24    acme", "serial 1, 2 prefixes; 0 of 0 hosts have it")
	w.want("add 203.0.113.0/24 --owner acme", 0, "unchanged 203.0.113.0/24", "serial 1, 2 prefixes\n")
	w.want("add 203.0.113.0/24 --owner globex --dry-run", 0, "~ 203.0.113.0/24", "dry run")
	w.want("add 198.51.100.0/24 --owner globex --service web --for 90d --note new", 0, "added 198.51.100.0/24", "serial 2, 3 prefixes")
	w.want("add 198.51.100.1/24", 2, "host bits", "hint: xdpallow fleet add 198.51.100.0/24 --config")
	w.want("add 0.0.0.0/1", 1, "is wider than /8", "hint: xdpallow fleet add --allow-any 0.0.0.0/1")
	w.want("add 127.0.0.0/8", 2, "127.0.0.0/8")
	w.want("remove 192.0.2.0/24", 1, "192.0.2.0/24 is not on the list", "hint: xdpallow fleet list 192.0.2.0")
	w.want("list", 0, "203.0.113.0/24", "198.51.100.0/24   globex  web")
	w.want("list acme -o text", 0, "2001:db8:42::/48 owner=acme\n")
	w.want("suspend globex --reason stolen", 0, "suspended globex (open connections live on)", "serial 3, 3 prefixes")
	w.want("suspend globex", 0, "globex is suspended already", "(stolen)", "serial 3,")
	w.want("suspend 0.0.0.0/1", 1, "nearly everybody would be suspended", "fleet suspend --allow-any")
	w.want("limit acme 200/s", 0, "acme: 200/s on each host", "serial 4")
	w.want("status", 0, "FLEET prod  serial 4  3 prefixes  4 by ", "suspended globex since", "limit acme 200/s, burst 200, on each host")
	w.want("resume globex", 0, "resumed globex")
	w.want("resume globex", 1, "globex is not suspended by the fleet")
	w.want("remove --owner acme", 0, "removed 203.0.113.0/24    acme (open connections live on)", "serial 6, 1 prefix;")
	w.want("remove 198.51.100.0/24", 1, "no prefix is left", "hint: xdpallow fleet remove --allow-empty")
	w.want("remove 198.51.100.0/24 --dry-run", 1, "- 198.51.100.0/24", "dry run")
	w.want("diff 4", 0, "- 203.0.113.0/24", "no longer suspend globex", "0 added, 2 removed, 0 changed: from serial 4 to 6")
	w.want("rollback", 0, "added 203.0.113.0/24", "serial 7, 3 prefixes")
	w.want("rollback", 0, "removed 203.0.113.0/24", "serial 8, 1 prefix;")
	w.want("rollback --to 4 --dry-run", 0, "+ 203.0.113.0/24", "suspend globex")
	w.want("rollback --to 4", 0, "did suspend globex", "serial 9, 3 prefixes")
	w.want("rollback --to 77", 1, "serial 77 is not one of the last 100")
	w.want("history -n 3", 0, "REASON", "fleet rollback")
	w.want("confirm", 1, "nothing waits for confirmation")
	w.want("forget web1", 1, `no host of the fleet is "web1"`)
	w.want("lst", 2, `unknown command "fleet lst"`, "hint: xdpallow fleet list")
	w.want("add 192.0.2.0/24 --confirm 60s", 2, "--confirm is for a change that a group has first")
	w.want("list --nosuch", 2, "fleet list has no flag --nosuch")

	file := filepath.Join(t.TempDir(), "a.list")
	if err := os.WriteFile(file, []byte("203.0.113.0/24 owner=acme\n192.0.2.0/24\nbad line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.want("replace "+file, 2, file+":3: ")
	if err := os.WriteFile(file, []byte("203.0.113.0/24 owner=acme\n192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.want("replace "+file+" --dry-run", 0, "+ 192.0.2.0/24", "1 added, 2 removed, 0 changed")
	w.want("replace "+file, 0, "added 192.0.2.0/24", "serial 10, 2 prefixes")

	var listing struct{ Total int }
	if _, out, _ := w.types("list -o json"); json.Unmarshal([]byte(out), &listing) != nil || listing.Total != 2 {
		t.Errorf("list -o json: %s", out)
	}
	for _, line := range []string{"status -o json", "history -o json", "diff -o json", "add 192.0.2.0/24 -o json", "suspend acme -o json", "init -o json"} {
		if code, out, stderr := w.types(line); code != 0 || !json.Valid([]byte(out)) {
			t.Errorf("fleet %s: exit %d, %s%s", line, code, out, stderr)
		}
	}
}

// Promise: a change waits for the hosts, and names whom it has not reached; a group has it first.
func TestFleetReachesHosts(t *testing.T) {
	t.Parallel()
	w := newFleet(t)
	w.want("init", 0)
	w.want("add 203.0.113.0/24 198.51.100.0/24 --owner acme", 0)
	w.joins("web1", "canary")
	leave := w.joins("web2", "")
	w.want("add 192.0.2.0/24", 0, "serial 2, 3 prefixes; 2 of 2 hosts have it")
	w.want("status", 0, "web1  canary", "2       now")
	w.want("remove 198.51.100.0/24 --first canary --confirm 60s", 0, "; 1 of 1 host has it", "only in group canary, and undone at", "xdpallow fleet confirm")
	w.want("add 192.0.2.1", 1, "serial 3 waits for confirmation in group canary", "hint: xdpallow fleet confirm")
	w.want("diff --waiting", 0, "- 198.51.100.0/24")
	w.want("suspend acme", 0, "suspended acme", "serial 4,", "2 of 2 hosts have it")
	w.want("confirm", 0, "confirmed fleet remove 198.51.100.0/24", "serial 5, 2 prefixes; 2 of 2 hosts have it")
	w.want("status", 0, "suspended acme")
	leave()
	w.cluster.Ctl("del", "/xdpallow/v1/prod/host/main/web2") // its lease ends in a minute
	w.want("add 192.0.2.1", 1, "1 of 2 hosts have it", "warning: web2 has not: silent", "xdpallow fleet forget web2")
	w.want("add 192.0.2.2 --wait 0", 0, "serial 7, 4 prefixes\n")
	w.want("forget web2", 0, "forgot web2")
	w.want("add 192.0.2.3", 0, "1 of 1 host has it")
}

// Promise: who cannot reach etcd, or may not, is told which, at once and with a code of its own.
func TestFleetUnreachable(t *testing.T) {
	t.Parallel()
	w := newFleet(t)
	w.want("init", 0)
	w.file = w.config("root", "https://127.0.0.1:1")
	w.want("list", 3, "etcd does not answer: https://127.0.0.1:1: ", "connection refused")
	w.file = w.config("web1", w.cluster.Endpoints()...)
	w.cluster.Ctl("user", "add", "root", "--no-password")
	w.cluster.Ctl("role", "add", "root")
	w.cluster.Ctl("user", "grant-role", "root", "root")
	w.cluster.Ctl("auth", "enable")
	w.want("list", 4, "permission denied for web1")
	if code, _, stderr := w.run("fleet", "list"); code != 2 || !strings.Contains(stderr, "no config file says where the fleet is") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}
