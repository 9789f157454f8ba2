// Package lock makes one process the owner of a file or directory, and names the process that
// is the owner already: two daemons on one pin root would undo each other's work.
package lock

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// HeldError says that another process is the owner.
type HeldError struct {
	Path string
	PID  int // 0 when it cannot be told
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return e.Path + " is in use by another process"
	}
	return fmt.Sprintf("%s is in use by pid %d", e.Path, e.PID)
}

// patience is how long Take waits for a holder that is about to end: a daemon is often started
// while the one before it still stops.
const patience = time.Second

// Take makes the caller the owner of path, which must exist, until the caller closes the
// returned file or the process ends. It fails with a *HeldError where another process owns
// path for a second longer, and with a *os.PathError where path cannot be opened.
func Take(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &HeldError{Path: path, PID: Holder(path)}
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// Holder returns the pid of the process that holds a flock on path; 0 where there is none, or
// where the kernel does not say (another PID namespace, no /proc).
func Holder(path string) int {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	device := fmt.Sprintf("%02x:%02x", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	return findHolder(string(locks), device, strconv.FormatUint(stat.Ino, 10), hidesDevice(path))
}

// hidesDevice reports whether /proc/locks shows another device for path than stat does.
func hidesDevice(path string) bool {
	var fs unix.Statfs_t
	err := unix.Statfs(path, &fs)
	return err == nil && (fs.Type == unix.OVERLAYFS_SUPER_MAGIC || fs.Type == unix.BTRFS_SUPER_MAGIC)
}

// findHolder reads the lines of /proc/locks:
//
//	1: FLOCK  ADVISORY  WRITE 1234 fe:00:9977890 0 EOF
//
// Overlayfs and btrfs show another device there than stat does. There, with byInode, the inode
// alone names the holder, unless several files have it. Elsewhere it would name a stranger:
// small inode numbers exist on every file system, also on bpffs.
func findHolder(locks, device, inode string, byInode bool) int {
	var others []int
	for line := range strings.Lines(locks) {
		field := strings.Fields(line)
		if len(field) < 6 || field[1] != "FLOCK" || !strings.HasSuffix(field[5], ":"+inode) {
			continue
		}
		pid, err := strconv.Atoi(field[4])
		if err != nil || pid < 0 {
			continue
		}
		if field[5] == device+":"+inode {
			return pid
		}
		others = append(others, pid)
	}
	if byInode && len(others) == 1 {
		return others[0]
	}
	return 0
}
