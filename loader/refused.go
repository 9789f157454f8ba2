package loader

// This file goes on without our program where a driver refuses it for a link that it runs
// another one for: the gate stands meanwhile, and somebody must know what to change.

import (
	"fmt"
)

// UpdateError says that a driver refused our program for a link that runs another one,
// which goes on.
type UpdateError struct {
	Interface string
	MTU       int
	Cause     string // in words, with the MTU if it is a large one
	Err       error  // of the kernel
}

func (e *UpdateError) Error() string {
	return fmt.Sprintf("%s: its driver refuses our program, the one before runs on: %s", e.Interface, e.Cause)
}

func (e *UpdateError) Unwrap() error { return e.Err }

// Hint is the command after which the driver may take it.
func (e *UpdateError) Hint() string {
	if e.MTU > Page {
		return fmt.Sprintf("ip link set dev %s mtu %d", e.Interface, Page)
	}
	return "ethtool -i " + e.Interface
}
