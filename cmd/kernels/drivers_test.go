package main

// This file runs the tests of the gate and of its engine that need a NIC's driver: in a
// kernel that has nothing else, with two NICs on one segment.

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// driverCase is a driver under a kernel, and the tests that say what it does.
type driverCase struct {
	kernel      string
	driver      string
	nic         string // QEMU's model
	modules     string
	generic     bool // the kernel with all drivers, not the cloud one
	mode        string
	env         []string
	tests       []string
	everyChange bool
}

var driverCases = []driverCase{
	// Forgets its program when its queues are set up anew.
	{
		kernel: "6.12", driver: "vmxnet3", nic: "vmxnet3", modules: "vmxnet3", mode: "native", env: []string{"XDPALLOW_NIC_FORGETS=yes"},
		tests: []string{"TestDriverThatForgets", "TestDriverThatForgetsBeforeTheBackstop"}, everyChange: true,
	},
	// Has no XDP for frames that do not fit a page, and takes such an MTU.
	{
		kernel: "6.1", driver: "virtio_net", nic: "virtio-net-pci", modules: "virtio_pci,virtio_net", mode: "native", env: []string{"XDPALLOW_NIC_BEYOND=5000"},
		tests: []string{"TestNIC", "TestDriverThatForgets", "TestMTUBeyondTheDriver"}, everyChange: true,
	},
	{
		kernel: "6.12", driver: "virtio_net", nic: "virtio-net-pci", modules: "virtio_pci,virtio_net", mode: "native",
		tests: []string{"TestNIC", "TestDriverThatForgets"},
	},
	{
		kernel: "6.1", driver: "vmxnet3", nic: "vmxnet3", modules: "vmxnet3", mode: "generic",
		tests: []string{"TestNIC", "TestDriverThatForgets"},
	},
	{
		kernel: "6.12", driver: "e1000e", nic: "e1000e,romfile=", modules: "e1000e", generic: true, mode: "generic",
		tests: []string{"TestNIC", "TestDriverThatForgets"},
	},
}

// machine is the name of the case in the table.
func (c driverCase) machine() string { return c.driver + " alone" }

// Promise (0 leaks): what a driver does to our program is found and told, and no stranger
// gets in by a NIC that is said to be guarded.
func TestDrivers(t *testing.T) {
	machines(t, true)
	t.Parallel()
	dir := t.TempDir()
	build := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // the guest has no libc
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	build("test", "-c", "-tags", "nic", "-trimpath", "-o", dir+"/", "../../loader", "../../loader/reconcile")
	build("build", "-trimpath", "-o", dir+"/kernels", ".")
	for _, c := range driverCases {
		t.Run(c.kernel+"-"+c.driver, func(t *testing.T) {
			machines(t, c.everyChange)
			needed(t, architectures["amd64"], c.kernel, c.generic)
			record(c.kernel, c.machine(), c.driver, c.mode).run(t, "tests of loader and reconcile", func(t *testing.T) {
				c.run(t, dir)
			})
		})
	}
}

// run runs the tests, which are built in dir.
func (c driverCase) run(t *testing.T, dir string) {
	args := []string{"-cpus", "1", "-nic", c.nic, "-modules", "veth," + c.modules, "-env", "XDPALLOW_NIC=" + c.mode, "-dir", "/src", "-copy", "../../testdata=/testdata"}
	if c.generic {
		args = append(args, "-generic")
	}
	for _, variable := range c.env {
		args = append(args, "-env", variable)
	}
	only := "^(" + strings.Join(c.tests, "|") + ")$"
	args = append(args, c.kernel, "--", filepath.Join(dir, "loader.test"), "-test.v", "-test.run", only, "+",
		filepath.Join(dir, "reconcile.test"), "-test.v", "-test.run", only)
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "kernels"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("kernels %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for _, test := range c.tests {
		if !strings.Contains(string(out), "--- PASS: "+test+" ") {
			t.Errorf("%s was not seen to pass:\n%s", test, out)
		}
	}
}
