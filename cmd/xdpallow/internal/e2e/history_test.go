package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
)

// Promise: a change log that cannot be written keeps nobody from letting a customer
// in; status says so, nothing of it is lost over a SIGKILL, and the file has it when
// it can be written again.
func TestHistoryOfAFullDisk(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	path := filepath.Join(h.state(), "changes.jsonl")
	for _, err := range []error{os.Rename(path, path+".old"), os.Mkdir(path, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.must("add", netlab.UnlistedPrefix4.String(), "--reason", "on a full disk")
	if outcome, err := h.lab.Wire.Knock(netlab.Unlisted4, h.api4(), singleSYN); outcome != netlab.Connected {
		t.Errorf("the new customer: %s, %v", outcome, err)
	}
	s := h.status()
	if p, found := problem(s, "change_log", h.state()); !found || !s.Enforcing || !strings.Contains(p.Text, path) {
		t.Errorf("status %+v says nothing of the change log, or that nothing is enforced", s)
	}
	d.kill()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
	h.run(allowed...)
	h.healed()
	changes := ask[api.History](h, "history").Changes
	if n := len(changes); n != 2 || changes[1].Reason != "on a full disk" || changes[1].Sequence != changes[0].Sequence+1 {
		t.Errorf("history: %+v", changes)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), `"reason":"on a full disk"`) != 1 {
		t.Errorf("changes.jsonl: %v\n%s", err, text)
	}
}

// Promise: beside root, history and status name who had logged in: by the kernel's word,
// else by sudo's. A name that no session has is left out.
func TestHistoryNamesWhoLoggedIn(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	as := func(session, sudo string, args ...string) {
		t.Helper()
		cmd := exec.Command("sh", append([]string{"-c", `echo "$0" >/proc/self/loginuid && exec "$@"`, session, binary}, h.where(args)...)...)
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SUDO_UID=") }), sudo)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := h.lab.Host.Start(cmd)
		if err == nil {
			err = cmd.Wait()
		}
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out.String())
		}
	}
	const nobody = "4294967295"
	as("4711", "SUDO_UID=1234", "add", "192.0.2.1", "--owner", "acme")
	as(nobody, "SUDO_UID=1234", "suspend", "acme")
	as(nobody, "SUDO_UID=-7", "resume", "acme")
	as("0", "", "remove", "192.0.2.1")
	want := []string{"1 add: 4711", "2 suspend: 1234", "3 resume: nobody", "4 remove: 0"}
	var got []string
	for i, change := range ask[api.History](h, "history", "-n", "4").Changes {
		who := "nobody"
		if change.LoginUID != nil {
			who = fmt.Sprint(*change.LoginUID)
		}
		verb, _, _ := strings.Cut(change.Command, " ")
		got = append(got, fmt.Sprintf("%d %s: %s", i+1, verb, who))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who logged in (-want +got):\n%s", diff)
	}
	table := h.must("history", "-n", "4")
	for _, line := range []string{`(?m)^TIME +UID +LOGIN +GENERATION `, `(?m)^20\S+Z +0 +4711 +\d`, `(?m)^20\S+Z +0 +1234 +\d`, `(?m)^20\S+Z +0 +- +\d`, `(?m)^20\S+Z +0 +0 +\d`} {
		if !regexp.MustCompile(line).MatchString(table) {
			t.Errorf("no line as %s in\n%s", line, table)
		}
	}
	// So does the daemon's log, which the journal keeps.
	for _, line := range []string{`(?m)^xdpallow: added 192\.0\.2\.1/32 \(acme\): generation 2 uid=0 pid=\d+ login=4711$`, `(?m)resumed acme: generation 4 uid=0 pid=\d+$`} {
		if !regexp.MustCompile(line).MatchString(d.logged()) {
			t.Errorf("no line as %s in\n%s", line, d.logged())
		}
	}
	// Where root has logged in as root, there is nobody else to name.
	if table := h.must("history", "-n", "1"); strings.Contains(table, "LOGIN") {
		t.Errorf("a column that says nothing:\n%s", table)
	}
	as("4711", "", "add", "192.0.2.2")
	if text := h.must("status"); !strings.Contains(text, " by uid 0, logged in as uid 4711 (pid ") {
		t.Errorf("status:\n%s", text)
	}
	if last := h.status().LastChange; last.LoginUID == nil || *last.LoginUID != 4711 {
		t.Errorf("last change %+v", last)
	}
}
