// This file reads the kernel's own protocol counters, which show what got past a
// filter.

package netlab

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// TCPInSegs returns how many TCP segments the namespace's TCP has been given,
// bad ones included, over IPv4 and IPv6: what a filter let through.
func (ns *Namespace) TCPInSegs() (uint64, error) { return ns.Counter("Tcp:InSegs") }

// Counter returns one of the namespace's counters: "Tcp:InSegs" and the like
// from /proc/net/snmp, "TcpExt:ListenDrops" from /proc/net/netstat, "Ip6InReceives"
// (no colon) from /proc/net/snmp6.
func (ns *Namespace) Counter(name string) (value uint64, err error) {
	group, field, grouped := strings.Cut(name, ":")
	err = ns.Do(func() error {
		for _, file := range []string{"snmp", "netstat", "snmp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			// A line "Group: Name Name…" comes before the line "Group: value value…".
			column := -1
			for line := range strings.Lines(string(text)) {
				words := strings.Fields(line)
				switch {
				case len(words) == 2 && words[0] == name && !grouped:
					value, err = strconv.ParseUint(words[1], 10, 64)
					return err
				case len(words) == 0 || words[0] != group+":":
				case column > 0 && column < len(words):
					value, err = strconv.ParseUint(words[column], 10, 64)
					return err
				default:
					column = slices.Index(words, field)
				}
			}
		}
		return os.ErrNotExist
	})
	if err != nil {
		return 0, fmt.Errorf("read counter %s of %s: %w", name, ns.Name, err)
	}
	return value, nil
}
