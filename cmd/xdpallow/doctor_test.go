package main

// Promise guarded here: doctor asks about what is guarded or is to be, its answer has one
// shape for scripts and fits a terminal, and its exit code is 1 only for a problem.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/doctor"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// sound are the facts of a host with nothing to say but what it is.
func sound() doctor.Facts {
	native := &netdev.Declared{Runs: true, Large: true}
	return doctor.Facts{
		Privileged: true, Release: "6.12.9", Now: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC),
		Devices: []doctor.Device{{Device: loader.Device{Device: netdev.Device{Name: "eth0", Driver: "veth", MTU: 1500, Up: true, Queues: 2, Declares: native}}}},
		Unit:    "/etc/systemd/system/xdpallow.service", UnitEnabled: true,
	}
}

func healthy() *fakeEngine {
	engine := sampleEngine()
	engine.status.Problems, engine.status.Enforcing = nil, true
	return engine
}

// What flags say goes before what the daemon guards, and that before the config file.
func TestDoctorOptions(t *testing.T) {
	path, dir := configFile(t, "interfaces: [eth5]\nattach: native\nbackstop: off\nservices: {web: {ports: [80]}}\n")
	port := func(numbers ...uint16) (ports []policy.Port) {
		for _, n := range numbers {
			ports = append(ports, policy.Port{Protocol: policy.TCP, Number: n})
		}
		return ports
	}
	for _, test := range []struct {
		line       string
		daemon     bool
		interfaces []string
		ports      []policy.Port
		noBackstop bool
	}{
		{"", false, nil, nil, false},
		{"--interface eth2,eth1 --port 8443,443", false, []string{"eth1", "eth2"}, port(443, 8443), false},
		{"--config " + path, false, []string{"eth5"}, port(80), true},
		{"--config " + path + " --port 81", false, []string{"eth5"}, port(81), true},
		{"--config " + path, true, []string{"eth0", "eth1"}, []policy.Port{{Protocol: policy.TCP, Number: 443}, {Protocol: policy.UDP, Number: 443}}, false},
		{"--interface eth7", true, []string{"eth7"}, []policy.Port{{Protocol: policy.TCP, Number: 443}, {Protocol: policy.UDP, Number: 443}}, false},
	} {
		w := newWorld(t)
		if test.daemon {
			w.serve(t, healthy())
		}
		w.facts = sound()
		if code, _, stderr := w.sh("doctor --state /s " + test.line); code != 0 || stderr != "" {
			t.Errorf("%s: exit %d, %s", test.line, code, stderr)
			continue
		}
		got := w.looked[0]
		var ports []policy.Port
		for _, s := range got.Services {
			ports = append(ports, s.Ports...)
		}
		if diff := cmp.Diff([]any{test.interfaces, test.ports, test.noBackstop, "/s"}, []any{got.Interfaces, ports, got.NoBackstop, got.State}); diff != "" {
			t.Errorf("%q, daemon %v (-want +got):\n%s", test.line, test.daemon, diff)
		}
		if (got.Status != nil) != test.daemon || got.StatusErr != nil || got.Try {
			t.Errorf("%q, daemon %v: status %v, %v, try %v", test.line, test.daemon, got.Status != nil, got.StatusErr, got.Try)
		}
		if strings.Contains(test.line, "--config") && (got.Attach != loader.Native || got.Root != filepath.Join(dir, "bpf")) && got.Root != defaultBpffs {
			t.Errorf("%q: attach %q, root %s", test.line, got.Attach, got.Root)
		}
	}
}

// A gate without a daemon says what it can; who may not ask is told how to.
func TestDoctorWithoutDaemon(t *testing.T) {
	w := newWorld(t)
	w.pins, w.facts = healthy(), sound()
	w.pins.status.Daemon = nil
	code, out, stderr := w.sh("doctor")
	if code != 1 || stderr != "" || !strings.Contains(out, "systemctl start xdpallow") {
		t.Errorf("a gate without a daemon: exit %d\n%s%s", code, out, stderr)
	}
	engine := sampleEngine()
	engine.err = control.ErrForbidden
	w = newWorld(t).serve(t, engine)
	w.uid, w.facts = 1000, sound()
	code, out, stderr = w.sh("doctor --port 443")
	if code != 0 || stderr != "" || !strings.Contains(out, "\n  -> sudo xdpallow doctor --port 443 --socket "+w.socket+"\n") {
		t.Errorf("a daemon that may not be asked: exit %d\n%s%s", code, out, stderr)
	}
}

