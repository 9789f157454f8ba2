package netdev

// This file asks whether the host takes IPv4 source routes. Its answer to such a packet goes
// the way that the sender chose, so the source can be faked into a connection. Not so IPv6:
// Linux ignores the routing header that did this (type 0), and answers to a segment routing
// header go straight to the source.

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SourceRouteSetting is the sysctl that decides, together with that of each interface.
const SourceRouteSetting = "net.ipv4.conf.all.accept_source_route"

// SourceRouted returns the interfaces that take packets with an IPv4 source route, in
// this network namespace, by name. Linux takes them where both the setting for all and that
// of the interface allow it. A host without these settings has none.
func SourceRouted() ([]string, error) {
	const dir = "/proc/sys/net/ipv4/conf"
	if on, err := isSet(dir, "all"); !on || err != nil {
		return nil, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var taking []string
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
			taking = append(taking, name)
		}
	}
	slices.Sort(taking)
	return taking, nil
}

// isSet reads the setting of one interface; that of one that has gone is off.
func isSet(dir, name string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, name, "accept_source_route"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(text)) != "0", err
}
