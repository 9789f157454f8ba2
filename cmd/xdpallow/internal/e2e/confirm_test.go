package e2e

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: a change that nobody confirmed is taken back though the daemon was killed,
// or the host rebooted, before the time was over: by the next start, which attaches
// nothing before. In time it still waits.
func TestConfirmOutlivesTheDaemon(t *testing.T) {
	for _, reboots := range []bool{false, true} {
		for _, verb := range []string{"reload", "replace"} {
			t.Run(verb+map[bool]string{false: " killed", true: " rebooted"}[reboots], func(t *testing.T) {
				t.Parallel()
				h := newHost(t)
				h.serve()
				list := h.file("acme.list", netlab.ListedPrefix4.String()+"\n")
				args := []string{"--allow-file", list, "--allow", "192.0.2.0/24"}
				if verb == "replace" {
					args = args[2:]
				}
				d := h.run(args...)
				if verb == "replace" {
					h.must("add", netlab.ListedPrefix4.String())
				}
				h.shut()
				// change reports false when the daemon has rolled back before it was killed.
				change := func(window time.Duration) bool {
					h.file("acme.list", "192.0.2.0/25\n")
					if verb == "replace" {
						h.must("replace", list, "--confirm", policy.FormatDuration(window))
					} else {
						h.must("reload", "--confirm", policy.FormatDuration(window))
					}
					d.kill()
					inTime := !strings.Contains(d.logged(), "was not confirmed")
					if r := h.cli("check", netlab.Listed4.String()); inTime && r.code != 1 {
						t.Fatalf("the change is not there: %+v", r)
					}
					if reboots {
						h.reboot()
					}
					return inTime
				}
				restore := func() {
					h.file("acme.list", netlab.ListedPrefix4.String()+"\n")
					h.must("reload")
				}
				change(10 * time.Minute)
				d = h.run(args...)
				if s := h.status(); s.Confirm == nil || s.Confirm.Command != verb || s.Confirm.Left < 500 {
					t.Errorf("in time, %+v waits", s.Confirm)
				}
				h.must("rollback")
				h.shut()
				restore()

				window := time.Second
				for !change(window) { // a busy machine needs a longer one
					d = h.run(args...)
					restore()
					window *= 4
				}
				time.Sleep(window + 100*time.Millisecond)
				d = h.run(args...)
				if s := h.status(); s.Confirm != nil || !s.Enforcing || !strings.Contains(d.logged(), verb+" was not confirmed: rolled back generation") {
					t.Errorf("too late, %+v waits; log:\n%s", s.Confirm, d.logged())
				}
				h.shut()
				if r := h.cli("check", "192.0.2.200"); r.code != 0 {
					t.Errorf("what the start was given is gone: %+v", r)
				}
				d.stop()
				d = h.run(args...)
				h.shut()
			})
		}
	}
}

// Promise: an audit ends when it was told to, with nobody running: the kernel drops
// again, real clients notice, and the commands that need no daemon say so.
func TestAuditEndsWithoutADaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	h.shut()
	h.must("mode", "audit", "--for", "4s")
	d.kill()
	h.knock(netlab.Connected, netlab.Connected)
	s := h.status()
	if s.Enforcing || s.Daemon != nil || len(s.Services) != 1 || s.Services[0].Mode != policy.Audit || s.Services[0].Until == nil {
		t.Fatalf("in audit: %+v", s)
	}
	time.Sleep(time.Until(s.Services[0].Until.Add(1200 * time.Millisecond))) // what is told has whole seconds
	h.shut()
	if s := h.status(); !s.Enforcing || len(s.Problems) > 0 || s.Services[0].Mode != policy.Enforce || s.Services[0].Until != nil {
		t.Errorf("after it: %+v", s)
	}
	d = h.run(allowed...)
	h.eventually("the audit is over for the daemon, too", func() bool {
		return strings.Contains(d.logged(), "api: the audit is over: enforcing again")
	})
	if s := h.status(); !s.Enforcing || len(s.Problems) > 0 {
		t.Errorf("with a daemon: %+v", s)
	}
	// Nobody typed that.
	if text := h.must("history", "-n", "1"); !strings.Contains(text, "mode enforce api (the audit ended)") {
		t.Errorf("history of the end of an audit:\n%s", text)
	}
}

