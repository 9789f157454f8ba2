// This file is about which addresses are the host's own where it has none yet.
package netdev_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Promise: a host without an IPv4 address, not even on lo, starts its gate: the kernel then
// has no table of local routes, which is no error.
func TestOwnAddressesOfNobody(t *testing.T) {
	t.Parallel()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		interfaces, err := netdev.Read()
		if err != nil {
			done <- err
			return
		}
		own, err := interfaces.Own()
		if len(own) > 0 {
			t.Errorf("nobody's addresses: %v", own)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
