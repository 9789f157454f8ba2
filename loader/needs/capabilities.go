// Package needs tells what a gate needs of this process and this kernel, and what of it is
// missing. It holds nothing and changes nothing.
package needs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that a gate takes, in the order of their numbers.
// CAP_SYS_ADMIN stands in for two of them, as it did before there were such.
var needed = []struct {
	bit     int
	name    string
	byAdmin bool
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", false},
	{unix.CAP_PERFMON, "CAP_PERFMON", true},
	{unix.CAP_BPF, "CAP_BPF", true},
}

// Explain says which capabilities this process lacks where the kernel forbids. By
// itself it would talk of MEMLOCK or of a pointer comparison, which sends the
// operator to look in the wrong place.
func Explain(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	if missing := Capabilities(); len(missing) > 0 {
		return fmt.Errorf("this process lacks %s: %w", strings.Join(missing, ", "), err)
	}
	return err
}

// Capabilities returns which of the capabilities that a gate needs this process does not
// have, by name. It is empty also when that cannot be told.
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
