package e2e

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file is what tests of broken gates share: what status says of the damage, and
// a picture of everything that a refused command must not have touched.

// problem returns the problem of that code and subject.
func problem(s api.Status, code, subject string) (api.Problem, bool) {
	for _, p := range s.Problems {
		if p.Code == code && p.Subject == subject {
			return p, true
		}
	}
	return api.Problem{}, false
}

// broken waits until status names the problem, and returns it.
func (h *host) broken(code, subject string) (p api.Problem) {
	h.tb.Helper()
	h.eventually(fmt.Sprintf("problem %s of %q", code, subject), func() (found bool) {
		p, found = problem(h.status(), code, subject)
		return found
	})
	return p
}

// healed waits until the gate enforces and no problem is left but the memory of one.
func (h *host) healed() {
	h.tb.Helper()
	h.eventually("a gate without problems", func() bool {
		s := h.status()
		return s.Enforcing && !slices.ContainsFunc(s.Problems, func(p api.Problem) bool { return p.Code != "repaired" })
	})
}

// shut asserts that the gate is what it is for: the listed get in, others do not.
func (h *host) shut() {
	h.tb.Helper()
	h.knock(netlab.Connected, netlab.Dropped)
}

// knock asserts what becomes of a listed and of an unlisted client of the API, of
// which serve must have been called.
func (h *host) knock(listed, unlisted netlab.Outcome) {
	h.tb.Helper()
	for client, want := range map[netip.Addr]netlab.Outcome{netlab.Listed4: listed, netlab.Unlisted4: unlisted} {
		wait := 5 * time.Second
		if want == netlab.Dropped {
			wait = 300 * time.Millisecond
		}
		if got, err := h.lab.Wire.Knock(client, h.api4(), wait); got != want {
			h.tb.Fatalf("client %s: %v (%v), want %v", client, got, err, want)
		}
	}
}

// forget makes await look at what is logged from now on.
func (d *daemon) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log.Reset()
}

// picture is all that the daemon keeps: what is on disk byte for byte, what is
// pinned, which program runs, what is enforced.
func (h *host) picture() string {
	h.tb.Helper()
	h.followed()
	_, running := os.Stat(h.socket())
	var b strings.Builder
	for _, dir := range []string{h.state(), h.bpffs()} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if running == nil && entry.Name() == "state.db" {
				return nil // a daemon notes by itself how entries are used
			}
			fmt.Fprintln(&b, path, info.Mode(), info.ModTime().UnixNano())
			if dir == h.state() {
				text, err := os.ReadFile(path)
				fmt.Fprintf(&b, "%x %v\n", text, err)
			}
			return nil
		})
		fmt.Fprintln(&b, dir, err != nil)
	}
	for _, name := range []string{"eth0", "eth1"} {
		if device, err := h.lab.Host.Netlink().LinkByName(name); err == nil && device.Attrs().Xdp != nil {
			fmt.Fprintln(&b, name, device.Attrs().Xdp.ProgId)
		}
	}
	if _, err := os.Stat(h.socket()); err == nil {
		s := h.status()
		fmt.Fprintln(&b, s.Generation, s.Entries, s.Enforcing, s.Problems, h.must("list", "-o", "text"), h.must("history", "-o", "json"))
	}
	return b.String()
}

// followed waits until the effective list says what a running daemon acknowledged:
// what the CLI made is in the database first.
func (h *host) followed() {
	h.tb.Helper()
	if _, err := os.Stat(h.socket()); err != nil || h.status().Daemon == nil {
		return
	}
	h.eventually("the effective list follows", func() bool {
		list, err := store.LoadEffective(h.state())
		return err == nil && list.Generation == h.status().Generation
	})
}

// unchanged fails the test if anything differs from the picture before.
func (h *host) unchanged(before, what string) {
	h.tb.Helper()
	if after := h.picture(); after != before {
		h.tb.Errorf("%s changed something:\n%s\nwas:\n%s", what, after, before)
	}
}

// refused runs a command that must fail with code, say text and a hint, and touch
// nothing.
func (h *host) refused(code int, text string, args ...string) result {
	h.tb.Helper()
	before := h.picture()
	r := h.cli(args...)
	if r.code != code || !strings.HasPrefix(r.stderr, "xdpallow: error: ") || !strings.Contains(r.stderr, text) || r.stdout != "" && !slices.Contains(args, "--dry-run") {
		h.tb.Errorf("xdpallow %q: exit %d, want %d and %q\nstdout: %s\nstderr: %s", args, r.code, code, text, r.stdout, r.stderr)
	}
	h.unchanged(before, fmt.Sprintf("xdpallow %q", args))
	return r
}

// pass loads an XDP program that passes everything.
func pass(tb testing.TB) *ebpf.Program {
	tb.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "pass", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { program.Close() })
	return program
}

// occupy attaches another program to eth0, with the netlink flags, by a link or
// without, and returns its id.
func (h *host) occupy(flags int, byLink bool) uint32 {
	h.tb.Helper()
	program := pass(h.tb)
	err := h.lab.Host.Do(func() error {
		device, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if !byLink {
			return netlink.LinkSetXdpFdWithFlags(device, program.FD(), flags)
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: device.Attrs().Index, Flags: link.XDPAttachFlags(flags)})
		if err == nil {
			h.tb.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		h.tb.Fatalf("attach another program: %v", err)
	}
	return h.xdp("eth0")
}
