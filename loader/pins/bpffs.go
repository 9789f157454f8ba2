package pins

// This file makes sure that pins have a BPF file system to be in, and one that outlives this
// process.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultRoot is the pin root when none is named.
const DefaultRoot = "/sys/fs/bpf/xdpallow"

const sysBPF = "/sys/fs/bpf"

// PrivateMountError says that there is no BPF file system, and that one could only be mounted
// in a private mount namespace. It would end with the processes of that namespace, the pins
// with it, and the host would be open.
type PrivateMountError struct{ Path string }

func (e *PrivateMountError) Error() string {
	return e.Path + " is not on a BPF file system, and one mounted in this private mount namespace would end with it and open the host: " +
		"mount it on the host, and enter a network namespace with nsenter --net=FILE, which changes no mounts"
}

// Hint is the command to type on the host, outside of the mount namespace.
func (e *PrivateMountError) Hint() string { return "mount -t bpf bpf " + mountPoint(e.Path) }

// HiddenError says that a BPF file system would have to be mounted over a directory with
// files, which nobody could see any more.
type HiddenError struct{ Path string }

func (e *HiddenError) Error() string {
	return e.Path + " is not on a BPF file system, and has files that a mount would hide"
}

// Hint is a command with another place for pins.
func (e *HiddenError) Hint() string { return "xdpallow run --bpffs " + DefaultRoot }

// CheckRoot reports whether pins under root would outlive the process that makes them.
// Returns *PrivateMountError when not. A BPF file system is mounted by whoever opens a gate.
func CheckRoot(root string) error {
	if on, err := onBPFFS(root); on || err != nil {
		return err
	}
	if !outlives() {
		return &PrivateMountError{root}
	}
	return nil
}

// ensureBPFFS makes root a directory of a BPF file system that outlives this process. It
// mounts one if there is none. Returns *HiddenError or *PrivateMountError.
func ensureBPFFS(root string) error {
	if on, err := onBPFFS(root); on || err != nil {
		if err != nil {
			return err
		}
		return makeDirectory(root)
	}
	point := mountPoint(root)
	if files, err := os.ReadDir(point); err == nil && len(files) > 0 && point != sysBPF {
		return &HiddenError{point}
	}
	if !outlives() {
		return &PrivateMountError{root}
	}
	if err := os.MkdirAll(point, 0o700); err != nil {
		return fmt.Errorf("make mount point of a BPF file system: %w", err)
	}
	if err := unix.Mount("bpf", point, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RELATIME, "mode=0700"); err != nil {
		return fmt.Errorf("mount a BPF file system on %s: %w", point, err)
	}
	return makeDirectory(root)
}

func makeDirectory(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	return nil
}

// mountPoint is where a BPF file system for root belongs.
func mountPoint(root string) string {
	if root == sysBPF || strings.HasPrefix(root, sysBPF+"/") {
		return sysBPF
	}
	return root
}

// onBPFFS reports whether path, or the nearest directory above it that exists, is
// on a BPF file system.
func onBPFFS(path string) (bool, error) {
	for {
		var stat unix.Statfs_t
		err := unix.Statfs(path, &stat)
		if err == nil {
			return stat.Type == unix.BPF_FS_MAGIC, nil
		}
		if !errors.Is(err, os.ErrNotExist) || path == "/" || path == "." {
			return false, fmt.Errorf("look at %s: %w", path, err)
		}
		path = filepath.Dir(path)
	}
}

// outlives reports whether a mount that is made now stays when this process ends: it does in
// the mount namespace of init or, when that cannot be read, of our parent.
func outlives() bool {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	other, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		other, err = os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/ns/mnt")
	}
	return err == nil && own == other
}