// Promise: an audit with an end survives a restart, and never a reboot.
func TestAuditEndsWithTheBoot(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	config := h.config("interfaces: [eth0]\nservices: {api: {ports: [8443]}, web: {ports: [8444]}}\nallow: [" + netlab.ListedPrefix4.String() + "]\n")
	d := h.run("--config", config)
	h.must("mode", "audit", "--for", "10m", "--service", "api")
	h.knock(netlab.Connected, netlab.Connected)
	s := h.status()
	if p, found := problem(s, "audit", "api"); !found || s.Enforcing || len(s.Problems) != 1 || p.Hint != "xdpallow mode enforce --socket "+h.socket() {
		t.Errorf("problems: %+v", s.Problems)
	}
	until := s.Services[0].Until
	d.kill()
	d = h.run("--config", config)
	if s := h.status(); s.Services[0].Until == nil || until == nil || s.Services[0].Until.Sub(*until).Abs() > time.Second || s.Services[1].Mode != policy.Enforce {
		t.Errorf("restarted: until %v was %v", s.Services[0].Until, until)
	}
	h.knock(netlab.Connected, netlab.Connected)

	d.stop()
	h.reboot()
	kept := labtest.Must(store.Open(h.state()))(t)
	audits := labtest.Must(kept.Meta("audits"))(t)
	boot := labtest.Must(store.BootID())(t)
	if !bytes.Contains(audits, []byte(boot)) {
		t.Fatalf("kept is %s", audits)
	}
	audits = bytes.ReplaceAll(audits, []byte(boot), []byte("of another boot"))
	// With a generation it is a change, which is kept twice; a note is kept once.
	generation := labtest.Must(kept.Generation())(t)
	if err := errors.Join(kept.Apply(store.Change{Generation: generation, Meta: map[string][]byte{"audits": audits}}), kept.Close()); err != nil {
		t.Fatal(err)
	}
	d = h.run("--config", config)
	if !strings.Contains(d.logged(), "api: the reboot has ended its audit: it enforces") {
		t.Errorf("log:\n%s", d.logged())
	}
	h.shut()
	if s := h.status(); !s.Enforcing || len(s.Problems) > 0 {
		t.Errorf("rebooted: %+v", s)
	}
	d.stop()
	if d = h.run("--config", config); strings.Contains(d.logged(), "reboot") {
		t.Errorf("said twice:\n%s", d.logged())
	}
}

// Promise: a rollback takes back a suspension and a limit as it does entries, and brings
// them again.
func TestRollbackOfASuspension(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run("--allow-empty")
	h.must("add", netlab.ListedPrefix4.String(), "--owner", "acme")
	h.shut()
	d.stop()
	kept := labtest.Must(store.Open(h.state()))(t)
	change := store.Change{
		Suspend: []store.Suspension{{Subject: policy.Subject{Owner: "acme"}, Reason: "unpaid", Time: time.Unix(1, 0).UTC()}},
		Limit:   []store.Limit{{Owner: "acme", PerSecond: 5, Burst: 10}}, Generation: labtest.Must(kept.Generation())(t) + 1,
	}
	if err := errors.Join(kept.Apply(change), kept.Close()); err != nil {
		t.Fatal(err)
	}
	said := func(suspensions, limits int) {
		t.Helper()
		kept := labtest.Must(store.OpenReadOnly(h.state()))(t)
		defer kept.Close()
		if s, l := labtest.Must(kept.Suspensions())(t), labtest.Must(kept.Limits())(t); len(s) != suspensions || len(l) != limits {
			t.Errorf("%+v and %+v, want %d and %d", s, l, suspensions, limits)
		}
	}
	for _, stopped := range []bool{true, false, true} {
		said(map[bool]int{true: 1}[stopped], map[bool]int{true: 1}[stopped])
		d := h.run("--allow-empty")
		listed := map[bool]netlab.Outcome{true: netlab.Dropped, false: netlab.Connected}
		h.knock(listed[stopped], netlab.Dropped)
		back := map[bool]string{true: "resume acme\n~ limit acme none\n", false: "suspend acme\n~ limit acme 5/s --burst 10\n"}[stopped]
		if out := h.must("rollback", "--dry-run"); !strings.HasPrefix(out, "~ "+back) {
			t.Errorf("a dry run says %q, not %q", out, back)
		}
		h.knock(listed[stopped], netlab.Dropped)
		h.must("rollback")
		h.knock(listed[!stopped], netlab.Dropped)
		d.stop()
	}
}
