// This file makes network namespaces that outlive a thread, so that both this
// process and the programs it starts can work inside them.

package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

// Namespace is a named network namespace, bound to /run/netns/Name as `ip
// netns add` does. Its lo is up, IPv6 addresses are usable at once, and reverse
// path filtering is off.
type Namespace struct {
	Name string

	file *os.File
	nl   *netlink.Handle
}

func newNamespace(name string) (_ *Namespace, err error) {
	ns := &Namespace{Name: name}
	if err := shareNetnsDir(); err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", name, err)
	}
	mountPoint, err := os.OpenFile(ns.Path(), os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", name, err) // not ours: nothing to remove
	}
	mountPoint.Close()
	complete := false
	defer func() {
		if !complete {
			err = errors.Join(err, ns.remove())
		}
	}()
	if err := onThread(ns.unshare); err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", name, err)
	}
	if ns.file, err = os.Open(ns.Path()); err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", name, err)
	}
	ns.nl, err = netlink.NewHandleAt(netns.NsHandle(ns.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("make namespace %s: open netlink: %w", name, err)
	}
	if err := ns.SetUp("lo", true); err != nil {
		return nil, err
	}
	complete = true
	return ns, nil
}

// unshare moves the calling thread into a new namespace and binds it to its
// name. The thread must be thrown away.
func (ns *Namespace) unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare (are you root?): %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", ns.Path(), "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind to %s: %w", ns.Path(), err)
	}
	for _, setting := range []struct{ key, value string }{
		{"ipv6/conf/all/accept_dad", "0"}, // an address in duplicate detection cannot be dialled from
		{"ipv6/conf/default/accept_dad", "0"},
		{"ipv6/conf/default/router_solicitations", "0"}, // noise in a test's counters
		{"ipv4/conf/all/rp_filter", "0"},                // answers may leave by another link
		{"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/ip_nonlocal_bind", "1"}, // client addresses belong to no interface
		{"ipv6/ip_nonlocal_bind", "1"},
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", setting.key), []byte(setting.value), 0); err != nil {
			return fmt.Errorf("prepare namespace: %w", err)
		}
	}
	return nil
}

// remove undoes what has been done so far, and is silent about what has not.
func (ns *Namespace) remove() error {
	if ns.nl != nil {
		ns.nl.Close()
		ns.nl = nil
	}
	if ns.file != nil {
		ns.file.Close()
		ns.file = nil
	}
	// EINVAL: not mounted, we failed between file and mount.
	err := unix.Unmount(ns.Path(), unix.MNT_DETACH)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", ns.Path(), err)
	}
	if err := os.Remove(ns.Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", ns.Name, err)
	}
	return nil
}

// Path returns the file that stands for the namespace: what `nsenter --net=`
// takes.
func (ns *Namespace) Path() string { return filepath.Join(netnsDir, ns.Name) }

// Netlink returns a route netlink handle in the namespace, for whatever the
// methods here do not offer. It belongs to the lab: do not close it, nor keep
// it, for a closed handle works on the namespace of the calling thread.
func (ns *Namespace) Netlink() *netlink.Handle { return ns.nl }

// Start starts any command inside the namespace, without nsenter and under the
// command's own process id. Wait for it from anywhere.
func (ns *Namespace) Start(cmd *exec.Cmd) error { return ns.Do(cmd.Start) }

// shareNetnsDir prepares /run/netns exactly as `ip netns add` does, under the
// same lock. Otherwise the first `ip netns add` after us would mount the
// directory over itself, and our Close would find only the copy.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer dir.Close() // gives the lock back
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", netnsDir, err)
	}
	err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", netnsDir, err)
		}
		err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", netnsDir, err)
	}
	return nil
}
