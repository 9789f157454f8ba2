// This file is the guest's half: the same binary, as process 1 of a kernel that
// has nothing else.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// runGuest prepares the machine, runs the commands and powers off.
func runGuest() {
	code, err := guest()
	if err != nil {
		fmt.Println("kernels-guest: error:", err)
		code = 1
	}
	fmt.Printf("\n%s%d\n", exitMarker, code)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("kernels-guest: error: power off:", err)
	}
	os.Exit(1) // process 1 ends: the kernel panics, and QEMU with it
}

// guest returns the exit status of the first command that failed, or 0. Where a disk is
// to be booted it does not return.
func guest() (code int, err error) {
	content, err := os.ReadFile("/" + instructionsFile)
	if err != nil {
		return 0, err
	}
	var todo instructions
	if err := json.Unmarshal(content, &todo); err != nil {
		return 0, fmt.Errorf("read instructions: %w", err)
	}
	if todo.Disk != "" {
		return 0, switchRoot(todo)
	}
	if err := mountAll(); err != nil {
		return 0, err
	}
	for _, module := range todo.Modules {
		if err := load(module); err != nil {
			return 0, err
		}
	}
	if err := loopbackUp(); err != nil {
		return 0, err
	}
	for _, command := range todo.Commands {
		status, err := run(command, todo.Dir, todo.Env)
		if err != nil {
			return 0, err
		}
		if code == 0 {
			code = status
		}
	}
	return code, nil
}

func mountAll() error {
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"devpts", "/dev/pts"},
		{"tmpfs", "/tmp"},
		{"tmpfs", "/run"},
		{"bpf", "/sys/fs/bpf"},
		{"cgroup2", "/sys/fs/cgroup"},
		{"tracefs", "/sys/kernel/tracing"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	return nil
}

func load(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	err = unix.FinitModule(int(file.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// loopbackUp uses an ioctl rather than package net, which would link this tool
// dynamically where there is a C compiler, and the guest has no libc.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// run starts a command and reaps whatever ends until it does: orphans come to
// process 1, and a test that waits for one to disappear would wait for ever.
func run(command []string, dir string, env []string) (status int, err error) {
	pid, err := syscall.ForkExec(command[0], command, &syscall.ProcAttr{
		Dir:   dir,
		Env:   append([]string{"PATH=/bin", "HOME=/tmp"}, env...),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", command[0], err)
	}
	for {
		var wait syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &wait, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for %s: %w", command[0], err)
		case ended == pid && wait.Signaled():
			return 128 + int(wait.Signal()), nil
		case ended == pid && wait.Exited():
			return wait.ExitStatus(), nil
		}
	}
}
