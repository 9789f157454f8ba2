// This file is the guest's half for a machine that has a disk: what an initrd does.

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// switchRoot loads the modules and hands the machine over to the init of its disk. It
// returns only with an error.
func switchRoot(todo instructions) error {
	const root = "/newroot"
	for _, dir := range []string{"/dev", root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, module := range todo.Modules {
		if err := load(module); err != nil {
			return err
		}
	}
	// The disk appears some time after its driver.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(todo.Disk)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			return fmt.Errorf("wait for the disk: %w", err)
		}
	}
	if err := unix.Mount(todo.Disk, root, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", todo.Disk, err)
	}
	if err := unix.Mount("/dev", root+"/dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move /dev: %w", err)
	}
	// The initramfs itself cannot be unmounted: the disk is mounted over it.
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return fmt.Errorf("start init: %w", unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}))
}
