package e2e

// This file installs, upgrades and removes the packages as their users do: with dpkg and
// rpm, in a root file system of their own, beside a gate that is up.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// packages builds the packages of this machine's architecture and returns their paths by
// kind.
func packages(tb testing.TB, version string) map[string]string {
	tb.Helper()
	root, err := filepath.Abs("../../../..")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command("make", "-C", root, "packages", "PACKAGE_VERSION="+version, "ARCHES="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("make packages: %v\n%s", err, out)
	}
	// The next build takes these away.
	paths, dir := map[string]string{}, tb.TempDir()
	for _, kind := range []string{"deb", "rpm"} {
		found, err := filepath.Glob(filepath.Join(root, "build/packages/*."+kind))
		if err != nil || len(found) != 1 {
			tb.Fatalf("packages of kind %s: %v, %v", kind, found, err)
		}
		paths[kind] = filepath.Join(dir, filepath.Base(found[0]))
		text, err := os.ReadFile(found[0])
		if err == nil {
			err = os.WriteFile(paths[kind], text, 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return paths
}

// root is a copy of this machine's root file system that nothing is kept of, with the
// network of the lab's host. Its first process holds it.
type root struct {
	h    *host
	hold *exec.Cmd
}

// What is written lies in memory. A BPF file system of its own, or the packages of this
// test would meet those of another.
const makeRoot = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t bpf bpf sys/fs/bpf
pivot_root . mnt
umount -l /mnt
echo ready
exec sleep infinity
`

func newRoot(h *host) *root {
	h.tb.Helper()
	r := &root{h: h, hold: exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", makeRoot)}
	out, err := r.hold.StdoutPipe()
	if err != nil {
		h.tb.Fatal(err)
	}
	var stderr strings.Builder
	r.hold.Stderr = &stderr
	if err := h.lab.Host.Start(r.hold); err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() {
		_ = r.hold.Process.Kill()
		_ = r.hold.Wait()
	})
	if n, err := out.Read(make([]byte, 6)); n == 0 {
		h.tb.Fatalf("make a root: %v\n%s", err, stderr.String())
	}
	return r
}

// enter is a shell command in the root.
func (r *root) enter(ctx context.Context, command string) *exec.Cmd {
	init, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", r.hold.Process.Pid))
	if err != nil {
		r.h.tb.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strings.TrimSpace(string(init)),
		"--mount", "--pid", "--net", "--root", "--wd", "sh", "-c", command)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// sh runs a command in the root and returns what it printed and how it ended.
func (r *root) sh(command string) (string, int) {
	r.h.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := r.enter(ctx, command).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		r.h.tb.Fatalf("%s: %v\n%s", command, err, out)
	} else if exit != nil {
		return string(out), exit.ExitCode()
	}
	return string(out), 0
}

func (r *root) must(command string) string {
	r.h.tb.Helper()
	out, code := r.sh(command)
	if code != 0 {
		r.h.tb.Fatalf("%s: exit %d\n%s", command, code, out)
	}
	return out
}

func (r *root) copyIn(path string) string {
	r.h.tb.Helper()
	in, err := os.Open(path)
	if err != nil {
		r.h.tb.Fatal(err)
	}
	defer in.Close()
	to := "/root/" + filepath.Base(path)
	cmd := r.enter(context.Background(), "cat >"+to)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		r.h.tb.Fatalf("copy %s: %v\n%s", path, err, out)
	}
	return to
}

// Promise: a package guards nothing until it is configured; its upgrade does not open the
// gate for a moment and keeps config and list; its removal opens the gate and says so, and
// leaves the list; only a purge takes the list away, with the config and what is empty. Lists of the operator's
// stay, and the groups. Where no gate is up, a removal says nothing of it.
func TestPackages(t *testing.T) {
	t.Parallel()
	first, again, second := packages(t, "1.0"), packages(t, "1.0"), packages(t, "1.1")
	for kind, path := range first {
		if sum(t, path) != sum(t, again[kind]) {
			t.Errorf("two builds of one commit made different bytes: %s", filepath.Base(path))
		}
		if sum(t, path) == sum(t, second[kind]) {
			t.Errorf("another version made the same bytes: %s", filepath.Base(path))
		}
	}
	if out, err := exec.Command("lintian", "--no-cfg", "--allow-root", "--fail-on", "error,warning", first["deb"]).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
	for kind, do := range map[string]struct{ install, upgrade, remove, purge string }{
		"deb": {"dpkg -i %s", "dpkg -i %s", "dpkg -r xdpallow", "dpkg -P xdpallow"},
		// Debian's rpm knows nothing of what dpkg installed.
		"rpm": {"rpm -i --nodeps --force-debian %s", "rpm -U --nodeps --force-debian %s", "rpm -e --force-debian xdpallow", ""},
	} {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t)
			h.serve()
			r := newRoot(h)
			out := r.must(fmt.Sprintf(do.install, r.copyIn(first[kind])))
			if !strings.Contains(out, "systemctl enable --now xdpallow") {
				t.Errorf("the installation does not say what to do next:\n%s", out)
			}
			labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, h.api4(), netlab.Connected)
			for _, command := range []string{
				"getent group xdpallow && getent group xdpallow-admin && getent group xdpallow-enrol",
				"xdpallow version",
				"man -l /usr/share/man/man8/xdpallow.8.gz >/tmp/man && grep -q reload /tmp/man || zcat /usr/share/man/man8/xdpallow.8.gz | grep -q reload",
				"bash -n /usr/share/bash-completion/completions/xdpallow",
				"test -s /usr/share/fish/vendor_completions.d/xdpallow.fish && test -s /usr/share/zsh/*/_xdpallow",
				"test -d /etc/xdpallow/allow.d && test -s /usr/share/doc/xdpallow/copyright",
				"grep -q '^ExecStart=/usr/bin/xdpallow run' /usr/lib/systemd/system/xdpallow.service",
				"grep -q '^ExecStart=/usr/bin/xdpallow enrol' /usr/lib/systemd/system/xdpallow-enrol.service && test -d /etc/xdpallow/enrol/clients",
			} {
				r.must(command)
			}
			r.must(fmt.Sprintf(`cat >/etc/xdpallow/config.yaml <<'Y'
interfaces: [eth0]
services: {api: {ports: [%d], mode: enforce}}
allow_files: [allow.d]
Y
echo %s owner=acme >/etc/xdpallow/allow.d/acme.list`, port, netlab.ListedPrefix4))
			daemon := r.enter(context.Background(), "exec xdpallow run --config /etc/xdpallow/config.yaml")
			if err := daemon.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- daemon.Wait() }()
			h.eventually("the installed daemon enforces", func() bool {
				out, code := r.sh("xdpallow status -o json")
				return code == 0 && strings.Contains(out, `"enforcing": true`)
			})
			r.must("xdpallow add 192.0.2.0/24 --owner umbrella")

			var opened atomic.Int64
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() { // a stranger who never gives up
				defer close(stopped)
				for {
					select {
					case <-stop:
						return
					default:
						if got, _ := h.lab.Wire.Knock(netlab.Unlisted4, h.api4(), 50*time.Millisecond); got != netlab.Dropped {
							opened.Add(1)
						}
					}
				}
			}()
			r.must(fmt.Sprintf(do.upgrade, r.copyIn(second[kind])))
			close(stop)
			<-stopped
			if n := opened.Load(); n != 0 {
				t.Errorf("during the upgrade a stranger was answered %d times", n)
			}
			labtest.Expect(t, h.lab.Wire, netlab.Listed4, h.api4(), netlab.Connected)
			r.must("grep -q 'mode: enforce' /etc/xdpallow/config.yaml && test -s /etc/xdpallow/allow.d/acme.list")
			if out := r.must("xdpallow list"); !strings.Contains(out, "umbrella") {
				t.Errorf("the upgrade lost what was added:\n%s", out)
			}

			out = r.must(do.remove)
			if !strings.Contains(out, "the gate is open") {
				t.Errorf("the removal does not say that it opened the gate:\n%s", out)
			}
			labtest.Expect(t, h.lab.Wire, netlab.Unlisted4, h.api4(), netlab.Connected)
			if err := <-ended; err != nil {
				t.Errorf("the daemon ended with %v", err)
			}
			r.must("! test -e /usr/bin/xdpallow && test -s /etc/xdpallow/allow.d/acme.list && test -s /var/lib/xdpallow/state.db")
			if do.purge != "" {
				r.must(do.purge)
				r.must("! test -e /var/lib/xdpallow && ! test -e /etc/xdpallow/config.yaml && test -s /etc/xdpallow/allow.d/acme.list")
				r.must("rm /etc/xdpallow/allow.d/acme.list")
				r.must(fmt.Sprintf(do.install, "/root/"+filepath.Base(second[kind])))
				if out := r.must(do.purge); strings.Contains(out, "error") || strings.Contains(out, "hint") {
					t.Errorf("a purge where no gate is up:\n%s", out)
				}
				r.must("! test -e /etc/xdpallow && getent group xdpallow && getent group xdpallow-admin")
			}
		})
	}
}

func sum(tb testing.TB, path string) [sha256.Size]byte {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return sha256.Sum256(text)
}
