// This file boots a guest and brings its exit status home.

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// exitMarker begins the last line of a guest; the exit status follows. It comes
// over the console, because Debian's cloud kernels have no port to write to.
const exitMarker = "kernels-guest: exit "

// cmdline is the kernel's. panic=-1 reboots at once, which ends QEMU
// (-no-reboot); the rest saves seconds under emulation. Mitigations stay on:
// they decide what the verifier accepts.
const cmdline = "quiet panic=-1 net.ifnames=0 nokaslr tsc=reliable no_timer_check cryptomgr.notests"

// boot runs the guest to its end and returns what it exited with. A guest that
// says nothing at its end (a panic, a hang) is an error.
func boot(ctx context.Context, k *kernel, initramfs string, opts *options) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", k.arch.program, "-accel", opts.accel)
	cmd.Args = append(cmd.Args, k.arch.machine...)
	cmd.Args = append(cmd.Args, "-smp", strconv.Itoa(opts.cpus), "-m", strconv.Itoa(opts.memory),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", k.image, "-initrd", initramfs, "-append", "console="+k.arch.console+" "+cmdline)
	cmd.Args = append(cmd.Args, nics(opts.nic)...)
	cmd.Stderr = os.Stderr
	// QEMU dies with us, whatever kills us. The kernel means the thread that
	// started it, so this one must live as long as QEMU.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start QEMU: %w", err)
	}
	code, ended := follow(console)
	err = cmd.Wait()
	switch {
	case ended:
		return code, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return 0, fmt.Errorf("did not end within %s", opts.timeout)
	default:
		return 0, fmt.Errorf("ended after %.1fs without an exit status (panic? %v)", time.Since(start).Seconds(), err)
	}
}

// nics are two NICs of a model on one segment, which needs no privilege. A model may
// carry properties: virtio-net-pci,guest_tso4=off.
func nics(model string) (args []string) {
	if model == "" {
		return nil
	}
	for i := range 2 {
		args = append(args, "-netdev", fmt.Sprintf("hubport,id=n%d,hubid=0", i),
			"-device", fmt.Sprintf("%s,netdev=n%d,mac=02:00:00:00:00:1%d", model, i, i))
	}
	return args
}

// follow passes the guest's console through and looks for the end.
func follow(console io.Reader) (code int, ended bool) {
	reader := bufio.NewReader(console)
	for {
		line, err := reader.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if status, ok := strings.CutPrefix(line, exitMarker); ok {
			if n, err := strconv.Atoi(status); err == nil {
				code, ended = n, true
			}
		} else if line != "" || err == nil {
			fmt.Println(line)
		}
		if err != nil {
			return code, ended
		}
	}
}
