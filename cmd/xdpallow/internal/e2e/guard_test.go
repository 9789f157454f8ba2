package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// refusedUntil asserts that a command is refused with 1 and changes nothing, and that
// its hint, the same command with a flag, is then done.
func (h *host) refusedUntil(flag, text string, args ...string) {
	h.tb.Helper()
	r := h.refused(1, text, args...)
	_, hint, _ := strings.Cut(r.stderr, "xdpallow: hint: ")
	if want := "xdpallow " + args[0] + " " + flag; !strings.HasPrefix(hint, want) {
		h.tb.Errorf("xdpallow %q: hint %q, want %q…", args, hint, want)
	}
	h.must(append(args, flag)...)
}

// Promise: a list that is enforced never becomes empty by accident: not at a start,
// not by remove, not by reload. In audit it may be empty.
func TestEmptyListIsRefused(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	list := h.file("acme.list", "# nobody yet\n")
	d := h.start(binary, "--allow-file", list)
	if code := d.ends(); code != 1 || !strings.Contains(d.logged(), "xdpallow: error: no prefix is left and service api enforces") || !strings.Contains(d.logged(), "--allow-empty") {
		t.Errorf("exit %d, want 1:\n%s", code, d.logged())
	}
	h.open()
	d = h.run("--allow-file", list, "--mode", "audit")
	d.stop()
	h.must("detach", "--yes")
	h.run("--allow-file", list, "--allow-empty")
	h.knock(netlab.Dropped, netlab.Dropped)

	h.must("add", netlab.Listed4.String())
	h.refusedUntil("--allow-empty", "no prefix is left", "remove", netlab.Listed4.String())
	h.must("add", netlab.Listed4.String(), "--owner", "acme")
	h.refusedUntil("--allow-empty", "no prefix is left", "remove", "--owner", "acme")
	h.file("acme.list", netlab.ListedPrefix4.String()+"\n")
	h.must("reload")
	h.shut()
	h.file("acme.list", "")
	h.refusedUntil("--allow-empty", "no prefix is left", "reload")
	h.knock(netlab.Dropped, netlab.Dropped)
}

// operator is somebody who works on the host over the protected port: an established
// connection that is held by an ancestor of what he types, as sshd does.
type operator struct {
	h    *host
	conn *os.File
}

func (h *host) login() operator {
	h.tb.Helper()
	listener, err := h.lab.Host.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		h.tb.Fatal(err)
	}
	defer listener.Close()
	client, err := h.lab.Wire.DialContext(context.Background(), "tcp", netlab.Unlisted4, h.api4().String())
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { client.Close() })
	server, err := listener.Accept()
	if err != nil {
		h.tb.Fatal(err)
	}
	defer server.Close()
	conn, err := server.(*net.TCPConn).File()
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { conn.Close() })
	return operator{h, conn}
}

