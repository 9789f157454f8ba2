// The daemon's unit grants three capabilities and no more. These tests run the whole
// life of a gate as nobody with exactly those, because root in a test would hide
// each need of CAP_SYS_ADMIN, and kernels differ in what they ask for.
package loader_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/maps"
)

// childStep makes the test binary do a step of a gate's life instead of testing,
// under childRoot and with the capabilities of childMask (hexadecimal).
const (
	childStep = "XDPALLOW_LOADER_STEP"
	childRoot = "XDPALLOW_LOADER_ROOT"
	childMask = "XDPALLOW_LOADER_CAPABILITIES"
	nobody    = 65534
)

func TestMain(m *testing.M) {
	step, isChild := steps[os.Getenv(childStep)]
	if !isChild {
		os.Exit(m.Run())
	}
	err := checkPrivileges(os.Getenv(childMask))
	if err == nil {
		err = step(os.Getenv(childRoot))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// checkPrivileges makes sure that a step shows what it is meant to show.
func checkPrivileges(mask string) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	if !strings.Contains(string(status), "\nCapEff:\t"+mask+"\n") || os.Geteuid() != nobody {
		return fmt.Errorf("uid %d and not the capabilities %s:\n%s", os.Geteuid(), mask, status)
	}
	return nil
}

var steps = map[string]func(root string) error{"shut": stepShut, "adopt": stepAdopt, "detach": stepDetach}

// stepShut is a first start, on eth0; another program holds eth1.
func stepShut(root string) error {
	gate, err := loader.Open(root)
	if err != nil {
		return err
	}
	defer gate.Close()
	if _, err := gate.Tables.Publish(policy()); err != nil {
		return err
	}
	at, err := gate.Attach("eth0", loader.Native)
	if err != nil {
		return err
	}
	if at.Mode != loader.Native || !at.Ours || at.Adopted {
		return fmt.Errorf("attached: %+v", at)
	}
	// Programs by id are CAP_SYS_ADMIN's: the holder keeps its name for itself.
	var foreign *loader.ForeignError
	if _, err := gate.Attach("eth1", loader.Native); !errors.As(err, &foreign) || foreign.ProgramID == 0 || foreign.Name != "" {
		return fmt.Errorf("attach where another program is: %w, want its id without a name", err)
	}
	return nil
}

// stepAdopt is the next start, with a policy that is published and patched anew.
func stepAdopt(root string) error {
	gate, err := loader.Open(root)
	if err != nil {
		return err
	}
	defer gate.Close()
	if gate.Tables.Stale() || gate.Tables.Generation() != 1 {
		return fmt.Errorf("generation %d, stale %v, want a good 1", gate.Tables.Generation(), gate.Tables.Stale())
	}
	at, err := gate.Attach("eth0", loader.Auto)
	if err != nil {
		return err
	}
	if at.Mode != loader.Native || !at.Ours || !at.Adopted {
		return fmt.Errorf("adopted: %+v", at)
	}
	next := policy()
	next.Generation = 2
	if _, err := gate.Tables.Publish(next); err != nil {
		return err
	}
	extra := []maps.Entry{{Prefix: hostAddr.Masked(), Services: maps.EveryService}}
	if _, err := gate.Tables.Patch(extra, nil, 3); err != nil {
		return err
	}
	answer, err := gate.Ask("eth0", make([]byte, 60))
	if err != nil || answer != (maps.Answer{Verdict: maps.Pass, Reason: maps.NotIP}) {
		return errors.Join(err, fmt.Errorf("the shadow program says %v of an empty frame", answer))
	}
	counters, err := gate.Counters("eth0")
	if err != nil {
		return err
	}
	if _, _, err = counters.Read(); err != nil {
		return err
	}
	return stepBackstop(gate)
}

// stepBackstop puts the second door up, beside another program at the socket lookups.
func stepBackstop(gate *loader.Gate) error {
	own, err := ownAddresses()
	if err == nil {
		err = gate.Tables.SetLocal(own)
	}
	if err == nil {
		err = gate.AttachBackstop()
	}
	if err != nil {
		return err
	}
	others, err := gate.OtherLookups()
	if err != nil || len(others) != 1 || others[0].ProgramID == 0 || others[0].Name != "" {
		return errors.Join(err, fmt.Errorf("other programs at the socket lookups: %v, want the id of one without a name", others))
	}
	return nil
}

func stepDetach(root string) error {
	reader, err := loader.OpenReader(root)
	if err != nil {
		return err
	}
	if at, err := reader.Inspect("eth0"); err != nil || at.Mode != loader.Native || !at.Ours {
		return errors.Join(err, fmt.Errorf("inspected: %+v", at))
	}
	if err := reader.Close(); err != nil {
		return err
	}
	_, _, err = loader.DetachRoot(root, nil)
	return err
}

// needed are the capabilities that the unit grants.
var needed = []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON}

// as runs a step as nobody, with capabilities and none besides.
func (h *host) as(capabilities []uintptr, step string) error {
	h.Helper()
	var mask uint64
	for _, c := range capabilities {
		mask |= 1 << c
	}
	var problems bytes.Buffer
	// Not by the file's name: nobody may not look into the directory where it is.
	cmd := exec.CommandContext(h.Context(), "/proc/self/exe")
	cmd.Env = []string{childStep + "=" + step, childRoot + "=" + h.root, childMask + "=" + fmt.Sprintf("%016x", mask)}
	cmd.Stderr = &problems
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: capabilities,
	}
	if err := h.lab.Host.Start(cmd); err != nil {
		h.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", step, err, strings.TrimSpace(problems.String()))
	}
	return nil
}

// newNobodysHost has a pin root that is nobody's, and a stranger's programs on eth1 and at
// the socket lookups.
func newNobodysHost(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	if err := os.Chown(h.root, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	labtest.Must(h.lab.AddLink("eth1"))(t)
	stranger := labtest.Must(ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "stranger", Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	}))(t)
	t.Cleanup(func() { stranger.Close() })
	options := link.XDPOptions{Program: stranger, Interface: h.index(h.lab.Host), Flags: link.XDPDriverMode}
	lookup := labtest.Must(ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "stranger", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	}))(t)
	t.Cleanup(func() { lookup.Close() })
	ns := labtest.Must(os.Open(h.lab.Host.Path()))(t)
	defer ns.Close()
	looking := labtest.Must(link.AttachNetNs(int(ns.Fd()), lookup))(t)
	t.Cleanup(func() { looking.Close() })
	h.do(func() error {
		attached, err := link.AttachXDP(options)
		if err == nil {
			t.Cleanup(func() { attached.Close() })
		}
		return err
	})
	return h
}

func TestThreeCapabilitiesAreEnough(t *testing.T) {
	t.Parallel()
	h := newNobodysHost(t)
	for _, step := range []struct {
		name     string
		unlisted netlab.Outcome
	}{
		{"shut", netlab.Dropped}, {"adopt", netlab.Dropped}, {"detach", netlab.Connected},
	} {
		h.must(h.as(needed, step.name))
		h.knock(netlab.Connected, step.unlisted)
	}
}

// Whoever takes one away is told which, on every kernel, and nothing is attached:
// no verifier lets the program pass without CAP_PERFMON.
func TestMissingCapabilitiesAreNamed(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"} {
		h := newNobodysHost(t)
		err := h.as(slices.Delete(slices.Clone(needed), i, i+1), "shut")
		if err == nil || !strings.Contains(err.Error(), "this process lacks "+name+": ") {
			t.Errorf("without %s: %v, want an error that names it alone", name, err)
		}
		h.knock(netlab.Connected, netlab.Connected)
	}
}