// Fields may be added and never changed.
func TestDoctorJSON(t *testing.T) {
	engine := healthy()
	engine.status.Problems = []api.Problem{{Code: "audit", Subject: "api", Text: "the service is in audit", Hint: "xdpallow mode enforce"}}
	w := newWorld(t).serve(t, engine)
	w.facts = sound()
	w.facts.Unsynchronised = true
	code, out, stderr := w.sh("doctor -o json")
	var got struct {
		Problems, Notes int
		Lines           []map[string]string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || stderr != "" {
		t.Fatalf("exit %d, %v\n%s%s", code, err, out, stderr)
	}
	problem := map[string]string{"subject": "api", "state": "problem", "code": "audit", "text": "the service is in audit", "hint": "xdpallow mode enforce --socket " + w.socket}
	note := map[string]string{"subject": "clock", "state": "note", "code": "clock", "text": "nobody keeps it right, and entries end by it", "hint": "timedatectl"}
	if got.Problems != 1 || got.Notes != 1 || len(got.Lines) < 10 {
		t.Errorf("%d problems, %d notes, %d lines", got.Problems, got.Notes, len(got.Lines))
	}
	if diff := cmp.Diff([]map[string]string{problem, note}, got.Lines[:2]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, line := range got.Lines[2:] {
		if line["state"] != "ok" {
			t.Errorf("of a sound host: %v", line)
		}
	}
	for name, line := range map[string]string{"table": "doctor", "quiet": "doctor -q"} {
		if code, _, stderr := w.sh(line); code != 1 || stderr != "" {
			t.Errorf("%s: exit %d, %q", name, code, stderr)
		}
	}
}

// Text fits 80 columns, and is whole; a command is never broken.
func TestDoctorFitsATerminal(t *testing.T) {
	w := newWorld(t).serve(t, sampleEngine())
	w.facts = sound()
	w.facts.RouteLocalnet, w.facts.NoReversePath = []string{"eth0"}, []string{"eth0"}
	w.facts.Groups, w.facts.NoGroups = []string{"xdpallow-admin"}, []string{"xdpallow-admin"}
	w.facts.Redirects = []string{"tcp dport 8080 dnat ip to 172.17.0.2:80"}
	w.facts.Unit, w.facts.Uncovered = "", []string{"eth9"}
	code, out, _ := w.sh("doctor")
	if code != 1 || !strings.HasPrefix(out, "SUBJECT") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	words := strings.Join(strings.Fields(out), " ")
	for _, line := range doctor.Diagnose(w.facts) {
		if !strings.Contains(words, string(line.State)+" "+line.Text) {
			t.Errorf("%q is not on the screen:\n%s", line.Text, out)
		}
		for command := range strings.SplitSeq(line.Hint, "; ") {
			if command != "" && !strings.Contains(out, "\n  -> "+command) {
				t.Errorf("%q is not on a line of its own:\n%s", command, out)
			}
		}
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.HasPrefix(line, "  -> ") {
			t.Errorf("a line of %d: %s", n, line)
		}
		if strings.HasSuffix(line, " \n") {
			t.Errorf("a line ends in a blank: %q", line)
		}
	}
	if _, again, _ := w.sh("doctor"); again != out {
		t.Errorf("another answer:\n%s", again)
	}
}

// With --try it is said beforehand what that may do.
func TestDoctorSaysWhatItTries(t *testing.T) {
	w := newWorld(t)
	w.facts = sound()
	if code, _, stderr := w.sh("doctor --try --interface eth0"); code != 0 || !strings.Contains(stderr, "some drivers reset the link") || !w.looked[0].Try {
		t.Errorf("exit %d, %q, %+v", code, stderr, w.looked)
	}
}

// A config file that is wrong is a problem with its line, and does not keep doctor from
// looking.
func TestDoctorReadsTheConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("interfaces: [eth0]\nnonsense: 1\nservices: {api: {ports: [443]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.facts = sound()
	code, out, stderr := w.sh("doctor -o json --config " + path)
	if code != 1 || stderr != "" || !strings.Contains(out, `unknown key \"nonsense\"`) || !strings.Contains(out, fmt.Sprintf("%q", path)) {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	if len(w.looked) != 1 || len(w.looked[0].Interfaces) != 1 {
		t.Errorf("looked at %+v", w.looked)
	}
}
