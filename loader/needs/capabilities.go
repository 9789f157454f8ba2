// Package needs tells which capabilities and kernel features a gate needs, and which of them
// are missing here.
package needs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that a gate needs, in the order of their numbers. CAP_SYS_ADMIN
// includes two of them, because it had their rights before they existed.
var needed = []struct {
	bit     int
	name    string
	byAdmin bool
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", false},
	{unix.CAP_PERFMON, "CAP_PERFMON", true},
	{unix.CAP_BPF, "CAP_BPF", true},
}

// Explain adds to err which capabilities this process lacks, if it is os.ErrPermission. The
// kernel's own words are about MEMLOCK or a pointer comparison, and send the operator to look
// in the wrong place.
func Explain(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	if missing := Capabilities(); len(missing) > 0 {
		return fmt.Errorf("this process lacks %s: %w", strings.Join(missing, ", "), err)
	}
	return err
}

// Capabilities returns the names of the capabilities that a gate needs and this process does
// not have. It is also empty when the kernel does not say.
func Capabilities() []string {
	var data [2]unix.CapUserData // 64 bits in two halves
	if unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]) != nil {
		return nil
	}
	has := func(bit int) bool { return data[bit/32].Effective>>(bit%32)&1 == 1 }
	var names []string
	for _, c := range needed {
		if !has(c.bit) && !(c.byAdmin && has(unix.CAP_SYS_ADMIN)) {
			names = append(names, c.name)
		}
	}
	return names
}
