// This file reads the kernel's own protocol counters, which show what got past a
// filter.

package netlab

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// TCPInSegs returns how many TCP segments the namespace's TCP has been given,
// bad ones included, over IPv4 and IPv6: what a filter let through.
func (ns *Namespace) TCPInSegs() (uint64, error) { return ns.Counter("Tcp:InSegs") }

// Counter returns one of the namespace's counters: "Tcp:InSegs" and the like
// from /proc/net/snmp, "TcpExt:ListenDrops" from /proc/net/netstat,
// "Ip6InReceives" (no colon) from /proc/net/snmp6.
func (ns *Namespace) Counter(name string) (value uint64, err error) {
	group, field, grouped := strings.Cut(name, ":")
	err = ns.Do(func() error {
		if !grouped {
			value, err = lineCounter("/proc/thread-self/net/snmp6", name)
			return err
		}
		// A group is in one of the two files.
		if value, err = tableCounter("/proc/thread-self/net/snmp", group, field); err != nil {
			value, err = tableCounter("/proc/thread-self/net/netstat", group, field)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read counter %s of %s: %w", name, ns.Name, err)
	}
	return value, nil
}

// lineCounter finds "Name value".
func lineCounter(file, name string) (uint64, error) {
	lines, err := readLines(file)
	if err != nil {
		return 0, err
	}
	for _, fields := range lines {
		if len(fields) == 2 && fields[0] == name {
			return strconv.ParseUint(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("no such counter in %s", file)
}

// tableCounter finds the column of "Group: Name Name…" in the line of values
// that follows, "Group: value value…".
func tableCounter(file, group, field string) (uint64, error) {
	lines, err := readLines(file)
	if err != nil {
		return 0, err
	}
	for i := 0; i+1 < len(lines); i++ {
		names, values := lines[i], lines[i+1]
		if names[0] != group+":" || len(names) != len(values) {
			continue
		}
		for column, name := range names {
			if name == field {
				return strconv.ParseUint(values[column], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no such counter in %s", file)
}

// readLines returns the words of each line that has any.
func readLines(file string) (lines [][]string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if fields := strings.Fields(scanner.Text()); len(fields) > 0 {
			lines = append(lines, fields)
		}
	}
	return lines, scanner.Err()
}
