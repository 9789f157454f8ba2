package netdev

// This file asks whether the host accepts IPv4 source routes. Its answer to such a packet goes
// the way that the sender chose, so a faked source can complete a connection. IPv6 has no such
// danger: Linux ignores the routing header that did this (type 0), and answers to a packet with
// a segment routing header go straight to its source.

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SourceRouteSetting is the sysctl that decides, together with the one of each interface.
const SourceRouteSetting = "net.ipv4.conf.all.accept_source_route"

// SourceRouted returns the names of the interfaces, sorted, that accept packets with an IPv4
// source route. Linux accepts them when both the setting for all interfaces and that of the
// interface are on. A kernel without these settings accepts none.
func SourceRouted() ([]string, error) {
	const dir = "/proc/sys/net/ipv4/conf"
	if on, err := isSet(dir, "all"); !on || err != nil {
		return nil, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var accepting []string
	for _, n := range names {
		name := n.Name()
		if name == "all" || name == "default" || name == "lo" {
			continue
		}
		on, err := isSet(dir, name)
		if err != nil {
			return nil, err
		}
		if on {
			accepting = append(accepting, name)
		}
	}
	slices.Sort(accepting)
	return accepting, nil
}

// isSet reads the setting of one interface. It is off when the interface has gone meanwhile.
func isSet(dir, name string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, name, "accept_source_route"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(text)) != "0", err
}