// types runs a command under a shell that holds the connection; the command itself
// does not have it.
func (o operator) types(args ...string) result {
	o.h.tb.Helper()
	words := append([]string{"-c", `"$@" 3<&-; exit $?`, "sh", binary}, o.h.where(args)...)
	cmd := exec.Command("/bin/sh", words...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &stdout, &stderr, []*os.File{o.conn}
	if err := o.h.lab.Host.Start(cmd); err != nil {
		o.h.tb.Fatal(err)
	}
	_ = cmd.Wait() // the exit code tells
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Promise: an operator who came in by the protected port does not lock himself out;
// other changes, and the same change by somebody else, are not in the way.
func TestOwnSessionIsGuarded(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	list := h.file("acme.list", netlab.ListedPrefix4.String()+"\n")
	h.run("--allow-file", list)
	h.must("add", netlab.Unlisted4.String(), "192.0.2.1")
	someone := h.login()

	says := "your own session comes from " + netlab.Unlisted4.String() + " to tcp/8443"
	before := h.picture()
	r := someone.types("remove", netlab.Unlisted4.String())
	if r.code != 1 || !strings.Contains(r.stderr, says) || !strings.Contains(r.stderr, "xdpallow: hint: ") {
		t.Errorf("exit %d, want 1 and %q:\n%s%s", r.code, says, r.stdout, r.stderr)
	}
	h.unchanged(before, "what would have locked the operator out")
	for _, args := range [][]string{{"remove", "192.0.2.1"}, {"add", "192.0.2.2"}, {"reload"}} {
		if r := someone.types(args...); r.code != 0 {
			t.Errorf("%q: exit %d, though the operator stays listed:\n%s", args, r.code, r.stderr)
		}
	}
	// A file may list him as well; then a reload can lock him out.
	h.must("remove", netlab.Unlisted4.String())
	h.file("acme.list", netlab.ListedPrefix4.String()+"\n"+netlab.UnlistedPrefix4.String()+"\n")
	h.must("reload")
	h.file("acme.list", netlab.ListedPrefix4.String()+"\n")
	if r := someone.types("reload"); r.code != 1 || !strings.Contains(r.stderr, says) {
		t.Errorf("reload: exit %d, want 1 and %q:\n%s%s", r.code, says, r.stdout, r.stderr)
	}
	h.must("reload") // somebody who came in by another way
	if got := ask[api.Listing](h, "list").Entries; len(got) != 2 || got[0].Origins[0] != policy.OriginCLI {
		t.Errorf("left are %+v", got)
	}
}

// Promise: every guard rail holds for replace, a dry run of it included, and is told with
// the flag that opens it: and only that one.
func TestReplaceIsGuarded(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run("--allow-file", h.file("beside.list", prefixes(40)+netlab.ListedPrefix4.String()+"\n"))
	ten := h.file("ten.list", "192.0.2.0\n192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n192.0.2.5\n192.0.2.6\n192.0.2.7\n192.0.2.8\n192.0.2.9\n")
	four, five := h.file("four.list", "192.0.2.0/30\n192.0.2.4\n192.0.2.1\n192.0.2.2\n192.0.2.3\n"), h.file("five.list", "192.0.2.0\n192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n")
	for _, c := range []struct{ file, flag, text string }{
		{four, "--force-shrink", "6 of 10 prefixes of cli would be removed"},
		{h.file("wide.list", "192.0.2.0\n192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n64.0.0.0/7\n"), "--allow-any", "64.0.0.0/7 (" + h.dir + "/wide.list:6) is wider than /8"},
		{h.file("wide6.list", "192.0.2.0\n192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n2000::/18\n"), "--allow-any", "2000::/18 (" + h.dir + "/wide6.list:6) is wider than /19"},
		{h.file("empty.list", "# nobody\n"), "--allow-empty", "no prefix in it, and 10 prefixes would be removed"},
	} {
		h.must("replace", ten)
		h.refused(1, c.text, "replace", c.file, "--dry-run")
		for _, other := range []string{"--force-shrink", "--allow-any", "--allow-empty"} {
			if other != c.flag {
				h.refused(1, c.text, "replace", c.file, other)
			}
		}
		h.shut()
		if c.flag == "--allow-empty" { // that all go is more than half, too
			h.refused(1, "10 of 10 prefixes of cli would be removed", "replace", c.file, c.flag)
			h.must("replace", c.file, c.flag, "--force-shrink")
		} else {
			h.refusedUntil(c.flag, c.text, "replace", c.file)
		}
		h.must("replace", five, "--force-shrink")
		h.shut()
	}
	h.must("replace", ten)
	h.must("replace", five) // half is not more than half
}

// Promise: a start is guarded as a reload is: what a file would take away stays, is a
// problem with a hint, and is done with the flag; and a dry run says so.
func TestShrinkAtAStart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	list := h.file("acme.list", prefixes(20))
	other := h.file("other.list", strings.ReplaceAll(prefixes(60), "100.64.", "100.65."))
	files := []string{"--allow-file", list, "--allow-file", other}
	h.run(files...).stop()
	h.file("acme.list", prefixes(9))
	const text = "11 of 20 prefixes of file:"
	again := append([]string{"--interface", "eth0", "--port", fmt.Sprint(port)}, files...)
	if r := h.cli(append([]string{"run", "--dry-run"}, again...)...); r.code != 1 || !strings.Contains(r.stderr, text) || !strings.Contains(r.stderr, "--force-shrink") {
		t.Errorf("run --dry-run: %+v", r)
	}
	d := h.run(files...)
	if s := h.status(); s.Entries != 80 || !strings.Contains(fmt.Sprint(s.Problems), text) {
		t.Errorf("%d prefixes, want 80 and a problem: %+v", s.Entries, s.Problems)
	}
	d.stop()
	h.run(append(files, "--force-shrink")...)
	if s := h.status(); s.Entries != 69 || len(s.Problems) > 0 {
		t.Errorf("%d prefixes, want 69 and no problem: %+v", s.Entries, s.Problems)
	}
}

// Promise: who came in by the port that a start would protect is not locked out by it:
// nothing is attached; and his address in the command makes it right.
func TestOwnSessionIsGuardedAtAStart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	someone := h.login()
	start := append([]string{"run", "--interface", "eth0", "--port", fmt.Sprint(port)}, allowed...)
	r := someone.types(start...)
	if want := "xdpallow: hint: xdpallow run --allow " + netlab.Unlisted4.String(); r.code != 1 || !strings.Contains(r.stderr, "your own session comes from") || !strings.Contains(r.stderr, want) {
		t.Errorf("%+v, want 1 and %q", r, want)
	}
	h.serve()
	h.open()
}

// Promise: where a file that a start names cannot be read, the start says so; it never
// suggests to empty or to shrink the list instead, which would shut every customer out.
func TestUnreadableFileIsToldAtAStart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	list := h.file("acme.list", netlab.ListedPrefix4.String()+"\n"+netlab.ListedPrefix6.String()+"\n"+prefixes(20))
	h.run("--allow-file", list).stop()
	small := h.file("small.list", "192.0.2.0/24\n")
	for _, files := range [][]string{{"--allow-file", h.dir + "/nope.list"}, {"--allow-file", h.dir + "/nope.list", "--allow-file", small}} {
		d := h.start(binary, files...)
		code, log := d.ends(), d.logged()
		if code == 0 || !strings.Contains(log, h.dir+"/nope.list: ") || strings.Contains(log, "--allow-empty") || strings.Contains(log, "--force-shrink") {
			t.Errorf("%q: exit %d, want the error of nope.list and no hint that removes prefixes:\n%s", files, code, log)
		}
		h.shut()
	}
}
