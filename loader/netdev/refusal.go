package netdev

// This file says why a driver refuses native XDP on an interface, and what to change.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Refusal says why the driver of device refused a program with err, and the commands that can
// change its mind. Words are the driver's own, "" when it gave none.
func Refusal(device netlink.Link, words string, err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	known := map[unix.Errno]string{
		unix.EOPNOTSUPP: "the driver has no native XDP, or LRO is on",
		unix.ERANGE:     "the MTU is too large for the driver",
		unix.EINVAL:     "the driver refused it, often for its MTU, too many channels or LRO",
		unix.ENOMEM:     "the driver has too few queues or no memory",
	}
	if words == "" {
		words = known[errno]
	}
	facts := []string{words}
	for _, offload := range Offloads(device.Attrs().Name) {
		fact := offload.String()
		if !offload.Fixed {
			fact += fmt.Sprintf(": ethtool -K %s %s off", device.Attrs().Name, offload.Name)
		}
		facts = append(facts, fact)
	}
	if mtu := device.Attrs().MTU; mtu > 1500 {
		facts = append(facts, fmt.Sprintf("its MTU is %d", mtu))
	}
	if words == "" {
		facts = facts[1:]
	}
	if len(facts) == 0 {
		return errno.Error()
	}
	return fmt.Sprintf("%v (%s)", errno, strings.Join(facts, "; "))
}
